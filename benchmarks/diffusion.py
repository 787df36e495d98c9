"""Time the project's diffusion run and a textbook's side by side, each from the command to its last file.

Both learn the moons from 100,000 points with 8 hidden layers of 64 units, batches of 2048 and 100 timesteps. The
textbook's run is what tutorials show: a shuffling DataLoader over a TensorDataset, .item() in every step, a constant
learning rate of 1e-3, the cosine schedule, the index of the timestep as input, 250 epochs, then 100,000 samples and a
video of the forward process in 100 scatter plots. The project's run is run_diffusion_training.py with its defaults; it
prints where its time went.
"""
import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from itertools import combinations
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import List

from benchmarks import add_shared_flags, describe, peak_usage, seconds

BATCH, STEPS, BLOCKS, UNITS = 2048, 100, 8, 64
ROOT = Path(__file__).resolve().parent.parent
FULL = SimpleNamespace(points=100_000, epochs=250, frames=STEPS, times=10, flags=[])
SMALL = SimpleNamespace(points=1000, epochs=1, frames=2, times=2,
                        flags=["--epochs=1", "--n_samples=1000", "--n_units=8"])


def add_flags(parser: argparse.ArgumentParser) -> None:
    add_shared_flags(parser)
    parser.add_argument("--textbook", action="store_true", help="run only the textbook's script, in this folder")
    parser.set_defaults(function=main)


def main(args: argparse.Namespace) -> None:
    size = SMALL if args.small else FULL
    if args.textbook:
        textbook(size, args.device)
        return
    print(describe(args.device))
    here = [sys.executable, "-m", "benchmarks", "diffusion", "--device", args.device, *["--small"] * args.small]
    runs = {"textbook": [*here, "--textbook"],
            "project": [sys.executable, str(ROOT / "run_diffusion_training.py"), "--device", args.device, *size.flags]}
    took = {name: time_run(name, command) for name, command in runs.items()}
    print(f"the project's run is {took['textbook'] / took['project']:.1f} times as fast as the textbook's")
    epochs(size, args.device)
    sampling(size, args.device)
    for steps in (STEPS, 1000):
        memory(steps, size)


def time_run(name: str, command: List[str]) -> float:
    """Run a command in an empty folder, print when its first epoch ended and what it says at its end, and return how
    long it took.
    """
    print(f"the {name}'s run:", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        start, lines = time.perf_counter(), []
        environment = dict(os.environ, PYTHONPATH=str(ROOT), MPLBACKEND="Agg")
        with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE,
                              universal_newlines=True) as process:
            assert process.stdout
            for line in process.stdout:
                if line.startswith("epoch ") and not any(seen.startswith("epoch ") for seen in lines):
                    print(f"    the first epoch's line after {time.perf_counter() - start:.1f} s")
                lines.append(line.rstrip())
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed")
        took = time.perf_counter() - start
        if (Path(folder) / "results_diffusion").exists():
            with open(f"{folder}/results_diffusion/metrics.csv") as file:
                last = list(csv.DictReader(file))[-1]
            swd, floor = float(last["swd"]), float(last["swd_floor"])
            lines[-1] = f"distance to the data {swd:.4f}, {swd / floor:.2f} times the noise floor of {floor:.4f}"
    print("\n".join(f"    {line}" for line in lines[-2:]))
    print(f"    {took:.1f} s from command to last file", flush=True)
    return took


