"""Bad input to the scripts: one clear line, the right exit status, nothing lost, and no code of strangers run."""
import os
import pickle
import random
import shutil
import subprocess
from argparse import Namespace
from pathlib import Path
from typing import Any, Dict

import numpy as np
import pytest
import torch
from PIL import Image

from course.tests.forks import Worker
from course.tests.support import (
    DIFFUSION,
    GAN,
    MNIST_FILES,
    PLOT,
    SAMPLE,
    TRAIN,
    assert_one_line,
    contents,
    environment,
    idx,
    load,
    run,
    small_mnist,
    write_images,
    write_mnist,
)
from lib.train_vae import run_vae_training

# Flags that argparse refuses: the script, the flags, and what the line must name.
FLAGS = [(TRAIN, flags, flags.split()[0].split("=")[0]) for flags in (
    "--kl_loss_weight -1", "--kl_loss_weight nan", "--kl_loss_weight inf", "--kl_loss_weight=-inf",
    "--kl_loss_weight x", "--kl_loss_weight", "--num_epochs 0", "--num_epochs -3", "--num_epochs 1.5",
    "--num_epochs x", "--num_epochs 1e3",
    "--lr 0", "--lr -0.1", "--lr nan", "--lr inf", "--lr x", "--batch_size 0", "--batch_size -128", "--batch_size 12.8",
    "--latent_size 0", "--latent_size -2", "--latent_size x", "--hidden_size 0", "--hidden_size -100",
    "--hidden_size x", "--hidden_size 99999999999999999999", "--seed -1", "--seed 4294967296", "--seed x",
    "--dataset cifar", "--dataset")]
FLAGS += [(PLOT, flags, flags.split()[0].split("=")[0]) for flags in (
    "--kl_loss_weight -1", "--kl_loss_weight nan", "--kl_loss_weight x", "--grid_size 1", "--grid_size 0",
    "--grid_size 101", "--grid_size x", "--compare", "--compare 1 x", "--compare -1")]
FLAGS += [(DIFFUSION, flags, flags.split()[0].split("=")[0]) for flags in (
    "--n_samples 1", "--n_samples 1e5", "--epochs 0", "--epochs x", "--diffusion_steps 0", "--diffusion_steps 10001",
    "--schedule quadratic", "--schedule", "--batch_size 0", "--learning_rate 0", "--learning_rate nan",
    "--n_blocks 0", "--n_units 0", "--time_embedding none", "--evaluate_every 0", "--seed -1", "--num_epoch 3")]
FLAGS += [(GAN, flags, flags.split()[0].split("=")[0]) for flags in (
    "--num_epochs 0", "--batch_size 0", "--latent_size 0", "--ngf 0", "--ndf x", "--lr 0", "--lr nan", "--beta1 1",
    "--beta1 -0.1", "--ema_steps 0", "--sample_every 0", "--evaluate_every 0", "--seed -1", "--epochs 0")]
FLAGS += [(SAMPLE, flags, flags.split()[0].split("=")[0]) for flags in (
    "--temperature -1", "--temperature x", "--num_images 0", "--interpolate 1", "--interpolate", "--weights best",
    "--batch_norm none", "--seed x")]
FLAGS += [(TRAIN, "--resume --overwrite", "--overwrite"), (TRAIN, "--epoch 3", "--epoch"),
          (TRAIN, "--num 3", "--num"), (TRAIN, "more", "more"), (TRAIN, "--lr 1e30", "--lr"),
          (TRAIN, "--kl_loss_weight 1e9", "--kl_loss_weight"),
          (PLOT, "--output_dir a --kl_loss_weight 3", "--kl_loss_weight"), (PLOT, "--no_such_flag", "--no_such_flag")]


@pytest.mark.parametrize("script, flags, name", FLAGS, ids=[f"{script[:4]} {flags}" for script, flags, _ in FLAGS])
def test_flag_out_of_range(script, flags, name, tmp_path):
    done = run(script, *flags.split(), cwd=tmp_path)
    assert_one_line(done, 2, "error", name)
    assert done.stdout == "" and contents(tmp_path) == {}


# What goes wrong later: prepare makes the working directory, whose "run" is a copy of a finished run.

CASES: Dict[str, Any] = {}


