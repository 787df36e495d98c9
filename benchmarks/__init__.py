"""Timings of the project and of textbook code, side by side."""
import argparse
import os
import subprocess
import time
from typing import Callable, Sequence


def add_shared_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that all benchmarks have."""
    parser.add_argument("--device", choices=("cpu", "cuda", "mps"), default="cpu", help="default: %(default)s")
    parser.add_argument("--small", action="store_true",
                        help="run through everything with little data; the times then mean nothing")


def describe(device: str) -> str:
    """Return what a benchmark runs on, in words."""
    import torch
    name = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"
    return f"torch {torch.__version__}, {device}, {name}"


def wait(device: str) -> None:
    """Wait until a device has finished its work: a GPU works while the program already goes on."""
    import torch
    if device != "cpu":
        getattr(torch, device).synchronize()


def peak_usage(command: Sequence[str], cwd: str) -> float:
    """Run a command to its end, and return the most memory that it used, in megabytes (on Linux)."""
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)     # Linux and macOS
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return usage.ru_maxrss / 1e3


def seconds(function: Callable[[], object], device: str = "cpu") -> float:
    """Return how long a call takes."""
    wait(device)
    start = time.perf_counter()
    function()
    wait(device)
    return time.perf_counter() - start
