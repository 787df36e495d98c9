"""The grader's parts: values as bytes, confined processes, and what is left when it is stopped."""
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from course import handout
from course.grader import call, caller, confine, pool, results, values
from course.tests.support import NUMBERS, ROOT
from tests.scoring.tasks import TASKS

pytestmark = pytest.mark.skipif(not confine.is_possible(), reason="only Linux can confine a process")


# Values

VALUES = [None, True, 3, -2.5, float("inf"), "ünï\n", "", [], {}, [1, [2.0, "x", [None]]], {"a": {"b": [1]}, 3: "x"},
          np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros((0, 4)), np.array(3, dtype=np.int64),
          np.array([True, False]), np.float32(2.5), [np.ones(3, dtype=np.float16), {"x": np.array([1 + 2j])}],
          np.arange(10)[::-2], np.broadcast_to(np.float32(1), (3, 2))]


@pytest.mark.parametrize("value", VALUES, ids=map(str, range(len(VALUES))))
def test_values_come_back_as_they_were(value):
    def same(one, other):
        if isinstance(one, dict):
            return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
        if isinstance(one, list):
            return len(one) == len(other) and all(map(same, one, other))
        if isinstance(one, (np.ndarray, np.generic)):
            return one.dtype == other.dtype and one.shape == other.shape and np.array_equal(one, other)
        return type(one) is type(other) and one == other

    assert same(value, values.unpack(values.pack(value)))


def test_what_is_no_array_of_numbers_becomes_words():
    for array in (np.array([{}, None]), np.array(["text"]), np.array(["2026-11-28"], dtype="datetime64[D]")):
        assert values.unpack(values.pack([array])) == [f"an array of {array.dtype.name}"]


def forged(header, numbers=b"\0" * 64):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + numbers


@pytest.mark.parametrize("data", [
    b"", b"1234567", b"\xff" * 8, (2 ** 63).to_bytes(8, "little") + b"{}", forged(b"not JSON"), forged(b"\xff\xfe"),
    forged(b"[" * 100000), forged(b'{"list":[' * 20000), forged([1, 2]), forged({"list": 3}), forged({"dict": [[1]]}),
    forged({"dict": [[{"list": []}, 1]]}), forged({}), forged({"list": [], "dict": []}), forged({"pickle": "x"}),
    forged({"array": ["|O", [1], 0]}), forged({"array": ["<f8", [9], 0]}), forged({"array": ["<f4", [-1], 0]}),
    forged({"array": ["<f4", [2 ** 62, 2 ** 62], 0]}), forged({"array": ["<f4", [1], -4]}), forged({"array": ["<f4"]}),
    forged({"list": [{"array": ["<f4", [16], 0]}] * 2}),
    forged({"array": ["<f4", [1.0], 0]}), forged({"array": ["<f4", [True], 0]}), forged({"array": ["<f4", "1", 0]}),
    forged({"array": ["<f4", [1], 2 ** 80]}), forged({"array": ["nothing", [1], 0]}), forged({"array": [None, [1], 0]}),
    forged({"array": ["<f4", [1] * 40, 0]}), forged({"array": ["V8", [1], 0]}), forged({"array": ["<M8[s]", [1], 0]}),
    forged({"array": ["f4,f4", [1], 0]}), forged(b" " * (values.LARGEST_HEADER + 1) + b"1"),
    forged(b"1" * 200000) if sys.version_info >= (3, 11) else b""], ids=lambda data: repr(data[8:30]))
def test_forged_bytes_are_refused_before_anything_is_allocated(data):
    with pytest.raises(ValueError):
        values.unpack(data)


