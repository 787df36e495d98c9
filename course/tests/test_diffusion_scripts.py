"""run_diffusion_training.py from end to end, as a user runs it: what it leaves and says, and how it goes on after a
stop."""
import csv
import random
import re
import shutil
import signal
import subprocess
import time

import imageio.v2 as imageio
import numpy as np
import pytest
import torch
from matplotlib.image import imread
from PIL import Image

from course.tests.support import (
    DIFFUSION,
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
)
from lib.files import RECORD

EPOCHS = 12
TINY = ("--n_samples", 20_000, "--n_blocks", 1, "--n_units", 8, "--diffusion_steps", 6, "--epochs", EPOCHS,
        "--evaluate_every", 5, "--batch_size", 100)
VIDEOS = {"results_diffusion_forward.mp4", "results_diffusion_generation.mp4"}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The working directory of a run that was left alone, with what it said in said.txt. Copy it; do not change it."""
    cwd = tmp_path_factory.mktemp("diffusion")
    done = run(DIFFUSION, *TINY, cwd=cwd)
    assert_done(done)
    (cwd / "said.txt").write_text(done.stdout)
    return cwd


def assert_same_directory(one, other):
    """The same run, and the same videos beside it."""
    assert_same_run(one / "results_diffusion", other / "results_diffusion")
    for name in VIDEOS:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert not list(one.rglob("*.part*"))


def metrics(folder):
    with open(str(folder / "metrics.csv")) as file:
        return list(csv.DictReader(file))


# What a run leaves and says

def test_files_and_lines(alone):
    lines = (alone / "said.txt").read_text().splitlines()
    assert [int(re.match(r"epoch +(\d+)/12   loss \d", line)[1]) for line in lines if line.startswith("epoch")] == \
        list(range(1, EPOCHS + 1))
    last = metrics(alone / "results_diffusion")[-1]
    assert "off the data {:.2f} %   data not covered {:.2f} %".format(
        100 * float(last["off_data"]), 100 * float(last["uncovered"])) in lines[-3]
    total, *parts = map(float, re.findall(r"\d+\.\d", lines[-2]))
    assert re.sub(r"[\d.]+", "1", lines[-2]) == (
        "1 seconds: imports and preparations 1, training 1, sampling 1, distances 1, figures 1, videos 1")
    assert abs(sum(parts) - total) < 0.4, "they are rounded"
    assert lines[-1].startswith("results are in results_diffusion/") and all(name in lines[-1] for name in VIDEOS)
    assert not any("warning" in line for line in lines)
    assert set(contents(alone)) == VIDEOS | {"said.txt"} | {f"results_diffusion/{name}" for name in (
        "checkpoint.pt", "metrics.csv", "samples.png", "schedules.png", "loss_curves.png", RECORD)}
    for image in (alone / "results_diffusion").glob("*.png"):
        assert imread(str(image)).std() > 0.05, image


def test_metrics(alone):
    """Distances every five epochs and at the end, with the floor beside them; one floor for the whole run."""
    rows = metrics(alone / "results_diffusion")
    assert list(rows[0]) == ["epoch", "loss", "swd", "energy", "swd_floor", "energy_floor", "off_data", "uncovered"]
    assert [int(row["epoch"]) for row in rows] == list(range(1, EPOCHS + 1))
    assert [int(row["epoch"]) for row in rows if row["swd"]] == [5, 10, 12]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert float(rows[-1]["swd"]) < float(rows[4]["swd"]) and float(rows[-1]["energy"]) < float(rows[4]["energy"])
    assert all(0 < float(row[name]) < 1 for row in rows if row["swd"] for name in ("off_data", "uncovered"))
    assert float(rows[-1]["off_data"]) < float(rows[4]["off_data"])
    floors = {(row["swd_floor"], row["energy_floor"]) for row in rows if row["swd"]}
    assert len(floors) == 1 and 0.003 < float(floors.pop()[0]) < 0.02


@pytest.mark.parametrize("name", sorted(VIDEOS))
def test_video(alone, name):
    """H.264 that plays anywhere, small, of seven moments and the held ends; only the moving parts change."""
    path = alone / name
    assert path.stat().st_size < 3e6
    with imageio.get_reader(str(path)) as reader:
        meta = reader.get_meta_data()
        frames = np.array([frame for frame in reader])
    assert meta["codec"] == "h264" and meta["pix_fmt"].startswith("yuv420p") and meta["size"] == (
        960, 576 if "forward" in name else 512)
    assert len(frames) == 7 - 2 + 5 + 5 // 3 and meta["fps"] == 5
    assert sum(np.abs(frame.astype(int) - last).mean() > 1 for last, frame in zip(frames, frames[1:])) == 7 - 1
    changes = np.abs(frames.astype(int) - frames[0]).max(axis=(0, 3)) > 40
    left, right = changes[:, :460].mean(), changes[:, 500:].mean()
    assert left > 0.3 and (0 < right < 0.3 if "forward" in name else right < 0.01), (left, right)


def test_video_shows_the_data_and_then_noise(alone):
    """The brightness around the moons is at the start of the one video what it is at its end in the other's data."""
    with imageio.get_reader(str(alone / "results_diffusion_forward.mp4")) as reader:
        frames = [frame[70:440, 60:430].mean() for frame in reader]
    assert frames[0] < 30 < frames[-1]              # two thin arcs on black, and noise that fills the square