def textbook_epoch(data, model, optimizer, baralphas) -> float:
    import torch
    from torch.nn.functional import mse_loss
    from torch.utils.data import DataLoader, TensorDataset

    from lib.utils import add_noise
    total, device = 0.0, baralphas.device
    for batch, in DataLoader(TensorDataset(data), batch_size=BATCH, shuffle=True):
        batch = batch.to(device)
        t = torch.randint(0, STEPS, (len(batch), 1), device=device)
        noisy, eps = add_noise(batch, t, baralphas)
        loss = mse_loss(model(noisy, t), eps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total


def textbook(size: SimpleNamespace, device: str) -> None:
    """Run the textbook's script, and print the seconds of its parts and the distance of its samples."""
    import imageio.v2 as imageio
    import numpy as np
    import torch
    from matplotlib import pyplot as plt
    from sklearn.datasets import make_moons

    from lib.distances import POINTS, sliced_wasserstein
    from lib.model_diffusion import SimpleDiffusion
    from lib.utils import add_noise, cosine_schedule, get_dataset

    torch.manual_seed(0)
    data = torch.from_numpy(make_moons(size.points, noise=0.01, random_state=0)[0]).float()
    baralphas, alphas, betas = (values.to(device) for values in cosine_schedule(STEPS))
    model = SimpleDiffusion(2, BLOCKS, UNITS).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def train() -> None:
        for epoch in range(1, size.epochs + 1):
            print(f"epoch {epoch} {textbook_epoch(data, model, optimizer, baralphas):.4f}", flush=True)

    @torch.no_grad()
    def sample(n: int) -> torch.Tensor:             # Ho et al. 2020, algorithm 2
        x = torch.randn(n, 2, device=device)
        for t in reversed(range(STEPS)):
            eps = model(x, torch.full((n, 1), t, device=device))
            x = (x - betas[t] / torch.sqrt(1 - baralphas[t]) * eps) / torch.sqrt(alphas[t])
            if t > 0:
                x = x + torch.sqrt(betas[t]) * torch.randn_like(x)
        return x.cpu()

    def video() -> None:
        with imageio.get_writer("forward.mp4", fps=25) as writer:
            for t in range(size.frames):
                figure = plt.figure(figsize=(6.4, 6.4))
                plt.scatter(*add_noise(data, t, baralphas.cpu())[0].T.numpy(), s=1)
                plt.axis([-3, 3, -3, 3])
                figure.canvas.draw()
                writer.append_data(np.asarray(figure.canvas.buffer_rgba()))
                plt.close(figure)

    took = {"training": seconds(train), "sampling": seconds(partial(sample, size.points)), "video": seconds(video)}
    print("   ".join(f"{name} {value:.1f} s" for name, value in took.items()))
    fresh = [torch.from_numpy(get_dataset("moons", POINTS, np.random.default_rng(number))) for number in range(5)]
    samples = sample(POINTS)
    swd = np.mean([sliced_wasserstein(samples, one) for one in fresh])
    floor = np.mean([sliced_wasserstein(*pair) for pair in combinations(fresh, 2)])
    print(f"distance to the data {swd:.4f}, {swd / floor:.2f} times the noise floor of {floor:.4f}")


def epochs(size: SimpleNamespace, device: str) -> None:
    """Print the time of an epoch of the project, of the textbook, and of the bare matrix products, taking turns."""
    import torch

    from lib.model_diffusion import SimpleDiffusion
    from lib.optimize import make_adam
    from lib.train_diffusion import train
    from lib.utils import cosine_schedule, get_dataset

    data, baralphas = torch.from_numpy(get_dataset("moons", size.points)), cosine_schedule(STEPS)[0].to(device)
    ours, theirs = (SimpleDiffusion(2, BLOCKS, UNITS, *embeddings).to(device)
                    for embeddings in (("sinusoidal", STEPS, "sinusoidal", "silu"), ()))
    args = SimpleNamespace(batch_size=BATCH, device=device, epochs=1, diffusion_steps=STEPS, dataset="", verbose=False)
    adam, textbook_adam = make_adam(ours, 1e-3), torch.optim.Adam(theirs.parameters())
    parts = {"project": lambda: train(data, args, ours, adam, baralphas),
             "textbook": lambda: textbook_epoch(data, theirs, textbook_adam, baralphas),
             "floor": lambda: [products(BATCH, 3, device) for _ in range(0, size.points, BATCH)]}
    turns = [{name: seconds(part, device) for name, part in parts.items()} for _ in range(size.times)]
    project, textbook, floor = (median(turn[name] for turn in turns) for name in parts)
    print(f"an epoch (medians of {size.times} in turn): {project:.2f} s, the textbook's {textbook:.2f} s, its bare "
          f"matrix products {floor:.2f} s: {textbook / project:.1f} times as fast, {project / floor:.1f} times the "
          "products", flush=True)


def products(rows: int, times: int, device: str) -> None:
    """Compute the matrix products of the network: forward; with times=3, also the gradients of weights and inputs."""
    import torch
    sizes = [(22, UNITS)] + BLOCKS * [(UNITS, UNITS)] + [(UNITS, 2)]
    for k, (inputs, outputs) in enumerate(sizes):
        x, weight, gradient = (torch.ones(shape, device=device)
                               for shape in ((rows, inputs), (inputs, outputs), (rows, outputs)))
        x @ weight
        if times > 1:
            x.t() @ gradient
            if k > 0:                               # the points need no gradient
                gradient @ weight.t()


def sampling(size: SimpleNamespace, device: str) -> None:
    """Print the time of sampling, and of its matrix products alone."""
    import torch

    from lib.model_diffusion import SimpleDiffusion
    from lib.sample_diffusion import CHUNK, sample_ddpm
    from lib.utils import cosine_schedule

    model = SimpleDiffusion(2, BLOCKS, UNITS, "sinusoidal", STEPS, "sinusoidal", "silu").to(device)
    noise, schedule = torch.randn(size.points, 2, device=device), cosine_schedule(STEPS)
    # clipped, as in a run: the points of an untrained model would grow without end
    parts = (lambda: sample_ddpm(model, noise, schedule, clip=2),
             lambda: [products(CHUNK, 1, device) for _ in range(STEPS * size.points // CHUNK)])
    total, floor = (median(times) for times in zip(*[[seconds(part, device) for part in parts] for _ in range(3)]))
    print(f"{size.points:,} samples: {total:.1f} s, {total / floor:.1f} times their bare matrix products "
          f"({floor:.1f} s)", flush=True)


def memory(steps: int, size: SimpleNamespace) -> None:
    """Print the peak memory of a run of one epoch, without a GPU."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "run_diffusion_training.py"), "--device=cpu", *size.flags, "--epochs=1",
                   f"--diffusion_steps={steps}"]
        usage = peak_usage(command, folder)
        print(f"memory with {steps} steps: at most {usage:.0f} MB", flush=True)