def test_only_regular_files_are_read(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    assert caller.read_regular(tmp_path / "file", 3) == b"123"
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(str(tmp_path / "pipe"))
    for name in ("link", "pipe", "nothing", "."):
        with pytest.raises(OSError):
            caller.read_regular(tmp_path / name, 3)


# What a call knows

def test_a_call_does_not_know_what_is_expected():
    """The part of a test file that a call imports holds the functions given to `call`, and what they use."""
    for path in sorted((ROOT / "tests").glob("test_*.py")):
        part = vars(call.calling_part(f"tests.{path.stem}"))
        assert not [name for name in part if name.startswith(("test_", "check_", "expected", "known_", "right_"))]
        assert not any("mistake" in name for name in part if name != "CALLED_TWICE"), path


NAN = """
import sys
import numpy as np
from pathlib import Path
from course.grader.judge_process import run_tests_here
from tests import support
call = support.call
def nan(value):
    if isinstance(value, dict):
        return {key: nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [nan(item) for item in value]
    return value * float("nan") if np.asarray(value).dtype.kind == "f" else value
found = run_tests_here(Path(sys.argv[1]), 1, lambda function, **inputs: nan(call(function, **inputs)))
print("PASSED:", *(test.split("::")[1] for test, (_, said) in found.items() if not said))
"""


def test_nan_never_passes(tmp_path):
    """The calls run the reference solution; all its numbers are then replaced. What passes looks at no number."""
    done = subprocess.run([sys.executable, "-c", NAN, str(tmp_path / "report")], cwd=str(ROOT), stdout=subprocess.PIPE,
                          universal_newlines=True)
    names = {name.split("[")[0] for name in done.stdout.split("PASSED:")[1].split()}
    assert names == {"test_layers", "test_gradients_reach_the_layers", "test_number_of_parameters"}


def test_a_call_finds_only_the_lib_of_the_submission(graded):
    """Even if the server has imported the teacher's. An empty handout earns nothing."""
    result = results.from_json((graded / "scores" / "one.json").read_text())
    assert not any(row.earned for row in result.score.rows)
    assert {words.split(":")[0] for row in result.score.rows for _, words in row.failures if not row.task.bonus} == {
        f"Task {task.number} is not filled in yet" for task in TASKS if task.graded_by == "tests"}


# Confinement

def test_all_layers_hold_here(tmp_path):
    """As CI's kernel has them; another user needs an interpreter that others can read."""
    holds = confine.probe(tmp_path)
    assert [layer for layer in confine.LAYERS[1:] if not holds[layer]] == []
    assert holds["another user"] == (confine.another_user(0) is not None)


def test_without_confinement_no_layer_holds(tmp_path, monkeypatch):
    """The probe can fail."""
    monkeypatch.setattr(confine, "apply", lambda *_, **__: None)
    assert not any(confine.probe(tmp_path).values())


@pytest.mark.parametrize("missing, layer", [
    ("_landlock", "files"), ("_seccomp", "network and processes")])
def test_a_missing_layer_is_told(tmp_path, monkeypatch, missing, layer):
    def fail(*_):
        raise OSError("not in this kernel")

    monkeypatch.setattr(confine, missing, fail)
    holds = confine.probe(tmp_path)
    assert not holds[layer] and holds["limits"] and holds["no new privileges"]


@pytest.mark.parametrize("needed", [True, False])
def test_a_call_ends_if_a_layer_fails_that_holds_here(tmp_path, monkeypatch, needed):
    def fail(*_):
        raise OSError("no memory left")

    monkeypatch.setattr(confine, "_landlock", fail)
    child = os.fork()
    if child == 0:
        try:
            confine.apply([], [], tmp_path, None, 10, ["files"] if needed else [])
            os._exit(0)
        except OSError:
            os._exit(7)
    assert os.WEXITSTATUS(os.waitpid(child, 0)[1]) == (7 if needed else 0)


# Stopping it

@pytest.fixture(scope="module")
def endless(tmp_path_factory):
    """A submission whose first call does not end."""
    folder = tmp_path_factory.mktemp("endless") / "team"
    handout.write(ROOT, folder, keep=NUMBERS)
    (folder / "lib" / "loss_vae.py").write_text("while True:\n    pass\n")
    return folder


def processes():
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"course.grader" in path.read_bytes():
                found.add(path.parent.name)
        except OSError:
            continue
    return found


def scratch_folders():
    return {path.name for path in Path(tempfile.gettempdir()).glob("course-grade-*")}


@pytest.fixture
def grading(endless, tmp_path):
    """A grading whose first call runs, and the processes and scratch folders before it; neither may be left."""
    before = processes(), scratch_folders()
    with subprocess.Popen([sys.executable, "-m", "course.grade", str(endless), "--output", str(tmp_path / "s")],
                          cwd=str(ROOT), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True) as command:
        until = time.monotonic() + 120
        while time.monotonic() < until and not [
                path for folder in scratch_folders() - before[1]
                for path in Path(tempfile.gettempdir(), folder).glob("0-0/calls/scratch")]:
            time.sleep(0.05)
        assert len(processes()) - len(before[0]) >= 3   # the server, a worker, a judge, ...
        yield command, before
        command.kill()
    while time.monotonic() < until and (processes(), scratch_folders()) != before:
        time.sleep(0.05)
    assert (processes(), scratch_folders()) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_stopping_the_grader_leaves_no_process_and_no_scratch_folder(grading, number):
    """Not even SIGKILL does: the workers end when the command's sockets close."""
    command, _ = grading
    command.send_signal(number)
    _, errors = command.communicate(timeout=60)
    assert command.returncode == {signal.SIGINT: 130, signal.SIGKILL: -9}.get(number, 128 + number)
    assert "Traceback" not in errors, errors


def test_a_worker_that_dies_is_not_the_fault_of_a_submission(grading, tmp_path):
    """The system kills processes when the memory is full. The submission gets no row, so it is graded the next time."""
    command, (before, _) = grading
    for process in processes() - before:
        with contextlib.suppress(ProcessLookupError):   # it has ended with its parent
            os.kill(int(process), signal.SIGKILL)
    _, errors = command.communicate(timeout=60)
    assert command.returncode == 1 and errors.startswith("grade: a process of the grader is dead"), errors
    assert errors.count("\n") == 1 and not list((tmp_path / "s").glob("*.json"))


# Results

def test_results_survive_their_file(tmp_path):
    """A result that is written and read again is the same; another file is no result."""
    from tests.scoring.edition import Edition
    from tests.scoring.score import Row, Score
    failures = [("test", "wörds\n x")]
    rows = [Row(task, None if task.graded_by == "a person" else Fraction(task.points, 2), "note", failures)
            for task in TASKS]
    score = Score(rows, ["an edit"], 7, ["newer"], (), Edition(3, "2026-11-28"), "2")
    for result in (results.Result("täam", "/a/b", score, "", "f", "2026-12-01T00:00:00+01:00", [["t", "said"]]),
                   results.Result("team", "/a", None, "an empty folder")):
        results.save(tmp_path, result)
        back = results.from_json((tmp_path / f"{result.name}.json").read_text())
        assert results.to_json(back) == results.to_json(result)
    for text in ("", "{}", "[]", "[" * 100000, '{"format": 3}'):
        with pytest.raises(ValueError):
            results.from_json(text)


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """The folders of two submissions, of which one is empty, and of their scores. Copy them."""
    folder = tmp_path_factory.mktemp("graded")
    handout.write(ROOT, folder / "one")
    (folder / "two").mkdir()
    done = grade(folder, "one", "two")
    assert done.returncode == 1, done.stderr
    return folder


def grade(folder, *arguments):
    return subprocess.run([sys.executable, "-m", "course.grade", "--output", str(folder / "scores"), *(
        argument if argument.startswith("-") or argument.isdigit() else str(folder / argument)
        for argument in arguments)], cwd=str(ROOT), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        universal_newlines=True)


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / "scores").glob("*.json")}


