"""A run that is killed, stopped, or out of disk goes on with --resume and ends with the bits of one that was left
alone; and a folder that contains a run is not lost by mistake."""
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import torch

from course import handout
from course.tests.support import (
    DIFFUSION,
    GAN,
    ROOT,
    TRAIN,
    assert_done,
    assert_one_line,
    assert_same_run,
    assert_same_value,
    contents,
    environment,
    finish,
    load,
    run,
    small_mnist,
    start,
    write_images,
    write_mnist,
)
from course.tests.surroundings import RESULTS, TINY
from lib.checkpoint import load_checkpoint
from lib.files import ANY, RECORD, Folder, write_file
from lib.run import Run
from lib.script import RunError, UserError

EPOCHS = 6


@pytest.fixture(scope="module")
def alone(tmp_path_factory, small):
    """The folder of a run of EPOCHS epochs that was left alone."""
    cwd = tmp_path_factory.mktemp("alone")
    assert_done(run(TRAIN, *small, "--num_epochs", EPOCHS, cwd=cwd))
    return cwd / "results_kl1.0"


@pytest.fixture
def after_two(tmp_path, trained):
    """A folder of its own with a run of two epochs."""
    shutil.copytree(str(trained), str(tmp_path / "results_kl1.0"))
    return tmp_path / "results_kl1.0"


def wait_for_epoch(process):
    """Read what the process says until an epoch is over; return that epoch's number, 0 if the output ends before."""
    for line in process.stdout:
        if line.startswith("epoch "):
            return int(line.split()[1].split("/")[0])
    return 0


# Killed and stopped

def kill_twenty_times(cwd, small):
    for folder in ("alone", "killed"):
        (cwd / folder).mkdir()
    flags = (*small, "--num_epochs", 120)
    left_alone = start(TRAIN, *flags, cwd=cwd / "alone")
    folder, kept = cwd / "killed" / "results_kl1.0", 0
    for kill in range(20):
        process = start(TRAIN, *flags, "--resume", cwd=cwd / "killed")
        timer = threading.Timer(random.uniform(0, 6), process.kill)
        if kill % 5 < 2:                            # anywhere: in the imports, or before the first epoch
            timer.start()
        reached = wait_for_epoch(process)           # in the training, among its writing of images and checkpoints
        time.sleep(random.uniform(0, 0.15))         # a few epochs on a fast machine: it must not end by itself
        process.kill()
        timer.cancel()
        done = finish(process)
        assert (done.returncode, done.stderr) == (-signal.SIGKILL, ""), done.stdout + done.stderr
        if (folder / "checkpoint.pt").exists():
            before, kept = kept, len(load(folder)["history"])
            assert kept >= before, "an epoch that was finished is lost"
        assert kept >= reached, "more is lost than the epoch that was under way"
    assert 12 <= kept < 120
    assert_done(finish(left_alone))
    assert_done(run(TRAIN, *flags, "--resume", cwd=cwd / "killed"))
    assert_same_run(folder, cwd / "alone" / "results_kl1.0")


@pytest.fixture(scope="module", autouse=True)
def twenty_kills(request, tmp_path_factory, small):
    """They take two minutes, most of which is the imports, so the other tests of this file go on beside them."""
    with ThreadPoolExecutor(1) as pool:
        asked_for = any(item.function is test_killed_at_twenty_random_moments for item in request.session.items)
        yield pool.submit(kill_twenty_times, tmp_path_factory.mktemp("kills"), small) if asked_for else None


