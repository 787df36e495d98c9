"""run_gan_training.py and sample_gan.py from end to end, as a user runs them, and what they are made of."""
import csv
import os
import random
import re
import shutil
import signal
import time
from collections import OrderedDict
from types import SimpleNamespace

import imageio.v2 as imageio
import numpy as np
import pytest
import torch
from matplotlib.image import imread
from PIL import Image
from torch import nn

from course.tests.support import (
    GAN,
    SAMPLE,
    assert_done,
    assert_one_line,
    assert_same_run,
    assert_same_value,
    contents,
    environment,
    finish,
    load,
    read_until,
    run,
    start,
    write_images,
)
from lib.augment_gan import DiffAugment, cutout, translation
from lib.distances import image_distances
from lib.draw_gan import nearest_images, save_nearest
from lib.files import RECORD, Folder
from lib.image_folder import load_images
from lib.load_gan import find_weights, load_generator
from lib.model_gan import Discriminator, Generator, weights_init
from lib.monitor_gan import warning
from lib.optimize import update_ema
from lib.sample_gan import generate, interpolate, prepare_generator, sample_noise
from lib.script import UserError

EPOCHS, STEPS = 6, 3                                # 20 images in batches of 8
TINY = ("--data_dir", "images", "--num_epochs", EPOCHS, "--batch_size", 8, "--ngf", 2, "--ndf", 3, "--latent_size", 5,
        "--evaluate_every", 4, "--sample_every", 7)
