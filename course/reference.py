"""Make the reference results of exercise 1: three weights of the KL term, three seeds each, on MNIST.

    python -m course.reference --data_dir data

It trains the nine runs in results_reference/, where it keeps finished runs and resumes interrupted ones, prints the
tables of docs/results_vae.md and course/answers/1.4_kl_weight.md in Markdown, and draws their figures. The figures show
only what the models generate, no MNIST image. With --small, it trains tiny models in results_reference/small/vae/, for
two seeds, and draws the figures there.
"""
import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Dict

import torch
from torch.nn import functional as F

from lib.digits import load_digits, make_test_loader
from lib.explore_latent_space import get_mu_logvar, load_run
from lib.pictures import save_image_grid

ROOT = Path("results_reference")
WEIGHTS, SEEDS = ("0", "1", "30"), (0, 1, 2)
SMALL_ROOT, SMALL = ROOT / "small" / "vae", ("--num_epochs", "1", "--hidden_size", "8")


def train(root: Path, weight: str, seed: int, data_dir: str, *flags: str) -> Path:
    """Train a run with the script, as a user does, and return its folder."""
    folder = root / f"seed{seed}" / f"results_kl{float(weight)}"
    subprocess.run([sys.executable, "run_vae_training.py", "--dataset", "mnist", "--data_dir", data_dir,
                    "--kl_loss_weight", weight, "--seed", str(seed), "--output_dir", str(folder), "--resume",
                    *flags], check=True)
    return folder


def summarise(folder: Path, data_dir: str) -> Dict[str, float]:
    """Return the last epoch's metrics, the spread of the test set's encoded means, and the median sigma."""
    model, checkpoint = load_run(folder, "cpu")
    mu, logvar = get_mu_logvar(model, make_test_loader(load_digits("mnist", data_dir)))
    return {**checkpoint["history"][-1], "spread of the means": mu.var(0).mean().sqrt().item(),
            "median sigma": torch.exp(logvar / 2).median().item()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m course.reference", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", default="data", metavar="DIR", help="folder with MNIST (default: %(default)s)")
    parser.add_argument("--small", action="store_true", help="a trial in a minute, which leaves docs/ alone")
    args = parser.parse_args()
    root, flags, seeds = (SMALL_ROOT, SMALL, SEEDS[:2]) if args.small else (ROOT, (), SEEDS)
    images, answers = (root, root) if args.small else (Path("docs/images"), Path("course/answers"))

    rows = {}
    for weight in WEIGHTS:
        runs = [summarise(train(root, weight, seed, args.data_dir, *flags), args.data_dir) for seed in seeds]
        rows[weight] = {name: [run[name] for run in runs] for name in runs[0] if name != "epoch"}
    print(f"\nmean ± standard deviation over seeds {', '.join(map(str, seeds))}, after the last epoch")
    print(f"| | {' | '.join((f'weight {weight}' for weight in WEIGHTS))} |\n| --- |{' --- |' * len(WEIGHTS)}")
    for name in rows[WEIGHTS[0]]:
        places = 4 if name == "median sigma" else 2
        cells = [f"{mean(rows[weight][name]):.{places}f} ± {stdev(rows[weight][name]):.{places}f}"
                 for weight in WEIGHTS]
        print(f"| {name.replace('_', ' ').replace('kl', 'KL')} | {' | '.join(cells)} |")

    digits = load_digits("mnist", args.data_dir)
    mean_image = (digits.train_images.double().mean(0) / 255).clamp(1e-6, 1)
    x = digits.test_images.double() / 255
    loss = F.binary_cross_entropy(mean_image.expand_as(x), x, reduction="sum") / len(x)
    print(f"reconstruction term of the mean training image, on the test set: {loss:.2f}")

    run = root / "seed0" / "results_kl1.0"
    images.mkdir(parents=True, exist_ok=True)
    data_dir = str(Path(args.data_dir).resolve())
    script = str(Path("plot_latent_space.py").resolve())
    subprocess.run([sys.executable, script, "--output_dir", str(run), "--data_dir", data_dir], check=True)
    subprocess.run([sys.executable, script, "--compare", *WEIGHTS, "--data_dir", data_dir], check=True,
                   cwd=root / "seed0")
    for name in ("latent_space", "prior_samples", "loss_curves"):
        shutil.copy(run / (f"{name}.png"), images / (f"vae_{name}.png"))
    shutil.copy(root / "seed0" / "kl_comparison.png", answers / "kl_comparison.png")
    model, _ = load_run(run, "cpu")
    with torch.no_grad():
        save_image_grid(model.eval()(x[:64].float())[0], images / "vae_reconstructions.png",
                        "epoch 15: reconstructions of the first 64 test images of MNIST")


if __name__ == "__main__":
    main()