def test_killed_while_it_writes_the_checkpoint(tmp_path):
    """On scikit-learn's digits, as --dataset auto takes them without a network."""
    flags = ("--num_epochs", 2, "--hidden_size", 200, "--batch_size", 512)
    left_alone = start(TRAIN, "--dataset", "digits", "--output_dir", "alone", *flags, cwd=tmp_path)
    folder = tmp_path / "killed"
    process = start(TRAIN, "--output_dir", "killed", *flags, cwd=tmp_path)
    part, checkpoint = folder / f"checkpoint.pt.{process.pid}.part", folder / "checkpoint.pt"
    while not (part.exists() and checkpoint.exists()):
        assert process.poll() is None, finish(process)
        time.sleep(0.0003)
    process.kill()
    done = finish(process)
    assert "scikit-learn's 1,797 digits" in done.stdout and done.returncode == -signal.SIGKILL
    assert part.exists() and len(load(folder)["history"]) == 1
    assert_done(finish(left_alone))
    assert_done(run(TRAIN, "--output_dir", "killed", *flags, "--resume", cwd=tmp_path))
    assert_same_run(folder, tmp_path / "alone")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_stopped_in_training(tmp_path, small, alone, signum):
    flags = (*small, "--num_epochs", EPOCHS)
    process = start(TRAIN, *flags, cwd=tmp_path)
    wait_for_epoch(process)
    time.sleep(random.uniform(0, 0.3))
    process.send_signal(signum)
    assert_one_line(finish(process), 128 + signum, "stopped", "--resume")
    assert 1 <= len(load(tmp_path / "results_kl1.0")["history"]) < EPOCHS
    assert_done(run(TRAIN, *flags, "--resume", cwd=tmp_path))
    assert_same_run(tmp_path / "results_kl1.0", alone)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc tells when the signals are handled")
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_stopped_during_the_imports(tmp_path, small, signum):
    """An exception in the midst of an import may be swallowed, or become another one."""
    for _ in range(4):
        process = start(TRAIN, *small, cwd=tmp_path)
        while True:                                 # until the script handles SIGTERM: Python itself does not
            status = Path(f"/proc/{process.pid}/status").read_text()
            if int(status.split("SigCgt:")[1].split()[0], 16) >> (signal.SIGTERM - 1) & 1:
                break
            time.sleep(0.001)
        time.sleep(random.uniform(0, 1.5))
        process.send_signal(signum)
        assert_one_line(finish(process), 128 + signum, "stopped", "--resume")


def test_signals_that_are_ignored_stay_ignored(tmp_path, small, alone):
    """As under nohup, or in the background of a script."""
    process = start(TRAIN, *small, "--num_epochs", EPOCHS, cwd=tmp_path,
                    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    wait_for_epoch(process)
    process.send_signal(signal.SIGINT)
    assert_done(finish(process))
    assert_same_run(tmp_path / "results_kl1.0", alone)


# A full disk

def test_file_size_limit(after_two, small, alone):
    """Met while a checkpoint is written, then while a image is. The run goes on for more epochs than it was begun
    with."""
    resource = pytest.importorskip("resource")
    before, cwd = contents(after_two), after_two.parent
    flags = (*small, "--num_epochs", EPOCHS, "--resume")
    for limit, name in (600_000, "checkpoint.pt"), (20_000, "reconstruction_epoch_03.png"):
        done = run(TRAIN, *flags, cwd=cwd,
                   preexec_fn=partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, limit)))
        assert_one_line(done, 1, name, "File too large")
        after = contents(after_two)
        assert {key: after[key] for key in set(before) - {RECORD}} == {
            key: before[key] for key in set(before) - {RECORD}}, "something that was there is lost"
        assert set(after) - set(before) <= {"reconstruction_epoch_03.png"}
        assert len(load(after_two)["history"]) == 2
    done = run(TRAIN, *flags, cwd=cwd)
    assert_done(done)
    assert "resuming" in done.stdout and "epoch 2" in done.stdout
    assert_same_run(after_two, alone)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 2 MB; calling it with a size makes it larger."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount(*options):
        return subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "none", str(disk)],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    try:
        if mount("size=2m").returncode:
            pytest.skip("no right to mount a small disk")
    except FileNotFoundError:
        pytest.skip("no mount command")
    yield disk, lambda size: mount("remount", f"size={size}")
    subprocess.run(["umount", str(disk)], check=True)