def case(name, script, flags, status, *words, made=()):
    """Add a case. words: what the line must say; made: files that may be new afterwards."""
    def add(prepare):
        CASES[name] = (prepare, script, flags, status, words, made)
        return prepare
    return add


def nothing(cwd):
    pass


SMALL = "--hidden_size 50 --batch_size 64 --num_epochs 3 --dataset mnist --data_dir data "
for name, flags, status, words in [
        ("unknown device", "--device gpu", 2, ["--device gpu", "--device auto"]),
        ("device that is not there", "--device cuda:99", 2, ["--device cuda:99", "--device auto"]),
        ("device that holds no numbers", "--device meta", 2, ["--device meta", "--device auto"]),
        ("file for a folder", "--output_dir file", 2, ["file"]),
        ("folder below a file", "--output_dir file/deep/er", 2, ["file/deep/er"]),
        ("folder in /proc", "--output_dir /proc/new", 2, ["/proc/new"]),
        ("folder of a run", "--output_dir run", 2, ["run", "--resume", "--overwrite"]),
        ("more epochs done than asked for", "--output_dir run --resume --num_epochs 1", 2, ["run", "--num_epochs 1"]),
        ("other settings", "--output_dir run --resume --hidden_size 60 --batch_size 32 --lr 0.5 --kl_loss_weight 2 "
         "--latent_size 3 --seed 7 --dataset digits", 2,
         ["hidden_size was 50 and is now 60", "batch_size was 64 and is now 32", "lr was 0.001 and is now 0.5",
          "kl_loss_weight was 1.0 and is now 2.0", "latent_size was 2 and is now 3", "seed was 0 and is now 7",
          "dataset was mnist and is now digits"]),
        ("one other setting", "--output_dir run --resume --lr 0.002", 2, ["lr was 0.001 and is now 0.002"]),
        ("latents beyond the memory", "--latent_size 2147483647", 1, ["memory"]),
        ("layers beyond the memory", "--hidden_size 2147483647", 1, ["memory"]),
        ("no network", "--data_dir nowhere", 1, ["MNIST", "nowhere", "refused", "--dataset digits"]),
        ("overwriting without the data", "--output_dir run --overwrite --data_dir nowhere", 1, ["MNIST", "nowhere"]),
        ("data_dir that cannot be made", "--data_dir file/data", 1, ["file/data", "--data_dir"])]:
    case(name, TRAIN, SMALL + flags, status, *words)(nothing)
for name, flags, status, words in [
        ("plot before training", "", 2, ["results_kl1.0", "train"]),
        ("plot of another weight", "--kl_loss_weight 30", 2, ["results_kl30.0", "train"]),
        ("plot of a missing folder", "--output_dir nowhere", 2, ["nowhere", "train"]),
        ("plot on an unknown device", "--output_dir run --device gpu", 2, ["--device gpu"]),
        ("window where there is no screen", "--output_dir run --data_dir data --show", 2, ["--show"]),
        ("plot of a file", "--output_dir file", 2, ["file"]),
        ("comparison with a missing run", "--compare 1 30", 2, ["results_kl1.0", "train"]),
        ("plot without the data", "--output_dir run --data_dir nowhere", 1, ["MNIST", "nowhere", "--data_dir"])]:
    case(name, PLOT, flags, status, *words)(nothing)


TINY = "--n_samples 300 --n_blocks 1 --n_units 4 --diffusion_steps 3 --epochs 1 "
for name, flags, status, words in [
        ("unknown density", "--dataset mooons", 2, ["--dataset mooons", "moons", "spirals", "image"]),
        ("image that is not there", "--dataset cat.png", 2, ["--dataset cat.png", "image"]),
        ("image that is a folder", "--dataset run", 2, ["--dataset run"]),
        ("image that is none", "--dataset file", 2, ["--dataset file", "image"]),
        ("diffusion on an unknown device", "--device gpu", 2, ["--device gpu", "--device auto"]),
        ("diffusion in the folder of another run", "--output_dir run", 2, ["run", "--resume", "--overwrite"]),
        ("diffusion resumes a VAE's run", "--output_dir run --resume", 2, ["run", "schedule", "different settings"]),
        ("diffusion into a file", "--output_dir file", 2, ["file"]),
        ("diffusion below a file", "--output_dir file/deep", 2, ["file/deep"]),
        ("diffusion beyond the memory", "--n_units 100000 --n_blocks 1000", 1, ["memory"])]:
    case(name, DIFFUSION, TINY + flags, status, *words)(nothing)


