"""Make the reference results of exercise 3.

    python -m course.reference_gan

It trains the runs in results_reference/gan/, where it keeps finished runs and resumes interrupted ones, prints the
table of docs/results_gan.md in Markdown, draws the figures of that page, and saves the generator of 2,500 epochs there.
With --small, it trains tiny networks for an epoch or two in results_reference/small/gan/, and saves everything there.
"""
import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict, Sequence

import torch

from course.reference_diffusion import last_row
from lib.draw_gan import save_panels
from lib.image_folder import load_images
from lib.load_gan import load_generator
from lib.sample_gan import generate, prepare_generator, sample_noise

ROOT, DATA, DOCS = Path("results_reference/gan"), "dataset_flowers_64px", Path("docs")
SMALL_ROOT, SMALL = Path("results_reference/small/gan"), ("--ngf", 2, "--ndf", 2)
RUNS: Dict[str, Sequence] = {                       # 500 epochs each, and the default 2,500
    "plain": ("--plain",), "plain, batches of 32": ("--plain", "--batch_size", 32),
    "default, batches of 128": ("--batch_size", 128), "default": ()}


def train(folder: Path, epochs: int, *flags: object) -> None:
    """Train a run with the script, as a user does."""
    if not (folder / f"finished_{epochs}").exists():
        subprocess.run([sys.executable, "run_gan_training.py", "--output_dir", str(folder), "--num_epochs", str(epochs),
                        "--resume", *map(str, flags)], check=True)
        (folder / f"finished_{epochs}").touch()


def table_row(name: str, epochs: int, folder: Path) -> str:
    """Return a run's row of the table."""
    row = last_row(folder)
    cells = [f"{row[f'swd_{side}_{which}']:.1f}" if f"swd_{side}_{which}" in row else ""
             for which in ("generator", "ema") for side in (32, 16)]
    return f"| {name} | {epochs:,} | {' | '.join(cells)} | {row['D_x']:.2f} | {row['D_G_z1']:.2f} |"


def sample(folder: Path, count: int = 48) -> torch.Tensor:
    """Generate images with a run's EMA, or else its generator, from noise that is the same for all runs."""
    generator = prepare_generator(load_generator(folder / "checkpoint.pt"), 64)
    return generate(generator, sample_noise(count, 64))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m course.reference_gan", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a trial in a minute, which leaves docs/ alone")
    args = parser.parse_args()
    root, docs = (SMALL_ROOT, SMALL_ROOT / "docs") if args.small else (ROOT, DOCS)
    (some, many), common = ((1, 2), SMALL) if args.small else ((500, 2500), ())
    folders = {name: root / name.replace(", batches of ", "_") for name in RUNS}
    for name, flags in RUNS.items():
        train(folders[name], some, *flags, *common)
    long = root / f"default_{many}"
    if not long.exists():
        shutil.copytree(str(root / "default"), str(root / "part"))
        (root / "part").rename(long)
    train(long, many, *common)

    print("| training | epochs | generator, 32 px | 16 px | EMA, 32 px | 16 px | D(real) | D(generated) |\n"
          + "| --- " * 8 + "|")
    for name, folder in folders.items():
        print(table_row(name, some, folder))
    print(table_row("default", many, long))
    floor = last_row(long)
    print(f"noise floor: {floor['swd_32_floor']:.1f} and {floor['swd_16_floor']:.1f}")

    (docs / "images").mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    save_panels({"training images": load_images(DATA).sample_crops(torch.randperm(800)[:48]),
                 f"plain DCGAN training (--plain), {some} epochs": sample(folders["plain"]),
                 f"the default, {some} epochs": sample(folders["default"]),
                 f"the default, {many:,} epochs": sample(long)}, docs / "images" / "gan_samples.png")
    for name, source in (("gan_loss_curves.png", folders["default"] / "loss_curves.png"),
                         ("gan_nearest.png", long / "nearest.png")):
        shutil.copy(str(source), str(docs / "images" / name))
    shutil.copy(str(long / "generator_ema.pt"), str(docs / "gan_generator.pt"))


if __name__ == "__main__":
    main()