def test_full_disk(small_disk, small, alone):
    disk, resize = small_disk
    flags = (*small, "--num_epochs", EPOCHS)
    assert_one_line(run(TRAIN, *flags, cwd=disk), 1, "results_kl1.0", "No space left on device")
    assert 0 < len(load(disk / "results_kl1.0")["history"]) < EPOCHS
    assert not list(disk.rglob("*.part"))
    assert resize("50m").returncode == 0
    assert_done(run(TRAIN, *flags, "--resume", cwd=disk))
    assert_same_run(disk / "results_kl1.0", alone)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_full_disk_under_the_log(tmp_path, small):
    with open("/dev/full", "w") as log:
        done = run(TRAIN, *small, "--num_epochs", 1, cwd=tmp_path, stdout=log)
    done.stdout = ""
    assert_one_line(done, 1, "No space left on device")


# The folder of a run

def test_finished_run_resumed_stays_as_it_is(after_two, small):
    before = contents(after_two)
    assert_done(run(TRAIN, *small, "--num_epochs", 2, "--resume", cwd=after_two.parent))
    assert contents(after_two) == before


def test_overwrite_removes_the_run_and_nothing_else(after_two, small, trained):
    """It removes what the record names, whichever script wrote it, and what a killed process has left half-written."""
    mine = {"notes.txt": b"mine", "my.png": b"mine too", "checkpoint.pt.backup": b"and mine",
            "reconstruction_epoch_notes.png": b"mine, by a name like the run's"}
    for name, data in mine.items():
        (after_two / name).write_bytes(data)
    for script, name in ("train_vae", "reconstruction_epoch_07.png"), ("plot_latent_space", "latent_space.png"):
        with Folder(after_two, script).writing(after_two / name) as path:
            path.write_bytes(b"of the run before")
    (after_two / "reconstruction_epoch_08.png.123.part").write_bytes(b"half a file")
    Folder(after_two, "train_vae").note(after_two / "reconstruction_epoch_08.png", ANY)
    assert_done(run(TRAIN, *small, "--num_epochs", 2, "--overwrite", cwd=after_two.parent))
    for name, data in mine.items():
        assert (after_two / name).read_bytes() == data
        (after_two / name).unlink()
    assert_same_run(after_two, trained)


def test_killed_at_twenty_random_moments(twenty_kills):
    twenty_kills.result()


# The parts of lib/run.py

def test_resume_in_an_empty_folder_starts(tmp_path, capsys):
    (tmp_path / "new").mkdir()
    for folder in (tmp_path, tmp_path / "new", tmp_path / "not there"):
        assert Run(folder, {"seed": 0}, resume=True).start(model=torch.nn.Linear(2, 1)) == 1
        assert "no checkpoint" in capsys.readouterr().out


def test_files_of_others_do_not_make_a_run(tmp_path):
    (tmp_path / "notes.txt").write_bytes(b"mine")
    assert Run(tmp_path, {"seed": 0}, ["*.png"]).start(model=torch.nn.Linear(2, 1)) == 1
    assert (tmp_path / "notes.txt").read_bytes() == b"mine"


@pytest.mark.parametrize("script, filled, left", [
    (TRAIN, ["1.1"], {"train_samples.png"}), (DIFFUSION, [], set()),
    (GAN, ["3.1"], {"training_images.png", "generated_000000.png"})], ids=str)
def test_a_run_that_fails_before_its_first_epoch_does_not_block_the_next(tmp_path, script, filled, left):
    """It leaves images and an empty metrics.csv; then the student fills in the gap."""
    handout.write(ROOT, tmp_path / "handout", keep=filled)
    write_mnist(tmp_path / "data", small_mnist())
    write_images(tmp_path / "images")
    folder = tmp_path / RESULTS[script]
    folder.mkdir()
    (folder / "notes.png").write_bytes(b"mine")
    for _ in range(2):
        assert_one_line(finish(start(tmp_path / "handout" / script, *TINY[script], cwd=tmp_path)), 1, "not filled in")
        assert set(contents(folder)) - {RECORD} == left | {"metrics.csv", "notes.png"}
        assert (folder / "metrics.csv").read_bytes() == b""
    assert_done(run(script, *TINY[script], cwd=tmp_path))
    assert (folder / "metrics.csv").read_bytes() and (folder / "notes.png").read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["checkpoint.pt", "metrics.csv"])
