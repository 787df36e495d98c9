"""The scripts of exercise 1 from end to end, as a user runs them."""
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.image import imread

from course.tests.support import (
    DIFFUSION,
    EXPLORER,
    GAN,
    PLOT,
    SAMPLE,
    TRAIN,
    assert_done,
    assert_one_line,
    assert_same_run,
    assert_same_value,
    command,
    contents,
    environment,
    finish,
    load,
    run,
    start,
)
from course.tests.surroundings import SCRIPTS
from lib.files import RECORD

COURSE_DATA = os.environ.get("COURSE_DATA")
HEAVY = ("torch", "torchvision", "numpy", "matplotlib", "sklearn", "tqdm")
EPOCH = re.compile(r"epoch +(\d+)/\d+ +train: reconstruction +[\d.]+, KL +[\d.]+ +test: reconstruction +[\d.]+, "
                   r"KL +[\d.]+")


@pytest.fixture(scope="module")
def three_weights(tmp_path_factory, small):
    """A working directory with the runs of task 1.4."""
    cwd = tmp_path_factory.mktemp("weights")
    processes = [start(TRAIN, *small, "--num_epochs", 1, "--kl_loss_weight", weight, cwd=cwd) for weight in (0, 1, 30)]
    for process in processes:
        assert_done(finish(process))
    return cwd


# Before anything heavy

@pytest.mark.parametrize("script, flag, status", [
    *((script, *case) for script in (*SCRIPTS, EXPLORER) for case in (("--help", 0), ("--hlep", 2))),
    (PLOT, "--device=", None)])
def test_help_and_mistyped_flags_import_nothing_heavy(script, flag, status, tmp_path):
    """The last one shows that the list of imports tells when something heavy is imported."""
    done = subprocess.run([sys.executable, "-X", "importtime"] + command(script, flag)[1:], cwd=str(tmp_path),
                          env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "argparse" in imported
    if status is None:
        assert "torch" in imported and "numpy" in imported
    else:
        assert done.returncode == status and not imported.intersection(HEAVY)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("script, flags", [
    (TRAIN, "kl_loss_weight num_epochs lr batch_size latent_size hidden_size dataset data_dir output_dir device seed "
            "resume overwrite"),
    (PLOT, "kl_loss_weight output_dir compare data_dir device show"),
    (DIFFUSION, "dataset epochs diffusion_steps schedule n_samples n_blocks batch_size learning_rate output_dir device "
                "seed resume overwrite no_video"),
    (GAN, "num_epochs batch_size latent_size ngf ndf lr beta1 plain data_dir skip_bad output_dir device seed resume "
          "overwrite no_images"),
    (SAMPLE, "checkpoint output_dir num_images temperature seed weights batch_norm walk nearest device")])
def test_help_names_every_flag(script, flags, tmp_path):
    done = run(script, "--help", cwd=tmp_path)
    assert_done(done)
    for flag in flags.split():
        assert f"--{flag}" in done.stdout


# Training

def test_what_a_run_says_and_leaves(tmp_path, small):
    done = run(TRAIN, *small, "--num_epochs", 2, cwd=tmp_path)
    assert_done(done)
    assert "\r" not in done.stdout and "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    assert [EPOCH.match(line).group(1) for line in lines if line.startswith("epoch")] == ["1", "2"], done.stdout
    assert "results_kl1.0" in lines[-1] and not lines[-1].startswith("epoch")
    assert os.listdir(str(tmp_path)) == ["results_kl1.0"]
    folder = tmp_path / "results_kl1.0"
    assert set(contents(folder)) == {
        "checkpoint.pt", "metrics.csv", "train_samples.png", "reconstruction_epoch_01.png",
        "reconstruction_epoch_02.png", "prior_samples.png", "loss_curves.png", RECORD}
    for image in folder.glob("*.png"):
        assert imread(str(image)).std() > 0.01, image
    rows = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    assert rows[0] == ["epoch", "train_reconstruction", "train_kl", "test_reconstruction", "test_kl"]
    assert [row[0] for row in rows[1:]] == ["1", "2"] and all(float(value) >= 0 for row in rows[1:] for value in row)


def test_same_command_gives_the_same_bits_and_another_seed_others(tmp_path, small):
    """With as many threads as there are by default."""
    threads = environment()
    del threads["OMP_NUM_THREADS"]
    processes = [start(TRAIN, *small, "--num_epochs", 2, "--seed", seed, "--output_dir", name, cwd=tmp_path,
                       env=threads) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    for process in processes:
        assert_done(finish(process))
    assert_same_run(tmp_path / "a", tmp_path / "b")
    one, other = load(tmp_path / "a")["model"], load(tmp_path / "c")["model"]
    assert list(one) == list(other) and not any(one[name].equal(other[name]) for name in one)
    with pytest.raises(AssertionError):
        assert_same_run(tmp_path / "a", tmp_path / "c")


def test_no_images(tmp_path, small, trained):
    folder = tmp_path / "deep" / "er"
    assert_done(run(TRAIN, *small, "--num_epochs", 2, "--no_images", "--output_dir", folder, cwd=tmp_path))
    assert set(contents(tmp_path)) == {"deep/er/checkpoint.pt", "deep/er/metrics.csv", f"deep/er/{RECORD}"}
    assert_same_value(load(folder), load(trained))


def test_pipe_whose_reader_leaves(tmp_path, small):
    line = " ".join(f"'{word}'" for word in command(TRAIN, *small, "--num_epochs", 5, "--no_images")) + " | head -n 1"
    done = subprocess.run(["bash", "-c", line], cwd=str(tmp_path), env=environment(), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True)
    assert done.stdout.count("\n") == 1 and done.stderr.count("\n") == 2 and "--resume" in done.stderr     # one blank


def test_progress_bar_and_ctrl_c_on_a_terminal(tmp_path, small):
    fcntl, pty, termios = (pytest.importorskip(name) for name in ("fcntl", "pty", "termios"))
    keyboard, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))

    def own_terminal():
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = start(TRAIN, *small, "--num_epochs", 500, "--no_images", cwd=tmp_path, stdin=terminal, stdout=terminal,
                    stderr=terminal, preexec_fn=own_terminal)
    os.close(terminal)
    screen = b""
    while screen.count(b"test: reconstruction") < 3:
        screen += os.read(keyboard, 4096)
    os.write(keyboard, b"\x03")                     # Ctrl-C
    try:
        while True:
            screen += os.read(keyboard, 4096)
    except OSError:                                 # the last program on that terminal has ended
        os.close(keyboard)
    assert process.wait() == 128 + signal.SIGINT
    text = screen.decode()
    assert "Traceback" not in text and re.search(r"\repoch 2/500: +\d+%\|", text)
    assert re.search(r"\nrun_vae_training.py: stopped.*--resume.*\r\n$", text), text[-300:]
    epochs = [part for line in text.splitlines() for part in line.split("\r") if EPOCH.search(part)]
    assert len(epochs) >= 3 and all(EPOCH.match(part.strip()) for part in epochs), epochs