@pytest.mark.parametrize("change, again", [
    ("nothing", {"two"}), ("--again", {"one", "two"}), ("--seed", {"one", "two"}), ("a gap", {"one", "two"}),
    ("one result is lost", {"one", "two"})])
def test_only_what_has_changed_is_graded_again(graded, tmp_path, change, again):
    """What could not be graded is tried again each time."""
    folder = tmp_path / "class"
    shutil.copytree(str(graded), str(folder))
    for name in ("one", "two"):                     # the results name the submissions' folder
        path = folder / "scores" / f"{name}.json"
        path.write_text(path.read_text().replace(str(graded), str(folder)))
    before = times(folder)
    if change == "a gap":
        path = folder / "one" / "lib" / "utils.py"
        path.write_text(path.read_text().replace("raise NotImplementedError", "pass  # NotImplementedError"))
    if change == "one result is lost":
        (folder / "scores" / "one.json").unlink()
    done = grade(folder, "one", "two", *([change] if change == "--again" else []),
                 *(["--seed", "5"] if change == "--seed" else []))
    assert done.returncode == 1, done.stderr
    after = times(folder)
    assert {name.split(".")[0] for name in after if after[name] != before[name]} == again
    assert ("unchanged" in done.stdout) == ("one" not in again)


def test_the_table_is_made_from_the_results_alone(graded, tmp_path):
    """So machines can share the work, and one submission can be graded again."""
    folder = tmp_path / "class"
    shutil.copytree(str(graded), str(folder))
    table = (folder / "scores" / "scores.csv").read_text()
    (folder / "scores" / "scores.csv").unlink()
    done = grade(folder)
    assert done.returncode == 1 and "graded 1 of 2" in done.stdout, done.stderr
    assert (folder / "scores" / "scores.csv").read_text() == table


def test_an_unconfined_grading_gives_the_same(graded, tmp_path):
    assert pool.Pool(1, confined=False).layers == {}
    with pool.Pool(1, confined=False) as unconfined:
        assert unconfined.grade(graded / "one", "one", tmp_path, seed=1)
    one = json.loads((tmp_path / "one.json").read_text())
    other = json.loads((graded / "scores" / "one.json").read_text())
    assert [task["earned"] for task in one["tasks"]] == [task["earned"] for task in other["tasks"]]