def test_each_file_with_results_makes_a_run(tmp_path, name):
    (tmp_path / name).write_bytes(b"of a run")
    with pytest.raises(UserError, match="--resume.*--overwrite"):
        Run(tmp_path, {"seed": 0})
    assert contents(tmp_path) == {name: b"of a run"}


@pytest.mark.parametrize("flag", ["", "resume", "overwrite"])
@pytest.mark.parametrize("name, make", [
    ("image.png", lambda path: path.write_bytes(b"mine")),
    ("metrics.csv", lambda path: path.write_bytes(b"mine")),
    ("image.png", lambda path: path.mkdir()),
    ("image.png", lambda path: path.symlink_to("/etc/passwd")),
    ("image.png", lambda path: path.symlink_to("nowhere")),
    ("../outside.mp4", lambda path: path.write_bytes(b"mine"))], ids=str)
def test_files_of_others_are_never_replaced(tmp_path, name, make, flag):
    """Neither in a new folder nor in that of a run, which has written a file of this name before."""
    if not flag and name == "metrics.csv":
        pytest.skip("this makes a run")
    for is_new in True, False:
        folder = tmp_path / str(is_new) / "run"
        folder.mkdir(parents=True)
        options = {"files": ["*.png"], "outside": [folder.parent / "outside.mp4"]}
        path = Path(os.path.normpath(folder / name))
        if not is_new:
            first = Run(folder, {"seed": 0}, **options)
            first.start(model=torch.nn.Linear(2, 1))
            with first.writing(path) if name != "metrics.csv" else open(os.devnull):
                path.write_bytes(b"of the run")
            first.end_epoch({"loss": 0.5})
            first.finish()
            path.unlink()
            if name == "metrics.csv":               # a checkpoint, and what belongs to it, is the run's by its name
                continue
        make(path)
        before = os.readlink(str(path)) if path.is_symlink() else path.is_dir() or path.read_bytes()
        with pytest.raises(UserError, match="this run did not write it" if is_new or flag else "contains a run"):
            Run(folder, {"seed": 0}, **options, **({flag: True} if flag else {}))
        assert before == (os.readlink(str(path)) if path.is_symlink() else path.is_dir() or path.read_bytes())


def test_file_that_appears_during_the_run_is_kept(tmp_path):
    new = Run(tmp_path, {"seed": 0}, files=["*.png"])
    new.start(model=torch.nn.Linear(2, 1))
    (tmp_path / "image.png").write_bytes(b"mine")
    with pytest.raises(RunError, match="this run did not write it"):
        with new.writing("image.png") as path:
            path.write_bytes(b"of the run")
    assert (tmp_path / "image.png").read_bytes() == b"mine"


def test_what_one_script_has_written_another_does_not_replace(tmp_path):
    with Folder(tmp_path, "one").writing(tmp_path / "image.png") as path:
        path.write_bytes(b"one")
    with Folder(tmp_path, "one").writing(tmp_path / "image.png") as path:
        path.write_bytes(b"two")
    with pytest.raises(RunError):
        with Folder(tmp_path, "other").writing(tmp_path / "image.png"):
            pass
    assert (tmp_path / "image.png").read_bytes() == b"two"


def test_record_whose_last_line_a_kill_has_cut_short(tmp_path):
    folder = Folder(tmp_path, "one")
    for name in "a", "b":
        with folder.writing(tmp_path / name) as path:
            path.write_bytes(name.encode())
    record = tmp_path / RECORD
    for cut in range(1, 60):
        good = record.read_bytes()
        record.write_bytes(good[:-cut])
        folder.note(tmp_path / "c", ANY)
        assert folder.is_ours(tmp_path / "a") and folder.entries()["c"] == ("one", ANY)
        record.write_bytes(good)