SHORT = "--ngf 2 --ndf 2 --latent_size 3 --num_epochs 1 --data_dir images "
for name, flags, status, words in [
        ("folder of images that is not there", "--data_dir nowhere", 2, ["no folder nowhere", ".jpg"]),
        ("folder of images that is a file", "--data_dir file", 2, ["no folder file"]),
        ("folder without images", "--data_dir data", 2, ["data contains no images", ".jpg"]),
        ("GAN on an unknown device", "--device gpu", 2, ["--device gpu", "--device auto"]),
        ("GAN in the folder of another run", "--output_dir run", 2, ["run", "--resume", "--overwrite"]),
        ("GAN resumes the run of a VAE", "--output_dir run --resume", 2, ["run", "ngf", "different settings"]),
        ("GAN into a file", "--output_dir file", 2, ["file"]),
        ("generator beyond the memory", "--ngf 2147483647", 1, ["memory"]),
        ("discriminator beyond the memory", "--ndf 300000", 1, ["memory"])]:
    case(name, GAN, SHORT + flags, status, *words)(nothing)
for name, flags, status, words in [
        ("samples before training", "", 2, ["results_gan/checkpoint.pt"]),
        ("samples of a missing checkpoint", "--checkpoint nowhere.pt", 2, ["nowhere.pt"]),
        ("samples of a VAE", "--output_dir run", 2, ["run/checkpoint.pt", "no generator"]),
        ("samples of a file that is none", "--checkpoint file", 2, ["file", "damaged"]),
        ("samples of a folder", "--checkpoint run", 2, ["run"])]:
    case(name, SAMPLE, flags, status, *words)(nothing)


@case("damaged image among others", GAN, SHORT, 2, "images/a/00.png", "--skip_bad")
def damaged_image(cwd):
    path = cwd / "images" / "a" / "00.png"
    path.write_bytes(path.read_bytes()[:100])


@case("image that is too small", GAN, SHORT, 2, "images/new.png", "31", "--skip_bad")
@case("only images that are too small", GAN, SHORT + "--data_dir small --skip_bad", 2, "small/new.png", "31")
def small_image(cwd):
    (cwd / "small").mkdir()
    for folder in "images", "small":
        Image.new("RGB", (60, 31), "white").save(str(cwd / folder / "new.png"))


@case("malicious checkpoint of a generator", SAMPLE, "--checkpoint bad.pt", 2, "bad.pt", "code")
def malicious_generator(cwd):
    torch.save({"generator": Malicious()}, str(cwd / "bad.pt"))


@case("checkpoint of a generator cut in half", SAMPLE, "--checkpoint bad.pt", 2, "bad.pt", "damaged")
def half_a_generator(cwd):
    torch.save({"layers.0.weight": torch.zeros(99, 99)}, str(cwd / "bad.pt"))
    (cwd / "bad.pt").write_bytes((cwd / "bad.pt").read_bytes()[:9000])


@case("far too large a learning rate of diffusion", DIFFUSION, TINY + "--batch_size 10 --learning_rate 1e9", 1,
      "epoch", "learning rate", made=("results_diffusion/metrics.csv", "results_diffusion/written.jsonl"))
def diverging(cwd):
    pass


@case("blank image", DIFFUSION, TINY + "--dataset image.png", 2, "image.png", "blank")
def blank(cwd):
    Image.new("RGB", (40, 30), "white").save(str(cwd / "image.png"))


@case("truncated image", DIFFUSION, TINY + "--dataset image.png", 2, "image.png", "image")
def truncated(cwd):
    Image.effect_noise((64, 64), 50).save(str(cwd / "image.png"))
    (cwd / "image.png").write_bytes((cwd / "image.png").read_bytes()[:2000])


@case("video that is there already", DIFFUSION, TINY, 2, "results_diffusion_forward.mp4", "move it", "--output_dir")
def video_of_another(cwd):
    (cwd / "results_diffusion_forward.mp4").write_bytes(b"mine")


