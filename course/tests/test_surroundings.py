"""Thousands of cases of bad input and odd surroundings for the five scripts: one line, the right exit status, nothing
lost, no traceback and no library's warning. course/tests/surroundings generates the cases and their expectations.
"""
import os
import signal
from subprocess import CompletedProcess
from typing import Dict

import pytest

from course.tests.support import (
    DIFFUSION,
    assert_done,
    assert_one_line,
    assert_same_value,
    contents,
    finish,
    load,
    read_until,
    start,
)
from course.tests.surroundings import EPOCHS, NEEDS, QUIET, RESULTS, TINY, TRAINERS, put
from course.tests.surroundings.kinds import KINDS, cases_of
from course.tests.surroundings.trial import Bench, run_really, summary

LEAST = 1500                                        # cases in all
# Forks only imitate how Python starts. These cases run as real processes, too.
REAL = {"environments": (
    "stream 1 closed run_vae_training", "stream 1 broken run_diffusion_training with an error",
    "stream 1 full sample_gan",
    "stream 2 closed run_gan_training", "stream 2 full run_vae_training with a wrong flag",
    r"encoding ascii run_gan_training gr\xf6\xdfe", r"encoding utf-8 run_vae_training caf\udce9",
    "figures plot_latent_space MPLBACKEND=nonsense", "figures run_vae_training matplotlibrc origin",
    "ffmpeg missing run_gan_training", "device sample_gan hpu"), "names": ("name run_gan_training  --output_dir=~/x",)}

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
counts: Dict[str, int] = {}


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    bench = Bench(tmp_path_factory.mktemp("surroundings"))
    yield bench
    bench.close()


@pytest.mark.parametrize("kind", KINDS)
def test_one_line_and_nothing_lost(kind, bench):
    outcomes = bench.run(cases_of(kind, bench.stock))
    counts[kind] = len(outcomes)
    assert not any(outcome.complaints for outcome in outcomes), summary(outcomes)


def test_number_of_cases():
    if len(counts) < len(KINDS):
        pytest.skip("not all kinds were run")
    assert sum(counts.values()) >= LEAST, counts


@pytest.mark.parametrize("kind, name", [(kind, name) for kind in REAL for name in REAL[kind]])
def test_real_process(kind, name, bench):
    found = [case for case in cases_of(kind, bench.stock) if case.name == name]
    assert len(found) == 1, f"there is no case {name}"
    outcome = bench.run_case(found[0], bench.folder / "real", run_really)
    assert not outcome.complaints, str(outcome)


# Two runs in one folder

@pytest.fixture
def undisturbed(request, bench, tmp_path):
    """A script, flags for a run of some epochs, a working directory for it, and the checkpoint it should end with."""
    script = request.param
    flags = [*TINY[script], *QUIET[script], EPOCHS[script], "5" if script == DIFFUSION else "30"]
    for name in "alone", "cwd":
        (tmp_path / name).mkdir()
        put(bench.stock, NEEDS[script], tmp_path / name)
    assert bench.worker(0, False).run(script, flags, tmp_path / "alone") == 0
    return script, flags, tmp_path / "cwd", load(tmp_path / "alone" / RESULTS[script])


def assert_undisturbed(folder, expected):
    """Apart from the metrics, which forks measure on fewer points."""
    found = load(folder)
    for name in set(expected) - {"history"}:
        assert_same_value(found[name], expected[name], name)
    assert not [name for name in contents(folder) if ".part" in name]


def run_second(bench, cwd, script, flags):
    """The same script in the same working directory, while the first is paused."""
    status = bench.worker(0, False).run(script, flags, cwd)
    said = [open(f"{cwd}.{number}").read() for number in (1, 2)]
    for number in 1, 2:
        os.unlink(f"{cwd}.{number}")
    return CompletedProcess(["python", script], status, *said)


@pytest.mark.parametrize("undisturbed", TRAINERS, indirect=True)
def test_second_run_in_a_folder_is_refused(undisturbed, bench):
    """With any flags. The first one is paused after an epoch, and then ends with the bits of an undisturbed run."""
    script, flags, cwd, expected = undisturbed
    first = start(script, *flags, cwd=cwd)
    read_until(first, 1)
    first.send_signal(signal.SIGSTOP)
    try:
        before = contents(cwd)
        for more in [], ["--resume"], ["--overwrite"], ["--overwrite", "--seed", "1"]:
            assert_one_line(run_second(bench, cwd, script, [*flags, *more]), 2, RESULTS[script])
            assert contents(cwd) == before
    finally:
        first.send_signal(signal.SIGCONT)
    assert_done(finish(first))
    assert_undisturbed(cwd / RESULTS[script], expected)


@pytest.mark.parametrize("undisturbed", TRAINERS, indirect=True)
def test_of_two_runs_at_the_same_time_one_is_refused(undisturbed, bench):
    """The first one is paused after its first line of output: either of the two may be the one that is refused."""
    script, flags, cwd, expected = undisturbed
    first = start(script, *flags, cwd=cwd)
    first.stdout.readline()
    first.send_signal(signal.SIGSTOP)
    try:
        second = run_second(bench, cwd, script, flags)
    finally:
        first.send_signal(signal.SIGCONT)
    one, other = sorted((finish(first), second), key=lambda done: done.returncode)
    assert one.returncode == 0 and one.stderr == "", one.stderr
    assert_one_line(other, 2, RESULTS[script])
    assert_undisturbed(cwd / RESULTS[script], expected)
