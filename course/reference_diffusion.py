"""Make the reference results of exercise 2, and figures of the effect of each setting.

    python -m course.reference_diffusion

It trains the runs in results_reference/diffusion/, where it keeps finished runs and resumes interrupted ones, prints
the table of docs/results_diffusion.md in Markdown, and draws the figures of that page in docs/images/. With --small, it
trains a few tiny runs in results_reference/small/diffusion/ and draws the figures there.
"""
import argparse
import csv
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Dict, Mapping, Sequence, Tuple, Union

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image, ImageDraw

from lib.checkpoint import load_checkpoint, load_part
from lib.densities import DENSITIES, get_dataset
from lib.draw_diffusion import draw_density
from lib.model_diffusion import SimpleDiffusion
from lib.pictures import save_figure
from lib.sample_diffusion import sample_ddim, sample_ddpm
from lib.utils import SCHEDULES

ROOT, SEEDS, POINTS = Path("results_reference/diffusion"), (0, 1, 2), 100_000
SMALL_ROOT = Path("results_reference/small/diffusion")
SMALL = ("--epochs", 1, "--n_samples", 500, "--diffusion_steps", 4, "--n_blocks", 1, "--n_units", 8)

Points = Union[np.ndarray, torch.Tensor]            # N,2

TEXTBOOK = ("--schedule", "cosine", "--point_embedding", "coordinates", "--activation", "relu",
            "--time_embedding", "index", "--learning_rate", 1e-3)
PARTS: Dict[str, Sequence] = {                      # each adds something to the part before
    "textbook": TEXTBOOK, "+ sines of t, higher rate": TEXTBOOK[:6], "+ schedule": TEXTBOOK[2:6],
    "+ sines of the point": TEXTBOOK[4:6], "+ SiLU: the defaults": ()}

# For the ablations of docs/results_diffusion.md: file, density, title, and the label of each run with its flags.
ABLATIONS: Sequence[Tuple[str, str, str, Dict[str, Sequence]]] = (
    ("ablation_parts_checkerboard", "checkerboard", "from a textbook's training to the default one", PARTS),
    ("ablation_parts_spirals", "spirals", "from a textbook's training to the default one", PARTS),
    ("ablation_steps", "spirals", "diffusion steps, in training and in sampling", {
        f"{steps} steps": ("--diffusion_steps", steps) for steps in (5, 10, 20, 50, 100, 1000)}),
    ("ablation_schedule", "moons", "schedule and diffusion steps", {
        f"{schedule}, {steps} steps": ("--schedule", schedule, "--diffusion_steps", steps)
        for schedule, steps in (("linear", 100), ("linear", 300), ("linear", 1000), ("cosine", 100), ("cosine", 1000),
                                ("quadratic_cosine", 100), ("quadratic_cosine", 1000))}),
    ("ablation_epochs", "spirals", "epochs, during which the learning rate falls to 0", {
        f"{epochs} epochs": ("--epochs", epochs) for epochs in (2, 5, 10, 20, 40, 250)}),
    ("ablation_time_embedding", "spirals", "time embedding and peak learning rate", {
        f"{embedding}, {rate:g}": ("--time_embedding", embedding, "--learning_rate", rate)
        for embedding in ("index", "sinusoidal") for rate in (1e-3, 3e-3, 1e-2)}))


def train(root: Path, dataset: str, seed: int, *flags: object) -> Path:
    """Train a run with the script, as a user does, and return its folder."""
    name = "_".join([Path(dataset).stem, f"seed{seed}", *(str(flag).lstrip("-") for flag in flags)])
    if not (root / name / "loss_curves.png").exists():      # a run saves this file last
        subprocess.run([sys.executable, "run_diffusion_training.py", "--dataset", dataset, "--seed", str(seed),
                        "--quiet", "--no_video", "--output_dir", str(root / name), "--resume", *map(str, flags)],
                       check=True)
    return root / name


def last_row(folder: Path) -> Dict[str, float]:
    """Return the metrics of a run's last epoch."""
    with open(str(folder / "metrics.csv")) as file:
        return {name: float(value) for name, value in list(csv.DictReader(file))[-1].items()}


def sample(folder: Path, keep: Sequence[int] = (), ddim_steps: int = 0) -> Tuple[torch.Tensor, torch.Tensor]:
    """Sample points from a finished run, by DDIM if the number of steps is given.

    Returns:
        The N,2 samples, and len(keep),N,2 points at the timesteps to keep (none for DDIM).
    """
    checkpoint = load_checkpoint(folder)
    settings = checkpoint["settings"]
    model = SimpleDiffusion(2, settings["n_blocks"], settings["n_units"], settings["time_embedding"],
                            settings["diffusion_steps"], settings["point_embedding"], settings["activation"])
    load_part(model, checkpoint, "ema", folder)
    data = get_dataset(settings["dataset"], settings["n_samples"], np.random.default_rng(settings["seed"]))
    schedule, clip = SCHEDULES[settings["schedule"]](settings["diffusion_steps"]), float(np.abs(data).max())
    torch.manual_seed(0)
    noise = torch.randn(POINTS, 2)
    if ddim_steps:
        return sample_ddim(model, noise, schedule, ddim_steps, clip), noise[:0]
    return sample_ddpm(model, noise, schedule, clip, keep)