WEIGHTS = {"generator.pt", "generator_ema.pt", "discriminator.pt"}
FILES = WEIGHTS | {"checkpoint.pt", "metrics.csv", "training_images.png", "generated.mp4", "nearest.png",
                   "loss_curves.png", RECORD} | {f"generated_{step:06d}.png" for step in (0, 7, 14, 18)}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The working directory of a run that was left alone, with what it said in said.txt. Copy it; do not change it."""
    cwd = tmp_path_factory.mktemp("gan")
    write_images(cwd / "images")
    done = run(GAN, *TINY, cwd=cwd)
    assert_done(done)
    (cwd / "said.txt").write_text(done.stdout)
    return cwd


@pytest.fixture
def cwd(tmp_path, alone):
    """A working directory with the images alone."""
    shutil.copytree(str(alone / "images"), str(tmp_path / "images"))
    return tmp_path


def metrics(folder):
    with open(str(folder / "metrics.csv")) as file:
        return list(csv.DictReader(file))


# What a run leaves and says

def test_files_and_lines(alone):
    lines = (alone / "said.txt").read_text().splitlines()
    assert "20 images from images" in lines[0] and lines[-1] == "results are in results_gan/"
    assert [int(re.match(r"epoch +(\d+)/6   loss D \d", line)[1]) for line in lines if line.startswith("epoch")] == \
        list(range(1, EPOCHS + 1))
    distances = [line for line in lines if "distance, " in line]
    assert len(distances) == 4 and all(line.count("noise floor") == 1 for line in distances)
    assert max(map(len, lines)) <= 80
    assert set(contents(alone / "results_gan")) == FILES
    for image in (alone / "results_gan").glob("*.png"):
        assert imread(str(image)).std() > 0.05, image


def test_metrics(alone):
    """One row an epoch; the distances of both, every four epochs and at the end, beside one floor."""
    rows = metrics(alone / "results_gan")
    assert list(rows[0]) == ["epoch", "loss_D", "loss_G", "D_x", "D_G_z1", "D_G_z2"] + [
        f"swd_{side}_{name}" for name in ("generator", "ema", "floor") for side in (32, 16)]
    assert [int(row["epoch"]) for row in rows] == list(range(1, EPOCHS + 1))
    assert [int(row["epoch"]) for row in rows if row["swd_32_ema"]] == [4, 6]
    assert len({(row["swd_32_floor"], row["swd_16_floor"]) for row in rows if row["swd_32_floor"]}) == 1
    assert all(0 < float(row[name]) < 1 for row in rows for name in ("D_x", "D_G_z1", "D_G_z2"))


def test_weights_are_what_the_checkpoint_holds(alone):
    """But for the statistics of batch norm, which are measured anew."""
    checkpoint = load(alone / "results_gan")
    for name, part in (("generator.pt", "generator"), ("generator_ema.pt", "ema"),
                       ("discriminator.pt", "discriminator")):
        weights = torch.load(str(alone / "results_gan" / name), weights_only=True)
        assert list(weights) == list(checkpoint[part])
        changed = {key for key in weights if not weights[key].equal(checkpoint[part][key])}
        assert all("running" in key or "num_batches" in key for key in changed)
        assert bool(changed) == (part != "discriminator")
    assert not checkpoint["generator"]["layers.0.weight"].equal(checkpoint["ema"]["layers.0.weight"])


def test_video_shows_the_snapshots(alone):
    with imageio.get_reader(str(alone / "results_gan" / "generated.mp4")) as reader:
        meta, frames = reader.get_meta_data(), [frame for frame in reader]
    assert meta["codec"] == "h264" and meta["pix_fmt"].startswith("yuv420p") and len(frames) == 4 + 10
    last = imread(str(alone / "results_gan" / "generated_000018.png"))[..., :3]
    assert frames[-1].shape == last.shape and np.abs(frames[-1] / 255 - last).mean() < 0.03


def test_plain_is_the_assignments_training(cwd, alone):
    """No ema, other results; and batches of 128."""
    flags = list(TINY)
    del flags[flags.index("--batch_size"):flags.index("--batch_size") + 2]
    done = run(GAN, *flags, "--plain", cwd=cwd)
    assert_done(done)
    assert set(contents(cwd / "results_gan")) == FILES - {"generator_ema.pt", *(
        f"generated_{step:06d}.png" for step in (7, 14, 18))} | {"generated_000006.png"}    # six steps in all
    checkpoint = load(cwd / "results_gan")
    assert "ema" not in checkpoint and checkpoint["settings"]["batch_size"] == 128
    assert "swd_32_ema" not in metrics(cwd / "results_gan")[-1]


def test_no_images(cwd, alone):
    assert_done(run(GAN, *TINY, "--no_images", "--output_dir", "deep/er", cwd=cwd))
    assert set(contents(cwd / "deep/er")) == WEIGHTS | {"checkpoint.pt", "metrics.csv", RECORD}
    assert_same_value(load(cwd / "deep/er"), load(alone / "results_gan"))


def test_same_seed_same_bits_and_another_seed_others(cwd, alone):
    processes = [start(GAN, *TINY, *more, cwd=cwd) for more in ((), ("--seed", 1, "--output_dir", "other"))]
    for process in processes:
        assert_done(finish(process))
    assert_same_run(cwd / "results_gan", alone / "results_gan")
    one, other = load(cwd / "results_gan"), load(cwd / "other")
    for part in ("generator", "discriminator", "ema"):
        assert not any(value.equal(other[part][name]) for name, value in one[part].items() if value.dim() > 1)


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_images_than_a_batch_and_one_class(tmp_path, count):
    write_images(tmp_path / "images", count)
    assert_done(run(GAN, *TINY, cwd=tmp_path))
    assert set(contents(tmp_path / "results_gan")) == (
        FILES - {f"generated_{step:06d}.png" for step in (7, 14, 18)} | {"generated_000006.png"})


# Killed and stopped

def test_killed_and_resumed(cwd, alone):
    """In the imports, in the training, and while the last images and the video are made."""
    folder, kept = cwd / "results_gan", 0
    for epoch, pause in (0, 3), (2, 0.2), (4, 0.2), (EPOCHS, 0.5), (EPOCHS, 2):
        process = start(GAN, *TINY, "--resume", cwd=cwd)
        if epoch > kept:
            read_until(process, epoch)
        time.sleep(random.uniform(0, pause))
        process.kill()
        done = finish(process)
        assert done.returncode in (-signal.SIGKILL, 0) and done.stderr == "", done.stderr
        if (folder / "checkpoint.pt").exists():
            before, kept = kept, len(load(folder)["history"])
            assert kept >= max(before, epoch)
    assert_done(run(GAN, *TINY, "--resume", cwd=cwd))
    assert_same_run(folder, alone / "results_gan")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_stopped_in_training(cwd, alone, signum):
    process = start(GAN, *TINY, cwd=cwd)
    read_until(process, 2)
    process.send_signal(signum)
    done = finish(process)
    assert_one_line(done, 128 + signum, "stopped", "--resume")
    assert 2 <= len(load(cwd / "results_gan")["history"]) <= EPOCHS
    assert_done(run(GAN, *TINY, "--resume", cwd=cwd))
    assert_same_run(cwd / "results_gan", alone / "results_gan")


# What is added to plain DCGAN training

def test_moved_images_go_on_mirrored():
    """Row i of a image of rows 0, 1, 2, ... shows the row |i + down|; in 400 images each way of moving occurs."""
    torch.manual_seed(0)
    image = torch.arange(32.0)[:, None].expand(32, 32)
    images = torch.stack([image, image.t(), torch.zeros(32, 32)])[None].expand(400, 3, 32, 32)
    found = translation(images, 4)
    ways = set()
    for image in found:
        down, right = int(image[0, 16, 0]) - 16, int(image[1, 0, 16]) - 16
        rows = torch.arange(32) + down
        rows = torch.where(rows > 31, 62 - rows, rows.abs()).float()
        assert image[0].equal(rows[:, None].expand(32, 32))
        ways.add((down, right))
    assert {down for down, _ in ways} == {right for _, right in ways} == set(range(-4, 5)) and len(ways) > 50


def test_covered_is_a_grey_square_of_half_the_height_anywhere():
    torch.manual_seed(0)
    hidden = cutout(torch.ones(2000, 3, 32, 32)) == 0
    assert hidden[:, 0].equal(hidden[:, 1]) and hidden[:, 0].equal(hidden[:, 2])
    rows, columns = hidden[:, 0].any(2).sum(1), hidden[:, 0].any(1).sum(1)
    assert hidden[:, 0].sum((1, 2)).equal(rows * columns), "not a rectangle"
    assert rows.max() == columns.max() == 17 and rows.min() >= 8 and columns.min() >= 8
    often = hidden[:, 0].float().mean(0)            # the middle is covered more often than a corner
    assert often.min() > 0.05 and often.max() < 0.35


def test_generator_learns_through_the_augmentation():
    torch.manual_seed(0)
    images = torch.randn(4, 3, 32, 32, requires_grad=True)
    DiffAugment(Discriminator(2))(images).sum().backward()
    assert (images.grad.abs().sum((1, 2, 3)) > 0).all()


def test_ema_is_over_the_last_steps():
    """The first ten count alike; later ones as an exponential ema. Weights of 1, 2, 3, ... tell."""
    model, ema = nn.Linear(1, 1), nn.Linear(1, 1)
    expected = 0.0
    for step in range(1, 31):
        for parameter in model.parameters():
            nn.init.constant_(parameter, step)
        update_ema(ema, model, weight=max(1 / 10, 1 / step))
        expected += (step - expected) / min(step, 10)
        if step == 10:
            assert ema.weight.item() == pytest.approx(5.5)          # of 1 to 10
    assert ema.weight.item() == ema.bias.item() == pytest.approx(expected)


def test_first_weights():
    """N(0, 0.02) and N(1, 0.02): 58 scales, 16,512 other weights and more; tolerances of six standard errors."""
    torch.manual_seed(0)
    generator = Generator(8).apply(weights_init)
    convolutions = [layer.weight for layer in generator.layers if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))]
    norms = [layer for layer in generator.layers if isinstance(layer, nn.BatchNorm2d)]
    assert len(convolutions) == 5 and len(norms) == 4
    for weight in convolutions:
        error = 0.02 / weight.numel() ** 0.5
        assert abs(weight.mean()) < 6 * error and abs(weight.std() - 0.02) < 6 * error / 2 ** 0.5 + 1e-4
    scales = torch.cat([norm.weight for norm in norms])
    assert abs(scales.mean() - 1) < 6 * 0.02 / len(scales) ** 0.5 and 0.01 < scales.std() < 0.03
    assert not any(norm.bias.any() for norm in norms)


def history(epochs, **outputs):
    return [{"epoch": epoch, **outputs} for epoch in range(1, epochs + 1)]


@pytest.mark.parametrize("real, generated, word", [
    (0.99, 0.01, "the discriminator has won"), (0.4, 0.6, "the generator has won"), (0.5, 0.5, ""),
    (0.8, 0.2, ""), (0.52, 0.48, ""), (0.96, 0.02, "")])
def test_warning_when_one_side_has_won(real, generated, word):
    said = warning(history(10, D_x=real, D_G_z1=generated))
    assert said.startswith(word) and bool(said) == bool(word)
    assert warning(history(9, D_x=real, D_G_z1=generated)) == "", "of a few epochs nothing can be said"


def test_resume_with_other_images_is_refused(cwd, alone):
    shutil.copytree(str(alone / "results_gan"), str(cwd / "results_gan"))
    path = cwd / "images" / "a" / "00.png"
    with Image.open(str(path)) as image:
        image.rotate(180).save(str(path))
    before = contents(cwd)
    assert_one_line(run(GAN, *TINY, "--resume", cwd=cwd), 2, "images was 20 of checksum", "different settings")
    assert contents(cwd) == before


def test_a_run_whose_discriminator_wins_says_so_once(cwd):
    """Its learning rate is so large that it sees at once that a generator this small makes the same grey."""
    done = run(GAN, "--data_dir", "images", "--plain", "--num_epochs", 60, "--batch_size", 4, "--ngf", 1, "--ndf", 16,
               "--lr", 0.002, "--no_images", cwd=cwd)
    assert_done(done)
    assert done.stdout.count("warning: the discriminator has won") >= 1


# Distances

def slow_distance(x, y, rng):
    """The mean over 200 random directions, in float64, patch by patch."""
    def descriptors(images):
        rows = []
        for image in images:
            for _ in range(64):
                top, left = rng.integers(0, image.shape[1] - 6), rng.integers(0, image.shape[2] - 6)
                rows.append(image[:, top:top + 7, left:left + 7])
        rows = np.array(rows)
        rows = (rows - rows.mean((0, 2, 3), keepdims=True)) / rows.std((0, 2, 3), keepdims=True)
        return rows.reshape(len(rows), -1)
    x, y = descriptors(x), descriptors(y)
    directions = rng.normal(size=(x.shape[1], 200))
    directions /= np.linalg.norm(directions, axis=0)
    return 1000 * np.abs(np.sort(x @ directions, 0) - np.sort(y @ directions, 0)).mean()


def test_image_distances():
    """Against a slow computation of the level at 16 px; smooth images and noise are far apart, like ones are near."""
    torch.manual_seed(0)
    smooth, others = (nn.functional.interpolate(torch.rand(200, 3, 6, 6), size=32, mode="bicubic") for _ in range(2))
    noisy = smooth + 0.3 * torch.randn(200, 3, 32, 32)
    floor, far = image_distances(smooth, others), image_distances(noisy, others)
    assert far[0] > 4 * floor[0] and far[1] > floor[1]
    half = [nn.functional.avg_pool2d(images, 2).double().numpy() for images in (noisy, others)]
    assert far[1] == pytest.approx(slow_distance(*half, np.random.default_rng(0)), rel=0.2)


def test_nearest_images(tmp_path):
    write_images(tmp_path / "images")
    images = load_images(tmp_path / "images")
    copies = images.crop_at(1, mirrored=True)[[4, 9]]
    squares, distance = nearest_images(copies, images)
    assert squares.equal(copies) and (distance < 1e-3).all()
    save_nearest(copies[:, :1], images, tmp_path / "grey.png")            # what a generator of grey images makes
    assert imread(str(tmp_path / "grey.png")).std() > 0.05
    squares, distance = nearest_images(copies, images, exclude=torch.tensor([4, 9]))
    expected = torch.stack([((images.crop_at(part, mirrored)[:, None] - copies) ** 2).mean((2, 3, 4)).sqrt()
                            for part in (0, 0.5, 1) for mirrored in (False, True)])     # 6,20,2
    expected[:, [4, 9], [0, 1]] = 10
    assert distance.numpy() == pytest.approx(expected.amin((0, 1)).numpy(), rel=1e-3)


# Sampling

def test_samples_walk_and_nearest(cwd, alone):
    shutil.copytree(str(alone / "results_gan"), str(cwd / "results_gan"))
    before = contents(cwd)
    before.pop(f"results_gan/{RECORD}")
    done = run(SAMPLE, "--num_images", 20, "--interpolate", 2, "--nearest", "images", cwd=cwd)
    assert_done(done)
    made = {f"results_gan/{name}" for name in ("samples.png", "samples_nearest.png", "interpolation.mp4")}
    after = contents(cwd)
    assert set(after) - set(before) == made | {f"results_gan/{RECORD}"} and all(name in done.stdout for name in made)
    assert all(after[name] == data for name, data in before.items())
    with imageio.get_reader(str(cwd / "results_gan" / "interpolation.mp4")) as reader:
        assert reader.get_meta_data()["codec"] == "h264" and len([frame for frame in reader]) > 50
    assert_done(run(SAMPLE, "--num_images", 20, "--seed", 1, cwd=cwd))
    assert contents(cwd)["results_gan/samples.png"] != after["results_gan/samples.png"]


@pytest.mark.parametrize("name, flags", [("samples.png", ()), ("samples_nearest.png", ("--nearest", "images")),
                                         ("interpolation.mp4", ("--interpolate", 2))])
def test_files_of_others_are_never_replaced(cwd, alone, name, flags):
    """Not those of the user, and not those of another script's run."""
    checkpoint = alone / "results_gan" / "checkpoint.pt"
    for folder, owner in (cwd / "mine", ""), (cwd / "other", "run_diffusion_training"):
        folder.mkdir()
        with Folder(folder, owner).writing(folder / name) if owner else open(os.devnull):
            (folder / name).write_bytes(b"not of sample_gan.py")
        before = contents(cwd)
        done = run(SAMPLE, "--num_images", 2, "--checkpoint", checkpoint, *flags, "--output_dir", folder.name, cwd=cwd)
        assert_one_line(done, 2, name, "move it")
        assert contents(cwd) == before