def test_no_video_and_quiet(tmp_path, alone):
    done = run(DIFFUSION, *TINY, "--no_video", "--quiet", "--output_dir", "deep/er", cwd=tmp_path)
    assert_done(done)
    assert done.stdout.count("\n") == 5
    assert set(contents(tmp_path)) == {f"deep/er/{name}" for name in (
        "checkpoint.pt", "metrics.csv", "samples.png", "schedules.png", "loss_curves.png", RECORD)}
    assert_same_value(load(tmp_path / "deep/er")["model"], load(alone / "results_diffusion")["model"])


def test_warning_of_a_schedule_that_does_not_end_in_noise(tmp_path):
    flags = ("--n_samples", 100, "--n_blocks", 1, "--n_units", 4, "--epochs", 1, "--no_video", "--schedule", "linear")
    done = run(DIFFUSION, *flags, cwd=tmp_path)
    assert_done(done)
    warnings = [line for line in done.stdout.splitlines() if line.startswith("warning")]
    assert len(warnings) == 1 and "0.36" in warnings[0] and "--schedule quadratic_cosine" in warnings[0]
    enough = int(re.search(r"--diffusion_steps (\d+) or more", warnings[0])[1])
    log_baralphas = [sum(np.log1p(-np.linspace(1e-4, 0.02, steps))) for steps in (enough - 1, enough)]
    assert log_baralphas[0] > np.log(0.01) >= log_baralphas[1]
    done = run(DIFFUSION, *flags, "--diffusion_steps", enough, "--output_dir", "long", cwd=tmp_path)
    assert_done(done)
    assert "warning" not in done.stdout


def test_image_of_the_users_own(tmp_path):
    """A bar on the right: generated points are drawn there, too."""
    image = Image.new("L", (60, 40), 255)
    image.paste(0, (45, 0, 60, 40))
    image.save(str(tmp_path / "bar.png"))
    done = run(DIFFUSION, "--dataset", "bar.png", "--n_samples", 5000, "--epochs", 10, "--diffusion_steps", 30,
               "--n_blocks", 2, "--batch_size", 250, "--output_dir", "bar", cwd=tmp_path)
    assert_done(done)
    assert {"bar_forward.mp4", "bar_generation.mp4", "bar/samples.png"} <= set(contents(tmp_path))
    generated = imread(str(tmp_path / "bar" / "samples.png"))[90:580, 75:580, :3].sum(axis=2)
    dense = np.argwhere(generated > 0.8 * generated.max())[:, 1] / generated.shape[1]
    assert 0.6 < np.median(dense) < 0.85            # x from 0.75 to 1.5 of -3 to 3 is 0.62 to 0.75 of the width


def test_same_seed_same_bits_and_another_seed_others(tmp_path, alone):
    processes = [start(DIFFUSION, *TINY, *more, cwd=tmp_path) for more in (
        (), ("--seed", 1, "--output_dir", "other", "--no_video"))]
    for process in processes:
        assert_done(finish(process))
    assert_same_directory(tmp_path, alone)
    one, other = load(tmp_path / "results_diffusion")["model"], load(tmp_path / "other")["model"]
    assert not any(one[name].equal(other[name]) for name in one)


# Killed and stopped