def save_densities(rows: Sequence[Sequence[Tuple[str, Points]]], title: str, path: Path) -> None:
    """Save a figure with a table of densities, each with its own title."""
    figure = Figure(figsize=(2.2 * len(rows[0]), 2.5 * len(rows) + 0.5), layout=ConstrainedLayoutEngine(h_pad=0.12))
    for line, row in zip(figure.subplots(len(rows), len(rows[0]), squeeze=False), rows):
        for axes, (label, points) in zip(line, row):
            draw_density(axes, points, "")
            axes.set_title(label, fontsize=9)
            axes.set_axis_off()
    figure.suptitle(title, fontsize=11)
    save_figure(figure, path, dpi=110)


def save_face(path: Path) -> None:
    """Save an image file that serves as a user's own density."""
    image = Image.new("L", (300, 300), 255)
    pen = ImageDraw.Draw(image)
    pen.ellipse((10, 10, 290, 290), outline=0, width=16)
    for x in (90, 180):
        pen.ellipse((x, 85, x + 30, 135), fill=0)
    pen.arc((75, 90, 225, 230), 20, 160, fill=0, width=14)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(str(path))


def ratio(rows: Sequence[Dict[str, float]]) -> float:
    """Return the distance to the data over the noise floor, of some runs."""
    return mean(row["swd"] for row in rows) / mean(row["swd_floor"] for row in rows)


def print_table(runs: Mapping[str, Sequence[Path]]) -> None:
    """Print the table of all densities: the runs of some seeds each."""
    print("\n| density | off the data | not covered | distance | noise floor | distance / floor | energy distance "
          "| noise floor | loss |\n" + "| --- " * 9 + "|")
    for name, folders in runs.items():
        rows = [last_row(folder) for folder in folders]
        cells = [f"{100 * mean(row[key] for row in rows):.2f} ± {100 * stdev(row[key] for row in rows):.2f} %"
                 for key in ("off_data", "uncovered")]
        cells += [f"{mean(row[key] for row in rows):.4f} ± {stdev(row[key] for row in rows):.4f}"
                  for key in ("swd", "swd_floor", "energy", "energy_floor", "loss")]
        print(f"| {Path(name).stem} | {' | '.join([*cells[:4], f'{ratio(rows):.2f}', *cells[4:]])} |")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m course.reference_diffusion", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a trial in minutes, which leaves docs/ alone")
    args = parser.parse_args()
    root = SMALL_ROOT if args.small else ROOT
    images = root / "images" if args.small else Path("docs/images")
    images.mkdir(parents=True, exist_ok=True)
    face, common, seeds = root / "face.png", SMALL if args.small else (), SEEDS[:2] if args.small else SEEDS
    save_face(face)
    names = ["moons", "swiss_roll", str(face)] if args.small else [*DENSITIES, str(face)]
    runs = {name: [train(root, name, seed, *common) for seed in seeds] for name in names}
    print_table(runs)

    for name in ("samples", "loss_curves", "schedules"):
        shutil.copy(runs["moons"][0] / f"{name}.png", images / f"diffusion_{name}.png")
    generated = {name: sample(folders[0])[0] for name, folders in runs.items()}
    save_densities([[(f"data: {Path(name).stem}", get_dataset(name, POINTS)) for name in names],
                    [(f"generated: {100 * last_row(runs[name][0])['off_data']:.1f} % off", generated[name])
                     for name in names]],
                   "data, and points generated after 40 epochs: how many of them are off the data",
                   images / "diffusion_densities.png")
    diffusion_steps = load_checkpoint(runs["swiss_roll"][0])["settings"]["diffusion_steps"]
    keep = [round(share * (diffusion_steps - 1)) for share in (1, 0.8, 0.65, 0.5, 0.35, 0.2, 0.1)]
    samples, path = sample(runs["swiss_roll"][0], keep)
    save_densities([[*((f"timestep {t}", points) for t, points in zip(keep, path)), ("generated", samples)]],
                   "generation, from noise to data", images / "diffusion_generation.png")
    for file, dataset, title, settings in ABLATIONS:
        print(f"\n{title}, {dataset}")
        panels = []
        for label, flags in list(settings.items())[:2 if args.small else None]:
            folder = train(root, dataset, 0, *common, *flags)
            row = last_row(folder)
            print(f"{label}: off the data {100 * row['off_data']:.2f} %, not covered {100 * row['uncovered']:.2f} %, "
                  f"distance {row['swd']:.4f}, {ratio([row]):.1f} times the noise floor")
            panels.append((f"{label}\n{100 * row['off_data']:.1f} % off, {ratio([row]):.1f} × floor",
                           sample(folder)[0]))
        save_densities([panels], title, images / f"{file}.png")


if __name__ == "__main__":
    main()