def test_overwrite_removes_what_was_sampled_from_the_run(cwd, alone):
    shutil.copytree(str(alone / "results_gan"), str(cwd / "results_gan"))
    (cwd / "results_gan" / "generated_flowers.png").write_bytes(b"mine")
    assert_done(run(SAMPLE, "--num_images", 2, cwd=cwd))
    assert_done(run(GAN, *TINY, "--overwrite", cwd=cwd))
    assert (cwd / "results_gan" / "generated_flowers.png").read_bytes() == b"mine"
    (cwd / "results_gan" / "generated_flowers.png").unlink()
    assert_same_run(cwd / "results_gan", alone / "results_gan")


@pytest.mark.parametrize("where", [("photos", ".", "results_gan"), (".", "photos", "photos/results"),
                                   (".", "photos", "photos"), ("photos", ".", ".")])
def test_a_run_does_not_train_on_its_own_images(tmp_path, where):
    """The output folder is inside the images' folder, or is the same."""
    place, data_dir, output_dir = where
    write_images(tmp_path / "photos", 8)
    flags = (*TINY, "--data_dir", data_dir, "--output_dir", output_dir)
    for more in ("--num_epochs", 1), ("--num_epochs", 2, "--resume"), ("--num_epochs", 1, "--overwrite"):
        done = run(GAN, *flags, *more, cwd=tmp_path / place)
        assert_done(done)
        assert "training on 8 images" in done.stdout


