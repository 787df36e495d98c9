"""Paint a data set of flowers: DIR/{train,val,test}/SPECIES/NUMBER.jpg

Half of the pictures of each species are for training, a quarter each for validation and test. A picture depends on
the seed, its species, its number and its size alone.
"""
import os
import signal
import sys
import tempfile
from multiprocessing import Pool
from pathlib import Path

# Before NumPy is imported: its matrix products here are small, and threads of their own only wait for each other.
for library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

from lib.script import Parser, UserError, integer, run_script  # noqa: E402

from .picture import paint, picture_rng  # noqa: E402
from .species import SPECIES  # noqa: E402

SPLITS = ("train", "val", "train", "test")          # in turn
QUALITY = 94


def write_picture(task) -> None:
    folder, seed, name, number, size = task
    path = Path(folder) / SPLITS[number % len(SPLITS)] / name / f"{number + 1:04}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    paint(name, picture_rng(seed, name, number), size).save(str(path), quality=QUALITY, subsampling=0)


def write_flowers(folder: Path, count: int, size: int, seed: int, processes: int = 1) -> None:
    """Write the data set beside the folder, then give it its name."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not an empty folder; name another one")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=str(folder.parent)) as made:
        names = sorted(SPECIES)
        tasks = [(f"{made}/flowers", seed, names[i % len(names)], i // len(names), size) for i in range(count)]
        with Pool(processes, signal.signal, (signal.SIGTERM, signal.SIG_DFL)) as pool:
            for done, _ in enumerate(pool.imap_unordered(write_picture, tasks, chunksize=4), 1):
                if sys.stderr.isatty():
                    print(f"\r{done} of {count}", end="\n" if done == count else "", file=sys.stderr, flush=True)
            pool.close()
            pool.join()
        if folder.exists():
            folder.rmdir()
        os.rename(f"{made}/flowers", str(folder))


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder to write, new or empty")
    parser.add_argument("--count", type=integer(1, 10 ** 6), default=800, help="pictures (default: %(default)s)")
    parser.add_argument("--size", type=integer(8, 1024), default=64, help="pixels of the shorter side (default: 64)")
    parser.add_argument("--seed", type=integer(0, 2 ** 32 - 1), default=0, help="(default: %(default)s)")
    parser.add_argument("--processes", type=integer(1, 256), default=2, help="at once (default: %(default)s)")
    args = parser.parse_args()
    write_flowers(args.folder, args.count, args.size, args.seed, args.processes)
    print(f"{args.count} pictures in {args.folder}")


if __name__ == "__main__":
    sys.exit(run_script(main))