def test_killed_and_resumed(tmp_path, alone):
    """In the imports, in the training, and while the figures and videos are made."""
    folder, kept = tmp_path / "results_diffusion", 0
    for epoch, pause in (0, 3), (3, 0.05), (7, 0.05), (EPOCHS, 1), (EPOCHS, 3):
        process = start(DIFFUSION, *TINY, "--resume", cwd=tmp_path)
        if epoch > kept:
            read_until(process, epoch)
        elif epoch:
            while not (folder / "samples.png").exists():
                time.sleep(0.01)
        time.sleep(random.uniform(0, pause))
        process.kill()
        done = finish(process)
        assert done.returncode in (-signal.SIGKILL, 0) and done.stderr == "", done.stderr
        if (folder / "checkpoint.pt").exists():
            before, kept = kept, len(load(folder)["history"])
            assert kept >= max(before, epoch)
    assert_done(run(DIFFUSION, *TINY, "--resume", cwd=tmp_path))
    assert_same_directory(tmp_path, alone)


def make_old(folder):
    """Turn a checkpoint into one of edition 2, which had fewer settings and measured less."""
    checkpoint = load(folder)
    for name in "point_embedding", "activation":
        del checkpoint["settings"][name]
    for row in checkpoint["history"]:
        row.pop("off_data", None)
        row.pop("uncovered", None)
    torch.save(checkpoint, str(folder / "checkpoint.pt"))


def test_a_run_of_edition_2_goes_on(tmp_path):
    """In the middle, and when it is finished; with its own settings, not with today's defaults."""
    flags = (*TINY, "--schedule", "cosine", "--point_embedding", "coordinates", "--activation", "relu")
    process = start(DIFFUSION, *flags, cwd=tmp_path)
    read_until(process, 6)
    process.kill()
    finish(process)
    make_old(tmp_path / "results_diffusion")
    assert_one_line(run(DIFFUSION, *TINY, "--resume", cwd=tmp_path), 2, "activation was relu and is now silu")
    assert_done(run(DIFFUSION, *flags, "--resume", cwd=tmp_path))
    rows = metrics(tmp_path / "results_diffusion")
    assert len(rows) == EPOCHS and rows[-1]["off_data"] and not rows[4]["off_data"]
    make_old(tmp_path / "results_diffusion")
    done = run(DIFFUSION, *flags, "--resume", cwd=tmp_path)
    assert_done(done)
    assert "sliced Wasserstein" in done.stdout and "off the data" not in done.stdout


@pytest.mark.parametrize("flag", ["--resume", "--overwrite"])
def test_one_epoch_killed_at_its_video_goes_on(tmp_path, flag):
    flags = ("--n_samples", 2000, "--epochs", 1, "--diffusion_steps", 3, "--n_blocks", 1, "--n_units", 8)
    for folder in "killed", "alone":
        (tmp_path / folder).mkdir()
    process = start(DIFFUSION, *flags, cwd=tmp_path / "killed")
    while not list((tmp_path / "killed").glob("*.part")):
        assert process.poll() is None, finish(process)
        time.sleep(0.001)
    process.kill()
    finish(process)
    for folder, more in ("killed", [flag]), ("alone", []):
        assert_done(run(DIFFUSION, *flags, *more, cwd=tmp_path / folder))
    assert_same_directory(tmp_path / "killed", tmp_path / "alone")


@pytest.mark.parametrize("flag", ["--resume", "--overwrite"])
def test_videos_of_a_folder_with_the_same_name_are_kept(tmp_path, flag):
    flags = ("--n_samples", 300, "--epochs", 1, "--diffusion_steps", 3, "--n_blocks", 1, "--n_units", 8)
    assert_done(run(DIFFUSION, *flags, "--output_dir", "a/o", cwd=tmp_path))
    assert_done(run(DIFFUSION, *flags, "--output_dir", "b/o", "--no_video", cwd=tmp_path))
    before = contents(tmp_path)
    assert_one_line(run(DIFFUSION, *flags, "--output_dir", "b/o", flag, cwd=tmp_path), 2, "o_forward.mp4", "move it")
    assert contents(tmp_path) == before
    assert_done(run(DIFFUSION, *flags, "--output_dir", "a/o", flag, cwd=tmp_path))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("program", ["/nonexistent", "/bin/true", "/bin/false", "rubbish"])