def test_snapshot_that_was_changed_is_named(cwd, alone):
    shutil.copytree(str(alone / "results_gan"), str(cwd / "results_gan"))
    snapshot = cwd / "results_gan" / "generated_000007.png"
    good = snapshot.read_bytes()
    (cwd / "results_gan" / "generated.mp4").unlink()
    for data in good[:1000], b"":
        snapshot.write_bytes(data)
        before = contents(cwd)
        assert_one_line(run(GAN, *TINY, "--resume", cwd=cwd), 2, snapshot.name, "move it")
        assert contents(cwd) == before
    snapshot.unlink()
    assert_done(run(GAN, *TINY, "--resume", cwd=cwd))


def test_run_without_images_goes_on_with_them(cwd):
    assert_done(run(GAN, *TINY, "--no_images", cwd=cwd))
    assert_done(run(GAN, *TINY, "--resume", cwd=cwd))
    assert "loss_curves.png" in contents(cwd / "results_gan") and "generated.mp4" not in contents(cwd / "results_gan")


def test_training_is_not_lost_to_a_missing_ffmpeg(cwd, alone):
    broken = dict(environment(), IMAGEIO_FFMPEG_EXE="/nonexistent")
    assert_one_line(run(GAN, *TINY, cwd=cwd, env=broken), 1, "generated.mp4", "ffmpeg", "--no_video")
    assert_same_value(load(cwd / "results_gan"), load(alone / "results_gan"))
    assert_done(run(GAN, *TINY, "--resume", "--no_video", cwd=cwd, env=broken))
    assert_done(run(GAN, *TINY, "--resume", cwd=cwd))
    assert_same_run(cwd / "results_gan", alone / "results_gan")
    done = run(SAMPLE, "--num_images", 2, "--interpolate", 2, cwd=cwd, env=broken)
    assert_one_line(done, 1, "interpolation.mp4", "ffmpeg", "--interpolate")


