"""Time the project's VAE epoch and a textbook's side by side, on MNIST.

Both train the same model with the same batch size and optimizer, in the same process, taking turns epoch by epoch. The
textbook's loop is what most tutorials show: a DataLoader without workers over torchvision's MNIST with ToTensor, and
.item() in every step. An epoch trains on all 60,000 images; the evaluation after it is not included. One more epoch of
the project's is profiled: the time in PyTorch's operations is what a better loop could not save.
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

from benchmarks import add_shared_flags, describe, peak_usage, seconds
from lib.script import integer

BATCH = 128
KERNELS = {"matrix products": ("aten::addmm", "aten::mm"),
           "cross entropy": ("aten::binary_cross_entropy", "aten::binary_cross_entropy_backward"),
           "sigmoid": ("aten::sigmoid", "aten::sigmoid_backward"), "Adam": ("aten::_fused_adam_",)}


def add_flags(parser: argparse.ArgumentParser) -> None:
    add_shared_flags(parser)
    parser.add_argument("--data_dir", default="data", help="folder with MNIST (default: %(default)s)")
    parser.add_argument("--epochs", type=integer(1), default=15, help="epochs of each (default: %(default)s)")
    parser.set_defaults(function=main)


def profile_kernels(epoch: Callable[[], object]) -> Dict[str, float]:
    """Return the seconds of an epoch on a CPU under the profiler: all of them, those of each group in KERNELS, and
    those of PyTorch's other operations (the loader's, too).
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # the profiler would report that there is no GPU
    from torch.profiler import ProfilerActivity, profile
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        took = seconds(epoch)
    times = {event.key: event.self_cpu_time_total / 1e6 for event in profiler.key_averages()
             if event.key.startswith("aten::")}
    groups = {group: sum(times.get(name, 0) for name in names) for group, names in KERNELS.items()}
    return {"all": took, **groups, "others": sum(times.values()) - sum(groups.values())}


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
    times: Dict[str, List[float]] = {name: [] for name in runs}
    for turn in range(1, number + 1):
        for name, (run, _) in runs.items():
            times[name].append(seconds(run, device))
        print(f"epoch {turn:2d}   " + "   ".join(
            f"{name} {values[-1]:6.2f} s" for name, values in times.items()), flush=True)

    middle = {name: median(values) for name, values in times.items()}
    print(f"\n{describe(device)}; medians of {number} epochs in turn, {images:,} images each")
    for name, (_, model) in runs.items():
        reconstruction, kl = evaluate(model, test_loader, device)
        print(f"{name:9s} {middle[name]:6.2f} s an epoch, test loss {reconstruction + kl:.1f} "
              f"(reconstruction {reconstruction:.1f}, KL {kl:.2f})")
    print(f"the project's epoch is {middle['textbook'] / middle['project']:.1f} times as fast as the textbook's")
    whole_command(args.data_dir, device)
    ratio = start_time(["run_vae_training.py", "--help"]) / start_time(["-c", "pass"])
    print(f"--help takes {ratio:.1f} times the start of a bare interpreter")
    if device == "cpu":
        parts = profile_kernels(runs["project"][0])
        took = parts.pop("all")
        print("PyTorch's operations take {:.2f} s of a profiled epoch's {:.2f} s: ".format(sum(parts.values()), took)
              + ", ".join(f"{name} {value:.2f}" for name, value in parts.items()))


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
        usage = peak_usage(command, ".")
        print(f"run_vae_training.py with 2 epochs: {time.perf_counter() - start:.1f} s, at most {usage:.0f} MB")