# The latent space

def test_latent_space_of_scikit_learns_digits(tmp_path):
    assert_done(run(TRAIN, "--dataset", "digits", "--num_epochs", 1, "--hidden_size", 20, "--no_images", cwd=tmp_path))
    before = contents(tmp_path)
    before.pop(f"results_kl1.0/{RECORD}")
    done = run(PLOT, cwd=tmp_path)                  # on the data that it was trained on: nobody names it here
    assert_done(done)
    assert done.stdout.count("\n") == 1 and "results_kl1.0/latent_space.png" in done.stdout.replace(os.sep, "/")
    after = contents(tmp_path)
    assert set(after) - set(before) == {"results_kl1.0/latent_space.png", f"results_kl1.0/{RECORD}"}
    assert {name: after[name] for name in before} == before
    image = imread(str(tmp_path / "results_kl1.0" / "latent_space.png"))
    assert image.shape[0] > 500 and image.shape[1] > 1000 and image.std() > 0.1


def test_weight_names_the_folder(three_weights, small_data, tmp_path):
    assert sorted(os.listdir(str(three_weights)))[:3] == ["results_kl0.0", "results_kl1.0", "results_kl30.0"]
    shutil.copytree(str(three_weights / "results_kl30.0"), str(tmp_path / "results_kl30.0"))
    shutil.copytree(str(three_weights / "results_kl0.0"), str(tmp_path / "mine"))
    flags = ("--grid_size", 3, "--data_dir", small_data)
    processes = [start(PLOT, "--kl_loss_weight", 30, *flags, cwd=tmp_path),
                 start(PLOT, "--output_dir", "mine", *flags, cwd=tmp_path)]
    for process in processes:
        assert_done(finish(process))
    images = {name: data for name, data in contents(tmp_path).items() if name.endswith("latent_space.png")}
    assert len(images) == 2
    assert images["results_kl30.0/latent_space.png"] != images["mine/latent_space.png"]


def test_comparison_of_three_weights(three_weights, small_data):
    before = contents(three_weights)
    done = run(PLOT, "--compare", 0, 1, 30, "--grid_size", 5, "--data_dir", small_data, cwd=three_weights)
    assert_done(done)
    assert "kl_comparison.png" in done.stdout
    after = contents(three_weights)
    assert set(after) - set(before) == {"kl_comparison.png"}
    assert {name for name in before if after[name] != before[name]} == {f"results_kl0.0/{RECORD}"}
    assert imread(str(three_weights / "kl_comparison.png")).std() > 0.1
    assert_done(run(PLOT, "--compare", 30, 1, "--grid_size", 2, "--data_dir", small_data, cwd=three_weights))
    assert contents(three_weights)["kl_comparison.png"] != after["kl_comparison.png"]
    for path, flags in (three_weights / "kl_comparison.png", ("--compare", 1)), (
            three_weights / "results_kl1.0" / "latent_space.png", ()):
        path.write_bytes(b"mine")
        assert_one_line(run(PLOT, *flags, "--data_dir", small_data, cwd=three_weights), 2, path.name, "move it")
        assert path.read_bytes() == b"mine"
        path.unlink()


# Real MNIST

@pytest.mark.skipif(not COURSE_DATA, reason="COURSE_DATA names no folder with MNIST")
def test_mnist_as_it_is(tmp_path):
    data_dir = Path(COURSE_DATA).resolve()
    done = run(TRAIN, "--dataset", "mnist", "--data_dir", data_dir, "--num_epochs", 1, cwd=tmp_path)
    assert_done(done)
    _, _, _, reconstruction, kl = (tmp_path / "results_kl1.0" / "metrics.csv").read_text().splitlines()[1].split(",")
    assert 150 < float(reconstruction) < 190 and 1 < float(kl) < 10
    assert load(tmp_path / "results_kl1.0")["settings"]["dataset"] == "mnist"
    assert_done(run(PLOT, "--data_dir", data_dir, cwd=tmp_path))
    assert imread(str(tmp_path / "results_kl1.0" / "latent_space.png")).std() > 0.1
