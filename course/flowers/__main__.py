"""Paint a dataset of flowers: DIR/{train,val,test}/SPECIES/NUMBER.jpg

Half of the images of each species are for training, a quarter each for validation and test. An image depends only on
the seed, its species, its number and its size.
"""
import os
import signal
import sys
import tempfile
from multiprocessing import Pool
from pathlib import Path
from typing import Tuple

# Set before NumPy is imported: the matrix products here are small, so more threads would only wait for each other.
for library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

from lib.script import Parser, UserError, integer, run_script  # noqa: E402

from .image import image_rng, paint  # noqa: E402
from .species import SPECIES  # noqa: E402

SPLITS = ("train", "val", "train", "test")          # repeated for the images of a species
QUALITY = 94


def write_image(task: Tuple[str, int, str, int, int]) -> None:
    """Paint one image and save it."""
    folder, seed, name, number, size = task
    path = Path(folder) / SPLITS[number % len(SPLITS)] / name / f"{number + 1:04}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    paint(name, image_rng(seed, name, number), size).save(str(path), quality=QUALITY, subsampling=0)


def write_flowers(folder: Path, count: int, size: int, seed: int, processes: int = 1) -> None:
    """Write the dataset to a temporary folder, then rename it."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not an empty folder; use another one")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=str(folder.parent)) as made:
        names = sorted(SPECIES)
        tasks = [(f"{made}/flowers", seed, names[i % len(names)], i // len(names), size) for i in range(count)]
        with Pool(processes, signal.signal, (signal.SIGTERM, signal.SIG_DFL)) as pool:
            for done, _ in enumerate(pool.imap_unordered(write_image, tasks, chunksize=4), 1):
                if sys.stderr.isatty():
                    print(f"\r{done} of {count}", end="\n" if done == count else "", file=sys.stderr, flush=True)
            pool.close()
            pool.join()
        if folder.exists():
            folder.rmdir()
        os.rename(f"{made}/flowers", str(folder))


def main() -> None:
    parser = Parser(__doc__, prog="python -m course.flowers")
    parser.add_argument("folder", metavar="DIR", type=Path, help="a new or empty folder")
    parser.add_argument("--count", type=integer(1, 10 ** 6), default=800, help="number of images (default: 800)")
    parser.add_argument("--size", type=integer(8, 1024), default=64, help="shorter side in pixels (default: 64)")
    parser.add_argument("--seed", type=integer(0, 2 ** 32 - 1), default=0, help="another seed paints other images "
                        "(default: %(default)s)")
    parser.add_argument("--processes", type=integer(1, 256), default=2, help="number of parallel processes "
                        "(default: %(default)s)")
    args = parser.parse_args()
    write_flowers(args.folder, args.count, args.size, args.seed, args.processes)
    print(f"wrote {args.count} images to {args.folder}")


if __name__ == "__main__":
    sys.exit(run_script(main))