def test_run_that_is_older_than_records(after_two, small, alone):
    """Its files are known by their names; what else is there stays."""
    (after_two / RECORD).unlink()
    (after_two / "reconstruction_epoch_notes.png").write_bytes(b"mine")
    good = load(after_two)
    del good["threads"]
    torch.save(good, str(after_two / "checkpoint.pt"))
    assert_done(run(TRAIN, *small, "--num_epochs", EPOCHS, "--resume", cwd=after_two.parent))
    assert (after_two / "reconstruction_epoch_notes.png").read_bytes() == b"mine"
    (after_two / "reconstruction_epoch_notes.png").unlink()
    assert_same_run(after_two, alone)


def test_lock_is_of_the_process_and_dies_with_it(tmp_path, small):
    """A second process is refused, whatever it asks for; the first goes on as if nothing was."""
    flags = (*small, "--num_epochs", 60)
    first = start(TRAIN, *flags, cwd=tmp_path)
    wait_for_epoch(first)
    for flag in (), ("--resume",), ("--overwrite", "--seed", 1):
        assert_one_line(run(TRAIN, *flags, *flag, cwd=tmp_path), 2, "results_kl1.0", "another process")
    first.kill()
    assert finish(first).returncode == -signal.SIGKILL
    assert_done(run(TRAIN, *small, "--num_epochs", 60, "--resume", cwd=tmp_path))


def test_resume_with_another_number_of_threads_is_told(after_two, small):
    done = run(TRAIN, *small, "--num_epochs", 3, "--resume", cwd=after_two.parent,
               env=dict(environment(), OMP_NUM_THREADS="2"))
    assert_done(done)
    assert [line for line in done.stdout.splitlines() if "warning" in line and "was 1 and is now 2" in line]


def test_metrics_that_a_kill_left_behind_the_checkpoint(tmp_path):
    new = Run(tmp_path, {"seed": 0})
    new.start(model=torch.nn.Linear(2, 1))
    new.end_epoch({"loss": 0.5})
    before = (tmp_path / "metrics.csv").read_text()
    new.end_epoch({"loss": 0.25})
    after = (tmp_path / "metrics.csv").read_text()
    assert (before, after) == ("epoch,loss\n1,0.5\n", "epoch,loss\n1,0.5\n2,0.25\n")
    (tmp_path / "metrics.csv").write_text(before)
    assert Run(tmp_path, {"seed": 0}, resume=True).start(model=torch.nn.Linear(2, 1)) == 3
    assert (tmp_path / "metrics.csv").read_text() == after


def test_write_file_replaces_whole(tmp_path):
    write_file(tmp_path / "file", b"old and long")
    write_file(tmp_path / "file", b"new")
    assert contents(tmp_path) == {"file": b"new"}


def test_write_file_that_fails_keeps_what_was_there(tmp_path):
    pytest.importorskip("resource")
    program = ("import resource, sys; from lib.files import write_file\n"
               "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
               "write_file(sys.argv[1], b'new' * 1000)")
    (tmp_path / "file").write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "file")], stderr=subprocess.PIPE,
                          cwd=str(ROOT))
    assert b"RunError" in done.stderr and str(tmp_path / "file").encode() in done.stderr
    assert contents(tmp_path) == {"file": b"old"}


def test_write_file_where_a_folder_stands(tmp_path):
    (tmp_path / "file").mkdir()
    with pytest.raises(RunError, match="file"):
        write_file(tmp_path / "file", b"new")
    assert os.listdir(str(tmp_path)) == ["file"]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_metric_that_is_not_finite_stops_the_run(tmp_path, bad):
    model = torch.nn.Linear(2, 1)
    new = Run(tmp_path, {"seed": 0})
    new.start(model=model)
    new.end_epoch({"train_loss": 2.0, "test_loss": 3.0})
    before = contents(tmp_path)
    with pytest.raises(RunError, match="epoch 2.*test_loss.*learning rate"):
        new.end_epoch({"train_loss": 1.0, "test_loss": bad})
    assert contents(tmp_path) == before