@case("learning rate far too large", TRAIN, SMALL + "--lr 1e8", 1, "epoch 1", "learning rate",
      made=("results_kl1.0/metrics.csv", "results_kl1.0/train_samples.png", "results_kl1.0/written.jsonl"))
def no_longer_finite(cwd):
    pass


@case("unwritable folder", TRAIN, SMALL + "--output_dir locked/new", 2, "locked/new")
@case("unwritable folder of a run", PLOT, "--data_dir data --output_dir locked", 1, "locked")
def locked(cwd):
    """Root may write anywhere but to a disk that is mounted for reading only."""
    (cwd / "locked").mkdir()
    if os.geteuid() == 0 and subprocess.call(["mount", "-t", "tmpfs", "-o", "size=10m", "none", str(cwd / "locked")]):
        raise PermissionError("no right to mount")
    for path in (cwd / "run").iterdir():
        shutil.copy(str(path), str(cwd / "locked"))
    if os.geteuid() == 0:
        subprocess.check_call(["mount", "-o", "remount,ro", str(cwd / "locked")])
    else:
        (cwd / "locked").chmod(0o555)


# MNIST whose files are damaged; test_digits.py has more of it.

FILES = small_mnist()
for name, file, data, word in [
        ("cut short", MNIST_FILES[0], FILES[MNIST_FILES[0]][:-1], MNIST_FILES[0]),
        ("empty", MNIST_FILES[1], b"", MNIST_FILES[1]),
        ("of a wrong magic number", MNIST_FILES[2], b"PK" + FILES[MNIST_FILES[2]][2:], MNIST_FILES[2]),
        ("of labels for images", MNIST_FILES[0], FILES[MNIST_FILES[1]], MNIST_FILES[0]),
        ("with a label too few", MNIST_FILES[1], idx(np.zeros(511, np.uint8)), "")]:
    @case(f"MNIST {name}", TRAIN, SMALL, 2, f"data/MNIST/raw/{word}".rstrip("/"))
    def damaged(cwd, file=file, data=data):
        (cwd / "data" / "MNIST" / "raw" / file).write_bytes(data)


# Checkpoints that are damaged, of something else, or that would run code

class Malicious:
    """Pickled, it is a call that makes the file "executed" in the working directory."""

    def __reduce__(self):
        return open, ("executed", "w")


def checkpoint_case(name, script, word, damage):
    """damage(data, good) makes bytes, or what is to be saved, of a good checkpoint as bytes and as torch loads it."""
    flags = "--data_dir data --output_dir run" if script == PLOT else SMALL + "--output_dir run --resume"

    @case(f"checkpoint {name}, {script}", script, flags, 2, "run/checkpoint.pt", word)
    def damaged(cwd):
        path = cwd / "run" / "checkpoint.pt"
        new = damage(path.read_bytes(), load(cwd / "run"))
        if isinstance(new, bytes):
            path.write_bytes(new)
        else:
            torch.save(new, str(path), _use_new_zipfile_serialization="old format" not in name)


def flip(data, place):
    return data[:place] + bytes([data[place] ^ 255]) + data[place + 1:]


def without(good, key):
    return {name: value for name, value in good.items() if name != key}


def shortened(tensors):
    return {name: tensor[:-1] if tensor.dim() else tensor for name, tensor in tensors.items()}


