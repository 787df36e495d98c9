"""Time the project's VAE epoch and a textbook's side by side, on MNIST.

Both train the same model with the same batch size and optimizer, in the same process, taking turns epoch by epoch. The
textbook's loop is what most tutorials show: a DataLoader without workers over torchvision's MNIST with ToTensor, and
.item() in every step. An epoch trains on all 60,000 images; the evaluation after it is not included. The kernels that
this exercise cannot do without are timed alone, too: what they take is the least that any loop can take.
"""
import argparse
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from statistics import median
from typing import Callable, Dict, List

from benchmarks import add_shared_flags, describe, seconds
from lib.script import integer

BATCH = 128


def add_flags(parser: argparse.ArgumentParser) -> None:
    add_shared_flags(parser)
    parser.add_argument("--data_dir", default="data", help="folder with MNIST (default: %(default)s)")
    parser.add_argument("--epochs", type=integer(1), default=15, help="epochs of each (default: %(default)s)")
    parser.set_defaults(function=main)


def matrix_products(images: int, device: str) -> None:
    """Compute only the matrix products of an epoch: forward, and the gradients of weights and inputs."""
    import torch
    sizes = [(784, 100), (100, 2), (100, 2), (2, 100), (100, 784)]
    weights = [torch.randn(shape, device=device) for shape in sizes]
    for start in range(0, images, BATCH):
        n = min(BATCH, images - start)
        if n < BATCH or start == 0:
            inputs = {size: torch.randn(n, size, device=device) for size in (784, 100, 2)}
        for k, ((rows, columns), weight) in enumerate(zip(sizes, weights)):
            inputs[rows] @ weight
            inputs[rows].t() @ inputs[columns]
            if k > 0:                               # the images need no gradient
                inputs[columns] @ weight.t()


def make_kernels(images: int, device: str) -> Dict[str, Callable[[], None]]:
    """Return functions that compute one of the kernels for an epoch, forward and backward."""
    import torch
    from torch.nn.functional import binary_cross_entropy

    from lib.model_vae import VAE
    from lib.optimize import make_adam
    batches = range(0, images, BATCH)
    logits, x = torch.randn(BATCH, 784, device=device, requires_grad=True), torch.rand(BATCH, 784, device=device)
    decoded = torch.sigmoid(logits.detach()).requires_grad_()
    model = VAE().to(device)
    for weight in model.parameters():
        weight.grad = torch.full_like(weight, 1e-3)
    adam = make_adam(model, 1e-3)

    def cross_entropy() -> None:
        for _ in batches:
            binary_cross_entropy(decoded, x, reduction="sum").backward()

    def sigmoid() -> None:
        for _ in batches:
            torch.sigmoid(logits).backward(x)

    def step() -> None:
        for _ in batches:
            adam.step()

    return {"matrix products": partial(matrix_products, images, device), "cross entropy": cross_entropy,
            "sigmoid": sigmoid, "Adam": step}


def main(args: argparse.Namespace) -> None:
    import torch
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    from lib.digits import load_digits, make_test_loader, make_train_loader
    from lib.loss_vae import VAELoss
    from lib.model_vae import VAE
    from lib.optimize import make_adam
    from lib.train_vae import evaluate, train_epoch

    device, number = args.device, 2 if args.small else args.epochs
    digits = load_digits("mnist", args.data_dir)
    train_loader, test_loader = make_train_loader(digits, BATCH), make_test_loader(digits)
    textbook_loader = DataLoader(datasets.MNIST(args.data_dir, train=True, transform=transforms.ToTensor()),
                                 batch_size=BATCH, shuffle=True)

    def textbook_epoch(model, loader, loss_function, optimizer, device):
        model.train()
        total = 0.0
        for x, _ in loader:
            x = x.to(device)
            optimizer.zero_grad()
            decoded, mu, logvar = model(x)
            loss = loss_function(decoded, x, mu, logvar)
            loss.backward()
            optimizer.step()
            total += loss.item()

    runs = {}
    for name, epoch, loader, make_optimizer in (("project", train_epoch, train_loader, make_adam),
                                                ("textbook", textbook_epoch, textbook_loader, textbook_adam)):
        torch.manual_seed(0)
        model = VAE().to(device)
        runs[name] = partial(epoch, model, loader, VAELoss(), make_optimizer(model, 1e-3), device), model
    images = len(digits.train_images)
    kernels = make_kernels(images, device)
    times: Dict[str, List[float]] = {name: [] for name in (*runs, *kernels)}
    for turn in range(1, number + 1):
        for name, function in [*((name, run) for name, (run, _) in runs.items()), *kernels.items()]:
            times[name].append(seconds(function, device))
        print(f"epoch {turn:2d}   " + "   ".join(
            f"{name} {values[-1]:6.2f} s" for name, values in times.items()), flush=True)

    middle = {name: median(values) for name, values in times.items()}
    print(f"\n{describe(device)}; medians of {number} epochs in turn, {images:,} images each")
    for name, (_, model) in runs.items():
        reconstruction, kl = evaluate(model, test_loader, device)
        print(f"{name:9s} {middle[name]:6.2f} s an epoch, test loss {reconstruction + kl:.1f} "
              f"(reconstruction {reconstruction:.1f}, KL {kl:.2f})")
    print(f"the project's epoch is {middle['textbook'] / middle['project']:.1f} times as fast as the textbook's")
    floor = sum(middle[name] for name in kernels)
    print(f"the kernels alone take {floor:.2f} s, {floor / middle['project']:.0%} of the project's epoch: "
          + ", ".join(f"{name} {middle[name]:.2f}" for name in kernels))
    whole_command(args.data_dir, device)
    ratio = start_time(["run_vae_training.py", "--help"]) / start_time(["-c", "pass"])
    print(f"--help takes {ratio:.1f} times the start of a bare interpreter")


def textbook_adam(model, lr: float):
    import torch
    return torch.optim.Adam(model.parameters(), lr)


def start_time(command: List[str]) -> float:
    """Return the median time of 15 starts of this Python, in seconds."""
    return median(seconds(lambda: subprocess.run([sys.executable, *command], stdout=subprocess.DEVNULL, check=True))
                  for _ in range(15))


def whole_command(data_dir: str, device: str) -> None:
    """Run the script for two epochs, and print its time and peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "run_vae_training.py", "--dataset", "mnist", "--data_dir", data_dir,
                   "--num_epochs", "2", "--output_dir", folder, "--device", device]
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        usage = os.wait4(process.pid, 0)[2]         # Linux and macOS; in kilobytes on Linux
        print(f"run_vae_training.py with 2 epochs: {time.perf_counter() - start:.1f} s, at most "
              f"{usage.ru_maxrss / 1e3:.0f} MB of memory")