def test_training_is_not_lost_to_a_broken_ffmpeg(tmp_path, alone, program):
    if program == "rubbish":
        program = tmp_path / "rubbish"
        program.write_text("#!/bin/sh\nhead -c 300000 /dev/zero >&2\n")
        program.chmod(0o755)
    cwd = tmp_path / "cwd"
    shutil.copytree(str(alone), str(cwd))
    for name in VIDEOS:
        (cwd / name).unlink()
    broken = dict(environment(), IMAGEIO_FFMPEG_EXE=str(program))
    done = run(DIFFUSION, *TINY, "--resume", cwd=cwd, env=broken)
    assert_one_line(done, 1, "results_diffusion_forward.mp4", "ffmpeg", "--no_video")
    assert len(done.stderr) < 600
    assert_same_value(load(cwd / "results_diffusion"), load(alone / "results_diffusion"))
    assert_done(run(DIFFUSION, *TINY, "--resume", "--no_video", cwd=cwd, env=broken))
    assert_done(run(DIFFUSION, *TINY, "--resume", cwd=cwd))
    assert_same_directory(cwd, alone)


def test_density_from_an_image_that_changed_is_told(tmp_path):
    flags = ("--n_samples", 300, "--epochs", 1, "--diffusion_steps", 3, "--n_blocks", 1, "--n_units", 4, "--no_video")
    image = Image.new("L", (60, 40), 255)
    image.paste(0, (45, 0, 60, 40))
    image.save(str(tmp_path / "bar.png"))
    assert_done(run(DIFFUSION, "--dataset", "bar.png", *flags, cwd=tmp_path))
    assert_done(run(DIFFUSION, "--dataset", "./bar.png", *flags, "--resume", cwd=tmp_path))
    image.paste(0, (0, 0, 15, 40))
    image.save(str(tmp_path / "bar.png"))
    assert_one_line(run(DIFFUSION, "--dataset", "bar.png", *flags, "--resume", cwd=tmp_path), 2, "checksum was")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_stopped_in_training(tmp_path, alone, signum):
    process = start(DIFFUSION, *TINY, cwd=tmp_path)
    read_until(process, 2)
    process.send_signal(signum)
    assert_one_line(finish(process), 128 + signum, "stopped", "--resume")
    assert 2 <= len(load(tmp_path / "results_diffusion")["history"]) < EPOCHS
    assert_done(run(DIFFUSION, *TINY, "--resume", cwd=tmp_path))
    assert_same_directory(tmp_path, alone)


def test_finished_run_resumed_stays_as_it_is(tmp_path, alone):
    cwd = tmp_path / "copy"
    shutil.copytree(str(alone), str(cwd))
    before = contents(cwd)
    assert_done(run(DIFFUSION, *TINY, "--resume", cwd=cwd))
    assert contents(cwd) == before


def test_resume_with_other_settings(tmp_path, alone):
    cwd = tmp_path / "copy"
    shutil.copytree(str(alone), str(cwd))
    before = contents(cwd)
    done = run(DIFFUSION, *TINY, "--resume", "--schedule", "linear", "--dataset", "circles", "--epochs", 20, cwd=cwd)
    assert_one_line(done, 2, "schedule was quadratic_cosine and is now linear", "dataset was moons and is now circles",
                    "epochs was 12 and is now 20")
    assert contents(cwd) == before


def test_no_room_for_the_video(tmp_path, alone):
    """The working directory is on a disk that is too small; with more room the run goes on to the same end."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount(*options):
        return subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "none", str(disk)],
                              stderr=subprocess.DEVNULL)

    try:
        if mount("size=40k").returncode:
            pytest.skip("no right to mount a small disk")
    except FileNotFoundError:
        pytest.skip("no mount command")
    try:
        flags = (*TINY, "--output_dir", "../results_diffusion")
        assert_one_line(run(DIFFUSION, *flags, cwd=disk), 1, "results_diffusion_forward.mp4", "is the disk full")
        assert contents(disk) == {}
        assert len(load(tmp_path / "results_diffusion")["history"]) == EPOCHS
        assert mount("remount", "size=50m").returncode == 0
        assert_done(run(DIFFUSION, *flags, "--resume", cwd=disk))
        (tmp_path / "results_diffusion" / RECORD).write_bytes((alone / "results_diffusion" / RECORD).read_bytes())
        assert_same_run(tmp_path / "results_diffusion", alone / "results_diffusion")    # the videos are elsewhere
        assert set(contents(disk)) == VIDEOS
    finally:
        subprocess.run(["umount", str(disk)], check=True)