noise = random.Random(0).getrandbits(40000).to_bytes(5000, "big")
for script in PLOT, TRAIN:
    for name, word, damage in [
            ("cut in half", "damaged", lambda data, good: data[:len(data) // 2]),
            ("with a changed byte among the weights", "damaged", lambda data, good: flip(data, len(data) // 2)),
            ("of random bytes", "damaged", lambda data, good: noise),
            ("of zeros", "damaged", lambda data, good: bytes(5000)),
            ("of no bytes", "damaged", lambda data, good: b""),
            ("that is a state dict", "does not belong to a run", lambda data, good: good["model"]),
            ("without a model", "another model", lambda data, good: without(good, "model")),
            ("with other keys", "another model", lambda data, good: {**good, "model": {"w": torch.zeros(3)}}),
            ("with other shapes", "another model", lambda data, good: {**good, "model": shortened(good["model"])}),
            ("that is malicious", "code", lambda data, good: {**good, "model": Malicious()}),
            ("that is malicious, in the old format", "", lambda data, good: {**good, "model": Malicious()}),
            ("that is a malicious pickle", "", lambda data, good: pickle.dumps(Malicious()))]:
        checkpoint_case(name, script, word, damage)
checkpoint_case("with an empty optimizer", TRAIN, "another model", lambda data, good: {
    **good, "optimizer": {"state": {}, "param_groups": []}})
checkpoint_case("with an optimizer of other shapes", TRAIN, "another model", lambda data, good: {
    **good, "optimizer": {**good["optimizer"], "state": {
        number: shortened(state) for number, state in good["optimizer"]["state"].items()}}})


def test_malicious_pickles_are_malicious(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Malicious())).close()
    assert contents(tmp_path) == {"executed": b""}


@case("folder for a checkpoint", PLOT, "--output_dir run", 2, "run/checkpoint.pt")
def folder_for_a_checkpoint(cwd):
    (cwd / "run" / "checkpoint.pt").unlink()
    (cwd / "run" / "checkpoint.pt").mkdir()


@case("run of another exercise", PLOT, "--output_dir run", 2, "run", "run_vae_training.py")
def run_of_another_exercise(cwd):
    torch.save({"settings": {"seed": 0, "channels_multiplier": 4}, "history": [{"epoch": 1, "loss": 1.0}],
                "generator": {"weight": torch.zeros(3)}}, str(cwd / "run" / "checkpoint.pt"))


@case("latent space of three dimensions", PLOT, "--output_dir three", 2, "three", "3", "--latent_size 2")
def three_dimensions(cwd):
    run_vae_training(Namespace(
        output_dir=cwd / "three", data_dir=cwd / "data", dataset="mnist", device="cpu", num_epochs=1, hidden_size=10,
        latent_size=3, batch_size=64, lr=0.001, kl_loss_weight=1.0, seed=0, resume=False, overwrite=False,
        no_images=False))


def prepare(name, cwd, trained):
    """Make the working directory of a case: a finished run, the data it was trained on, a file of the user's. Give back
    what is in it, or None where it cannot be made."""
    cwd.mkdir()
    shutil.copytree(str(trained), str(cwd / "run"))
    write_mnist(cwd / "data", FILES)
    write_images(cwd / "images", 4)
    (cwd / "file").write_bytes(b"mine")
    try:
        CASES[name][0](cwd)
    except PermissionError:
        return None
    return contents(cwd)


@pytest.fixture(scope="module")
def outcomes(request, tmp_path_factory, trained):
    """Of each case that is asked for: what the script said, and the files before and after."""
    if not hasattr(os, "fork"):
        pytest.skip("no fork here")
    folder, before, asked = tmp_path_factory.mktemp("cases"), {}, []
    try:
        for item in request.session.items:
            if "outcomes" in getattr(item, "fixturenames", ()):
                name, cwd = item.callspec.params["name"], folder / str(len(asked))
                asked.append([*CASES[name][1:3], str(cwd)])
                before[name] = prepare(name, cwd, trained)
        worker = Worker(environment=environment())
        statuses = [worker.run(script, flags.split(), cwd) for script, flags, cwd in asked]
        worker.close()
        results = {}
        for name, (script, _, cwd), status in zip(before, asked, statuses):
            said = [Path(f"{cwd}.{number}").read_text() for number in (1, 2)]
            results[name] = subprocess.CompletedProcess(["python", script], status, *said), before[name], contents(cwd)
        return results
    finally:
        for _, _, cwd in asked:
            if os.path.ismount(f"{cwd}/locked"):
                subprocess.check_call(["umount", f"{cwd}/locked"])


@pytest.mark.parametrize("name", CASES)
def test_one_line_and_nothing_lost(name, outcomes):
    _, _, _, status, words, made = CASES[name]
    done, before, after = outcomes[name]
    if before is None:
        pytest.skip("no right to mount")
    assert_one_line(done, status, *words)
    assert {key: after.get(key) for key in before} == before, "something is lost"
    assert set(after) - set(before) == set(made), "something was made"
