"""Helpers of the proofs: run scripts as a user does, make small datasets, and compare runs."""
import gzip
import hashlib
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tests.scoring.edition import CHANGELOG, Edition, read_edition
from tests.scoring.tasks import TASKS

ROOT = Path(__file__).resolve().parent.parent.parent
TRAIN, PLOT, DIFFUSION = "run_vae_training.py", "plot_latent_space.py", "run_diffusion_training.py"
GAN, SAMPLE, EXPLORER = "run_gan_training.py", "sample_gan.py", "make_explorer.py"
NOBODY = "http://127.0.0.1:9"  # no server listens at this address
MNIST_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

TODAYS_EDITION = read_edition((ROOT / CHANGELOG).read_text(encoding="utf-8")) or Edition(0, "")
NUMBERS = [task.number for task in TASKS]
WITH_TESTS = [task.number for task in TASKS if task.graded_by == "tests"]
BONUS = sum(task.points for task in TASKS if task.bonus)
REGULAR = sum(task.points for task in TASKS) - BONUS
BY_TESTS = sum(task.points for task in TASKS if task.graded_by == "tests")
FEEDBACK = """# Feedback
## Major problems
none
## Helpful?
<!-- a comment -->
yes
## Hours
hours: [10, 8.5]
## Other feedback
none
"""


def environment(**more):
    """Return environment variables for scripts: no window, no network, and one thread.

    Downloads are refused at once. With one thread each, two processes do not slow each other down.
    """
    proxies = {name: NOBODY for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")}
    return dict(os.environ, MPLBACKEND="Agg", OMP_NUM_THREADS="1", no_proxy="127.0.0.1", NO_PROXY="127.0.0.1",
                **proxies, **more)


def command(script, *flags):
    return [sys.executable, str(ROOT / script)] + [str(flag) for flag in flags]


def start(script, *flags, cwd, **options):
    """Start a script and return its process, so that a test can act on it while it runs."""
    settings = dict(cwd=str(cwd), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    universal_newlines=True)
    return subprocess.Popen(command(script, *flags), **{**settings, **options})


def finish(process):
    """Wait for a process to end; return its output and exit status."""
    try:
        stdout, stderr = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def read_until(process, epoch):
    """Read a process's output until it has finished an epoch, or until the output ends."""
    for line in process.stdout:
        if line.startswith("epoch ") and int(line.split()[1].split("/")[0]) >= epoch:
            return


def run(script, *flags, cwd, **options):
    return finish(start(script, *flags, cwd=cwd, **options))


def assert_done(done):
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr


def assert_one_line(done, status, *words):
    """Assert that a script ended with a status and one line on stderr that contains these words."""
    lines = [line for line in done.stderr.splitlines() if line]
    assert done.returncode == status and len(lines) == 1, f"status {done.returncode}\n{done.stdout}{done.stderr}"
    script = Path(done.args[1]).name
    assert lines[0].startswith(f"{script}: "), lines[0]
    assert all(str(word) in lines[0] for word in words), lines[0]


def contents(folder):
    """Return the bytes of all files below a folder, by path."""
    files = (path for path in Path(folder).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def load(folder):
    """Load the checkpoint of a run with torch alone."""
    return torch.load(str(Path(folder) / "checkpoint.pt"), weights_only=True)


def assert_same_value(one, other, where="checkpoint"):
    """Assert that two values are equal bit for bit, however their tensors and numbers are nested."""
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype and torch.equal(one, other), where
    elif isinstance(one, dict):
        assert list(one) == list(other), where
        for key in one:
            assert_same_value(one[key], other[key], f"{where}[{key!r}]")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for place, (left, right) in enumerate(zip(one, other)):
            assert_same_value(left, right, f"{where}[{place}]")
    else:
        assert one == other, where


def assert_same_run(one, other):
    """Assert that two runs have the same weights, optimizer state, metrics and figures, and no partial files."""
    files, others = contents(one), contents(other)
    assert sorted(files) == sorted(others)
    assert not [name for name in files if name.endswith(".part")]
    assert_same_value(load(one), load(other))
    assert [name for name in files if name != "checkpoint.pt" and files[name] != others[name]] == []


def idx(array):
    """Return an array of bytes in MNIST's file format."""
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def small_mnist(train=512, test=128):
    """Return the four files of a dataset of noise in MNIST's format, by name."""
    random, files = np.random.RandomState(0), []
    for count in (train, test):
        images = (255 * random.rand(count, 28, 28) ** 4).astype(np.uint8)
        files += [idx(images), idx(random.randint(0, 10, count).astype(np.uint8))]
    return dict(zip(MNIST_FILES, files))


def write_mnist(data_dir, files):
    raw = Path(data_dir) / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, data in files.items():
        (raw / name).write_bytes(data)


def write_images(folder, count=20):
    """Write images of smooth noise to two class folders, each slightly larger than 32 by 32 pixels."""
    random = np.random.RandomState(0)
    for number in range(count):
        path = Path(folder) / ("ab"[number % 2]) / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(random.randint(0, 256, (5, 5, 3), dtype=np.uint8))
        small.resize((32 + number % 5, 32 + number % 3), Image.Resampling.BICUBIC).save(str(path))


def archives(files):
    """Pack files as a server has them; return the archives by name, and a list of names and MD5 checksums."""
    packed = {f"{name}.gz": gzip.compress(data) for name, data in files.items()}
    return packed, [(name, hashlib.md5(data).hexdigest()) for name, data in packed.items()]


def change(folder, path, old, new):
    """Replace text in a file, which must contain it."""
    data = (Path(folder) / path).read_bytes()
    assert old.encode() in data, old
    (Path(folder) / path).write_bytes(data.replace(old.encode(), new.encode()))


def tracked_files(project):
    listed = subprocess.check_output(["git", "ls-files", "-z"], cwd=str(project))
    return [name for name in os.fsdecode(listed).split("\0") if name]


def copy_project(folder, but=()):
    """Copy the project as it is in the working tree, except files with these endings."""
    for name in tracked_files(ROOT):
        if not name.endswith(tuple(but)):
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(ROOT / name), str(Path(folder) / name))


def commit(folder):
    """Commit everything in a folder as the only commit of a new repository."""
    for command in (["init", "--quiet"], ["add", "--all", "--force"], ["commit", "--quiet", "--message", "all"]):
        subprocess.check_call(["git", "-c", "user.name=n", "-c", "user.email=e"] + command, cwd=str(folder))