def test_nearest_in_a_folder_that_is_not_there_draws_nothing(alone):
    before = contents(alone)
    assert_one_line(run(SAMPLE, "--nearest", "nowhere", cwd=alone), 2, "there is no folder nowhere")
    assert contents(alone) == before


def tiny_generator():
    torch.manual_seed(0)
    generator = Generator(3, 1, 7).apply(weights_init)
    generator(torch.randn(50, 7, 1, 1))
    return generator


def saved_forms(generator):
    """What people save, by a word for it."""
    weights = generator.state_dict()
    return {
        "weights alone": weights, "an ordered dict": OrderedDict(weights), "of float16": {
            name: value.half() if value.is_floating_point() else value for name, value in weights.items()},
        "of DataParallel": {f"module.{name}": value for name, value in weights.items()},
        "the tutorial's names": {name.replace("layers", "main"): value for name, value in weights.items()},
        "with training state": {"epoch": 3, "model_state_dict": weights, "optimizer": {"state": {}}},
        "a run's": {"settings": {}, "history": [], "discriminator": Discriminator(3).state_dict(),
                    "generator": weights},
        "one dict of both networks": {**{f"d.{name}": value for name, value in Discriminator(3).state_dict().items()},
                                      **{f"g.layers.{name}": value for name, value in weights.items()}},
        "before num_batches_tracked": {name: value for name, value in weights.items() if "num_b" not in name},
        "with the EMA": {"generator": Generator(2).state_dict(), "ema": weights},
        "with the EMA's old name": {"generator": Generator(2).state_dict(), "average": weights}}