def test_epochs_draw_their_own_numbers(tmp_path):
    def draws(seed, epoch):
        Run(tmp_path, {"seed": seed}).seed_epoch(epoch)
        return torch.rand(4).tolist()

    drawn = {(seed, epoch): draws(seed, epoch) for seed in (0, 1, 2 ** 32 - 1) for epoch in (0, 1, 2)}
    torch.rand(7)
    assert all(draws(*key) == drawn[key] for key in drawn)
    assert len({tuple(numbers) for numbers in drawn.values()}) == len(drawn)


def test_checkpoint_holds_all_parts(tmp_path):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    new = Run(tmp_path, {"seed": 0, "lr": 0.5})
    assert new.start(model=model, optimizer=optimizer) == 1
    model(torch.ones(3)).sum().backward()
    optimizer.step()
    new.end_epoch({"loss": 0.25})
    checkpoint = load_checkpoint(tmp_path)
    assert checkpoint["settings"] == {"seed": 0, "lr": 0.5} and checkpoint["history"] == [{"epoch": 1, "loss": 0.25}]

    torch.manual_seed(1)
    other = torch.nn.Linear(3, 2)
    other_optimizer = torch.optim.Adam(other.parameters())
    assert Run(tmp_path, {"seed": 0, "lr": 0.5}, resume=True).start(model=other, optimizer=other_optimizer) == 2
    assert torch.equal(model.weight, other.weight) and torch.equal(model.bias, other.bias)
    assert torch.equal(optimizer.state_dict()["state"][0]["exp_avg_sq"],
                       other_optimizer.state_dict()["state"][0]["exp_avg_sq"])
    with pytest.raises(UserError, match="another model"):
        Run(tmp_path, {"seed": 0, "lr": 0.5}, resume=True).start(model=torch.nn.Linear(4, 2))


def damaged_checkpoints(data):
    """Data of a good checkpoint, damaged in many places."""
    yield from (b"", b"PK", b"epoch,loss\n1,2\n", data[:-1], data[1:], data + data, data[:100])
    for place in range(40, len(data), len(data) // 50):
        yield data[:place] + bytes([data[place] ^ 16]) + data[place + 1:]


def test_damaged_checkpoint_is_never_loaded(tmp_path, trained):
    """Each is refused in words, or, where the damage touches only what nobody reads, has the values of the good one."""
    good, refused, cases = load(trained), 0, list(damaged_checkpoints((trained / "checkpoint.pt").read_bytes()))
    for data in cases:
        (tmp_path / "checkpoint.pt").write_bytes(data)
        try:
            assert_same_value(load_checkpoint(tmp_path), good)
        except UserError as error:
            assert str(tmp_path / "checkpoint.pt") in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > len(cases) - 5


def test_checkpoint_of_something_else(tmp_path, trained):
    good = load(trained)
    for other in (torch.zeros(3), [1, 2], {}, good["model"], {**good, "settings": 3}, {**good, "history": None}):
        torch.save(other, str(tmp_path / "checkpoint.pt"))
        with pytest.raises(UserError, match="does not belong to a run"):
            load_checkpoint(tmp_path)


@pytest.mark.parametrize("key", ["hidden_size", "new", "gone"])
def test_each_setting_is_compared(tmp_path, key):
    settings = {"seed": 0, "hidden_size": 3, "gone": "x"}
    run = Run(tmp_path, settings)
    run.start(model=torch.nn.Linear(2, 1))
    run.end_epoch({"loss": 0.5})
    changed = {**settings, key: 4}
    if key == "gone":
        del changed[key]
    with pytest.raises(UserError, match=f"{key} was"):
        Run(tmp_path, changed, resume=True)
    assert Run(tmp_path, {**settings, "gone": "auto"}, resume=True).settings == settings
