"""Time the project's diffusion run and a textbook's side by side, each from the command to its last file.

Both learn the moons from 100,000 points with 8 hidden layers of 64 units, batches of 2048, the cosine schedule and
100 timesteps. The textbook's run is what tutorials show: a shuffling DataLoader over a TensorDataset, .item() in
every step, a constant learning rate of 1e-3, the index of the timestep as input, 250 epochs, then 100,000 samples and
a video of the forward process in 100 scatter plots. The project's run is run_diffusion_training.py with its defaults.
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
from typing import Dict, Iterator

from benchmarks.vae import seconds
from lib.script import integer

POINTS, BATCH, STEPS, BLOCKS, UNITS = 100_000, 2048, 100, 8, 64
ROOT = Path(__file__).resolve().parent.parent


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--part", type=integer(1, 25), default=1, metavar="N",
                        help="an Nth of the textbook's epochs, samples and frames (default: %(default)s, all)")
    parser.add_argument("--run", choices=("textbook", "project"), help="only this run, here, with a clock at its parts")
    parser.set_defaults(function=main)


def main(args: argparse.Namespace) -> None:
    if args.run:
        print_parts(textbook(args.part) if args.run == "textbook" else project())
        return
    import torch
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    took = {}
    for name in ("textbook", "project"):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "benchmarks", "diffusion", "--run", name, "--part", str(args.part)]
            environment = dict(os.environ, PYTHONPATH=str(ROOT), MPLBACKEND="Agg")
            print(f"the {name}'s run:", flush=True)
            took[name] = seconds(partial(subprocess.run, command, cwd=folder, env=environment, check=True))
        print(f"    {took[name]:.1f} s from command to last file", flush=True)
    print(f"the project's run is {took['textbook'] / took['project']:.1f} times as fast as "
          + (f"one {args.part}th of " if args.part > 1 else "") + "the textbook's")
    epochs()
    sampling()
    for steps in (STEPS, 1000):
        memory(steps)


def print_parts(parts: Dict[str, float]) -> None:
    *took, distance, floor = parts.values()
    print("    " + "   ".join(f"{name} {value:.1f} s" for name, value in zip(parts, took)))
    print(f"    distance to the data {distance:.4f}, {distance / floor:.2f} times the noise floor of {floor:.4f}",
          flush=True)


def textbook_epoch(data, model, optimizer, baralphas) -> None:
    import torch
    from torch.nn.functional import mse_loss
    from torch.utils.data import DataLoader, TensorDataset

    from lib.utils import add_noise
    total = 0.0
    for batch, in DataLoader(TensorDataset(data), batch_size=BATCH, shuffle=True):
        t = torch.randint(0, STEPS, (len(batch), 1))
        noisy, eps = add_noise(batch, t, baralphas)
        loss = mse_loss(model(noisy, t), eps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()


def textbook(part: int) -> Dict[str, float]:
    """Run the textbook's script; return the seconds of its parts, the distance of its samples, and the noise floor."""
    import imageio.v2 as imageio
    import numpy as np
    import torch
    from matplotlib import pyplot as plt
    from sklearn.datasets import make_moons

    from lib.distances import POINTS as SAMPLE
    from lib.distances import sliced_wasserstein
    from lib.model_diffusion import SimpleDiffusion
    from lib.utils import add_noise, cosine_schedule, get_dataset

    torch.manual_seed(0)
    data = torch.from_numpy(make_moons(POINTS, noise=0.01, random_state=0)[0]).float()
    baralphas, alphas, betas = cosine_schedule(STEPS)
    model = SimpleDiffusion(2, BLOCKS, UNITS)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def train() -> None:
        for _ in range(250 // part):
            textbook_epoch(data, model, optimizer, baralphas)

    @torch.no_grad()
    def sample(n: int) -> torch.Tensor:             # Ho et al. 2020, algorithm 2
        x = torch.randn(n, 2)
        for t in reversed(range(STEPS)):
            eps = model(x, torch.full((n, 1), t))
            x = (x - betas[t] / torch.sqrt(1 - baralphas[t]) * eps) / torch.sqrt(alphas[t])
            if t > 0:
                x = x + torch.sqrt(betas[t]) * torch.randn_like(x)
        return x

    def video() -> None:
        with imageio.get_writer("forward.mp4", fps=25) as writer:
            for t in range(0, STEPS, part):
                figure = plt.figure(figsize=(6.4, 6.4))
                plt.scatter(*add_noise(data, t, baralphas)[0].T, s=1)
                plt.axis([-3, 3, -3, 3])
                figure.canvas.draw()
                writer.append_data(np.asarray(figure.canvas.buffer_rgba()))
                plt.close(figure)

    took = {"training": seconds(train), "sampling": seconds(lambda: sample(POINTS // part)), "video": seconds(video)}
    fresh = [torch.from_numpy(get_dataset("moons", SAMPLE, np.random.default_rng(number))) for number in range(5)]
    pairs = [(sample(SAMPLE), one) for one in fresh], combinations(fresh, 2)
    return {**took, **{name: float(np.mean([sliced_wasserstein(*pair) for pair in some]))
                       for name, some in zip(("swd", "floor"), pairs)}}


def project() -> Dict[str, float]:
    """Run the project's script; return the seconds of its parts, the distance of its samples, and the noise floor."""
    import runpy

    from lib import monitor_diffusion, pictures, train_diffusion
    took = dict.fromkeys(("imports and the rest", "training", "sampling", "distances", "drawing", "encoding"), 0.0)
    parts, since = ["imports and the rest"], time.perf_counter()    # the part that is going on is the last

    def turn(part: str = "") -> None:
        """Enter a part, or return to the one before."""
        nonlocal since
        now = time.perf_counter()
        took[parts[-1]] += now - since
        since = now
        if part:
            parts.append(part)
        else:
            parts.pop()

    def clock(where: object, name: str, part: str) -> None:
        function = getattr(where, name)

        def timed(*args, **options):
            turn(part)
            result = function(*args, **options)
            turn()
            return result
        setattr(where, name, timed)

    def drawn(frames: Iterator) -> Iterator:
        while True:
            turn("drawing")
            frame = next(frames, None)
            turn()
            if frame is None:
                return
            yield frame

    save_video = pictures.save_video
    pictures.save_video = lambda frames, *rest: save_video(drawn(frames), *rest)
    clock(pictures, "save_video", "encoding")
    clock(train_diffusion, "train", "training")
    clock(monitor_diffusion, "sample_ddpm", "sampling")
    clock(monitor_diffusion, "mean_distances", "distances")
    for name in ("save_forward_video", "save_generation_video", "save_comparison", "save_schedules", "save_curves"):
        clock(monitor_diffusion, name, "drawing")
    sys.argv = ["run_diffusion_training.py", "--quiet"]
    try:
        runpy.run_path(str(ROOT / sys.argv[0]), run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    turn("drawing")
    with open("results_diffusion/metrics.csv") as file:
        last = list(csv.DictReader(file))[-1]
    return {**took, "swd": float(last["swd"]), "floor": float(last["swd_floor"])}


def epochs(number: int = 10) -> None:
    """Print the time of an epoch of the project, of the textbook, and of the bare matrix products, taking turns."""
    import torch

    from lib.model_diffusion import SimpleDiffusion
    from lib.train_diffusion import train
    from lib.utils import cosine_schedule, get_dataset

    data, baralphas = torch.from_numpy(get_dataset("moons", POINTS)), cosine_schedule(STEPS)[0]
    models = [SimpleDiffusion(2, BLOCKS, UNITS, "sinusoidal", STEPS), SimpleDiffusion(2, BLOCKS, UNITS)]
    args = SimpleNamespace(batch_size=BATCH, device="cpu", epochs=1, diffusion_steps=STEPS, dataset="", verbose=False)
    optimizers = [torch.optim.Adam(models[0].parameters(), fused=True), torch.optim.Adam(models[1].parameters())]
    took = {"project": [], "textbook": [], "floor": []}
    for _ in range(number):
        took["project"].append(seconds(lambda: train(data, args, models[0], optimizers[0], baralphas)))
        took["textbook"].append(seconds(lambda: textbook_epoch(data, models[1], optimizers[1], baralphas)))
        took["floor"].append(seconds(lambda: [products(BATCH, 3) for _ in range(0, POINTS, BATCH)]))
    project, textbook, floor = (median(values) for values in took.values())
    print(f"an epoch (medians of {number} in turn): {project:.2f} s, the textbook's {textbook:.2f} s, its bare matrix "
          f"products {floor:.2f} s: {textbook / project:.1f} times as fast, {project / floor:.1f} times the products",
          flush=True)


def products(rows: int, times: int) -> None:
    """Compute the matrix products of the network: forward; with times=3, also the gradients of weights and inputs."""
    import torch
    sizes = [(10, UNITS)] + BLOCKS * [(UNITS, UNITS)] + [(UNITS, 2)]
    for k, (inputs, outputs) in enumerate(sizes):
        x, weight, gradient = torch.ones(rows, inputs), torch.ones(inputs, outputs), torch.ones(rows, outputs)
        x @ weight
        if times > 1:
            x.t() @ gradient
            if k > 0:                               # the points need no gradient
                gradient @ weight.t()


def sampling(number: int = 3) -> None:
    """Print the time of 100,000 samples, and of the matrix products alone."""
    import torch

    from lib.model_diffusion import SimpleDiffusion
    from lib.sample_diffusion import CHUNK, sample_ddpm
    from lib.utils import cosine_schedule

    model, schedule = SimpleDiffusion(2, BLOCKS, UNITS, "sinusoidal", STEPS), cosine_schedule(STEPS)
    took = {"sampling": [], "floor": []}
    for _ in range(number):
        took["sampling"].append(seconds(lambda: sample_ddpm(model, torch.randn(POINTS, 2), schedule)))
        took["floor"].append(seconds(lambda: [products(CHUNK, 1) for _ in range(STEPS * POINTS // CHUNK)]))
    total, floor = (median(values) for values in took.values())
    print(f"{POINTS:,} samples: {total:.1f} s, {total / floor:.1f} times their bare matrix products ({floor:.1f} s)",
          flush=True)


def memory(steps: int) -> None:
    """Print the peak memory of a run of one epoch."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, ROOT / "run_diffusion_training.py", "--epochs=1", f"--diffusion_steps={steps}"]
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
        usage = os.wait4(process.pid, 0)[2]         # Linux and macOS; in kilobytes on Linux
        print(f"memory with {steps} steps: at most {usage.ru_maxrss / 1e3:.0f} MB", flush=True)