@pytest.mark.parametrize("form", saved_forms(Generator(2)))
def test_any_checkpoint_of_a_generator_is_read(form, tmp_path):
    generator = tiny_generator()
    torch.save(saved_forms(generator)[form], str(tmp_path / "a.pt"))
    loaded = load_generator(tmp_path / "a.pt")
    noise = torch.randn(4, 7, 1, 1)
    difference = generate(loaded.eval(), noise) - generate(generator.eval(), noise)
    assert difference.abs().max() < (1e-2 if "float16" in form else 1e-6)


def test_ema_or_generator():
    both = {"generator": Generator(2).state_dict(), "ema": Generator(3).state_dict()}
    for name, content in both.items():
        assert find_weights(both, name)["layers.0.weight"].shape == content["layers.0.weight"].shape


@pytest.mark.parametrize("content, words", [
    (Discriminator(2).state_dict(), "no generator"), ({"a": 1}, "no generator"), ([1], "no generator"),
    ({**Generator(2).state_dict(), "layers.3.weight": torch.zeros(16, 8, 4, 4, 1)}, "no generator"),
    ({**Generator(2).state_dict(), "layers.0.weight": torch.zeros(64, 9, 4, 4)}, "does not fit"),
    ({**Generator(2).state_dict(), "layers.6.weight": torch.zeros(8, 5, 4, 4)}, "does not fit")])
def test_checkpoint_that_is_not_one_is_told_as_such(content, words, tmp_path):
    torch.save(content, str(tmp_path / "a.pt"))
    with pytest.raises(UserError, match=f"a.pt.*{words}"):
        load_generator(tmp_path / "a.pt")


def test_checkpoint_for_layers_in_sequentials(tmp_path, monkeypatch):
    """A student's generator may be packed: it reads flat checkpoints and its own ones."""
    class Packed(Generator):
        def __init__(self, *sizes):
            super().__init__(*sizes)
            self.layers = nn.ModuleList([nn.Sequential(*self.layers[:3]), nn.Sequential(*self.layers[3:])])

    monkeypatch.setattr("lib.model_gan.Generator", Packed)
    noise = torch.randn(4, 64, 1, 1)
    for generator in Generator(2).eval(), Packed(2).eval():
        torch.save(generator.state_dict(), str(tmp_path / "a.pt"))
        assert generate(load_generator(tmp_path / "a.pt").eval(), noise).allclose(generate(generator, noise))


