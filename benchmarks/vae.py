"""Time the project's VAE epoch and a textbook's side by side, on MNIST.

Both train the same model with the same batch size and optimizer, in the same process, taking turns epoch by epoch. The
textbook's loop is what most tutorials show: a DataLoader without workers over torchvision's MNIST with ToTensor, and
.item() in every step. An epoch trains on all 60,000 images; the evaluation after it is not included.
"""
import argparse
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from statistics import median
from typing import Callable, List

from lib.script import integer

BATCH = 128


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data_dir", default="data", help="folder with MNIST (default: %(default)s)")
    parser.add_argument("--epochs", type=integer(1), default=15, help="epochs of each (default: %(default)s)")
    parser.set_defaults(function=main)


def seconds(function: Callable[[], object]) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def matrix_products(images: int) -> None:
    """Compute only the matrix products of an epoch: forward, and the gradients of weights and inputs."""
    import torch
    sizes = [(784, 100), (100, 2), (100, 2), (2, 100), (100, 784)]
    weights = [torch.randn(shape) for shape in sizes]
    for start in range(0, images, BATCH):
        n = min(BATCH, images - start)
        if n < BATCH or start == 0:
            inputs = {size: torch.randn(n, size) for size in (784, 100, 2)}
        for k, ((rows, columns), weight) in enumerate(zip(sizes, weights)):
            inputs[rows] @ weight
            inputs[rows].t() @ inputs[columns]
            if k > 0:                               # the images need no gradient
                inputs[columns] @ weight.t()


def main(args: argparse.Namespace) -> None:
    import torch
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    from lib.digits import load_digits, make_test_loader, make_train_loader
    from lib.loss_vae import VAELoss
    from lib.model_vae import VAE
    from lib.train_vae import evaluate, train_epoch

    digits = load_digits("mnist", args.data_dir)
    train_loader, test_loader = make_train_loader(digits, BATCH), make_test_loader(digits)
    textbook_loader = DataLoader(datasets.MNIST(args.data_dir, train=True, transform=transforms.ToTensor()),
                                 batch_size=BATCH, shuffle=True)

    def textbook_epoch(model, loader, loss_function, optimizer):
        model.train()
        total = 0.0
        for x, _ in loader:
            optimizer.zero_grad()
            decoded, mu, logvar = model(x)
            loss = loss_function(decoded, x, mu, logvar)
            loss.backward()
            optimizer.step()
            total += loss.item()

    runs = {}
    for name, epoch, loader, fused in (("project", train_epoch, train_loader, True),
                                       ("textbook", textbook_epoch, textbook_loader, None)):
        torch.manual_seed(0)
        model = VAE()
        runs[name] = (epoch, model, loader, VAELoss(), torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused))
    times = {"project": [], "textbook": [], "floor": []}
    for number in range(args.epochs):
        for name, (epoch, *rest) in runs.items():
            times[name].append(seconds(partial(epoch, *rest)))
        times["floor"].append(seconds(lambda: matrix_products(60_000)))
        print(f"epoch {number + 1:2d}   " + "   ".join(
            f"{name} {values[-1]:6.2f} s" for name, values in times.items()), flush=True)

    middle = {name: median(values) for name, values in times.items()}
    print(f"\ntorch {torch.__version__}, {torch.get_num_threads()} threads; medians of {args.epochs} epochs in turn")
    for name, (_, model, *_) in runs.items():
        reconstruction, kl = evaluate(model, test_loader)
        print(f"{name:9s} {middle[name]:6.2f} s an epoch, test loss {reconstruction + kl:.1f} "
              f"(reconstruction {reconstruction:.1f}, KL {kl:.2f})")
    print(f"{'floor':9s} {middle['floor']:6.2f} s, the bare matrix products of an epoch")
    print(f"the project's epoch is {middle['textbook'] / middle['project']:.1f} times as fast as the textbook's and "
          f"takes {middle['project'] / middle['floor']:.1f} times the floor")
    whole_command(args.data_dir)
    ratio = start_time(["run_vae_training.py", "--help"]) / start_time(["-c", "pass"])
    print(f"--help takes {ratio:.1f} times the start of a bare interpreter")


def start_time(command: List[str]) -> float:
    """Return the median time of 15 starts of this Python, in seconds."""
    return median(seconds(lambda: subprocess.run([sys.executable, *command], stdout=subprocess.DEVNULL, check=True))
                  for _ in range(15))


def whole_command(data_dir: str) -> None:
    """Run the script for two epochs, and print its time and peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "run_vae_training.py", "--dataset", "mnist", "--data_dir", data_dir,
                   "--num_epochs", "2", "--output_dir", folder]
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        usage = os.wait4(process.pid, 0)[2]         # Linux and macOS; in kilobytes on Linux
        print(f"run_vae_training.py with 2 epochs: {time.perf_counter() - start:.1f} s, at most "
              f"{usage.ru_maxrss / 1e3:.0f} MB of memory")