def test_noise_has_the_temperature_as_its_variance():
    """Of 64,000 numbers; six standard errors."""
    for temperature in (0.25, 1, 4):
        noise = sample_noise(1000, 64, temperature)
        assert noise.shape == (1000, 64, 1, 1) and abs(noise.mean()) < 6 * (temperature / 64000) ** 0.5
        assert noise.var().item() == pytest.approx(temperature, rel=6 * (2 / 64000) ** 0.5)
    assert not sample_noise(2, 3, 0).any()


@pytest.mark.parametrize("mode", ["measured", "stored", "batch"])
def test_batch_norm_modes(mode):
    """In the mode "batch" a image depends on the others, and else it does not; "stored" takes what is stored. The
    generator that is given stays as it is."""
    generator = tiny_generator().train()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    copy = prepare_generator(generator, 7, mode)
    noise = torch.randn(6, 7, 1, 1)
    alone, among = generate(copy, noise[:2]), generate(copy, noise)[:2]
    assert alone.allclose(among, atol=1e-5) == (mode != "batch")
    assert among.allclose(generate(generator.eval(), noise)[:2], atol=1e-5) == (mode == "stored")
    assert_same_value(dict(generator.state_dict()), before)
    if mode == "measured":                          # over many images, each channel has mean 0 and variance 1
        outputs = []
        copy.layers[7].register_forward_hook(lambda layer, given, result: outputs.append(
            (result - layer.bias[:, None, None]) / layer.weight[:, None, None]))
        generate(copy, sample_noise(2000, 7, seed=3))
        values = torch.cat(outputs)
        assert values.mean((0, 2, 3)).abs().max() < 0.25 and (values.var((0, 2, 3)) - 1).abs().max() < 0.3


def test_ema_of_a_run_has_statistics_of_its_own(alone):
    """So --batch_norm stored makes images of it, too, and not one grey."""
    checkpoint = load(alone / "results_gan")
    ema = {name: value for name, value in checkpoint["ema"].items() if "running_mean" in name}
    assert all(value.any() and not value.equal(checkpoint["generator"][name]) for name, value in ema.items())


def test_walk_between_opposite_noises():
    noise = torch.tensor([1.0, -1.2, 0.7]).view(3, 1, 1, 1, 1)
    assert max(step.abs().max() for step in interpolate(noise, 10)) < 10


def test_walk_passes_through_the_noises_and_keeps_their_length():
    stations = sample_noise(3 * 2, 64).unflatten(0, (3, 2))
    way = torch.stack(list(interpolate(stations, 10)))
    assert way.shape == (30, 2, 64, 1, 1) and way[::10].allclose(stations, atol=1e-5)
    lengths = way.norm(dim=2).flatten()
    assert lengths.min() > 0.95 * stations.norm(dim=2).min() and lengths.max() < 1.05 * stations.norm(dim=2).max()
    pace = (way - way.roll(-1, 0)).norm(dim=2)                      # the last step leads to the first
    assert pace.max() < 2 * pace.min()


def test_samples_are_those_of_the_sheet(cwd, alone):
    """samples.png shows what batch_images_to_numpy makes of the generator's images."""
    settings = SimpleNamespace(seed=3, temperature=0.7)
    assert_done(run(SAMPLE, "--checkpoint", alone / "results_gan" / "checkpoint.pt", "--seed", settings.seed,
                    "--temperature", settings.temperature, "--num_images", 8, "--output_dir", ".", cwd=cwd))
    generator = prepare_generator(load_generator(alone / "results_gan" / "checkpoint.pt"), 5)
    images = generate(generator, sample_noise(8, 5, settings.temperature, settings.seed))
    with Image.open(str(cwd / "samples.png")) as image:
        shown = np.asarray(image.convert("RGB"), dtype=float)[-70:] / 255       # below the title
    assert shown.mean() == pytest.approx((images / 2 + 0.5).mean().item() * 8 * 32 * 32 / (36 * 274), abs=0.06)
