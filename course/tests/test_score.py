"""python -m tests: what tasks earn, what is said of failures, and what is found beside the code."""
import os
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction

import pytest

from course import handout
from course.tests.support import FEEDBACK, NUMBERS, ROOT, change
from tests import edits, handed_in, pushes
from tests import score as scoring
from tests.report import NOT_ENDED, NOT_RUN, read_report
from tests.tasks import TASKS


@pytest.fixture(scope="module")
def editions(tmp_path_factory):
    """A handout with all gaps filled and one with none. Copy them; do not change them."""
    folder = tmp_path_factory.mktemp("editions")
    handout.write(ROOT, folder / "filled", keep=NUMBERS)
    handout.write(ROOT, folder / "unfilled")
    for edition in folder.iterdir():
        shutil.rmtree(str(edition / "dataset_flowers_64px"))
    return folder


@pytest.fixture
def filled(editions, tmp_path):
    shutil.copytree(str(editions / "filled"), str(tmp_path / "filled"))
    return tmp_path / "filled"


def run_score(folder, *arguments):
    """As a student runs it: the exit status, and what it prints."""
    done = subprocess.run([sys.executable, "-m", "tests", *arguments], cwd=str(folder), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=dict(os.environ, OMP_NUM_THREADS="1", PYTHONIOENCODING="utf-8"))
    assert done.stderr == b"", done.stderr.decode()
    return done.returncode, done.stdout.decode("utf-8")


def earned(rows):
    return {row.task.number: row.earned for row in rows}


# The command

def test_all_filled_in(filled):
    (filled / "feedback.md").write_text(FEEDBACK)
    (filled / "submission.pdf").write_bytes(b"%PDF-1.7\n")
    status, output = run_score(filled)
    assert status == 0, output
    lines = output.splitlines()
    for task in TASKS:
        line, = [line for line in lines if line.startswith(f"| {task.number} {task.title} ")
                 or task.bonus and line.startswith(f"| {task.title} (bonus) ")]
        cells = [cell.strip() for cell in line.split("|")]
        assert cells[2:4] == [str(task.points), "" if task.graded_by == "a person" else str(task.points)]
        assert ("submission.pdf is there" in line) == (task.graded_by == "a person")
    assert "| 16 + 2 |     13 | of 11 + 2 that are graded here; a person gives the other 5 |" in output
    assert "look at first" not in output and "Edits" not in output


def test_nothing_filled_in(editions):
    status, output = run_score(editions / "unfilled")
    assert status == 1
    assert "| 16 + 2 |      0 |" in output and "Edits" not in output and "Traceback" not in output
    assert output.count("| not filled in") == 6 and "submission.pdf is missing" in output
    for task, path in (("1.2", "lib/loss_vae.py"), ("3.2", "lib/train_gan.py")):
        number = 1 + next(number for number, line in enumerate((editions / "unfilled" / path).read_text(
            encoding="utf-8").splitlines()) if "raise NotImplementedError" in line)
        assert f"Task {task} is not filled in yet: the gap in" in output and f"{path}, line {number}." in output


def test_a_mistake_takes_the_share_of_the_tests_that_find_it(filled):
    """The same seed prints the same again."""
    change(filled, "lib/loss_vae.py", "return reconstruction + self.kl_loss_weight * kl", "return reconstruction + kl")
    status, output = run_score(filled, "--seed", "5")
    assert status == 1
    row, = [line for line in output.splitlines() if line.startswith("| 1.2 ")]
    passed = int(row.split("|")[4].split(" of 6 ")[0])
    assert 0 <= passed < 6 and float(row.split("|")[3]) == round(2 * passed / 6, 2)
    assert output.count(" tests pass |") == 6 and "python -m tests.test_loss" in output
    assert "This looks like a known mistake: the weight is ignored." in output
    assert "Read the docstring of VAELoss.forward" in output and "Traceback" not in output
    assert "`python -m tests --seed 5` repeats" in output
    assert run_score(filled, "--seed", "5")[1] == output


def test_optional_tasks_may_wait_until_they_are_begun(editions, tmp_path):
    handout.write(ROOT, tmp_path / "some", keep=["1.1", "1.2", "1.3", "2.2", "3.1"])
    result = scoring.score(tmp_path / "some", seed=1)
    assert scoring.all_pass(result.rows)
    assert [row.note for row in result.rows if row.task.number == "3.2"] == ["not filled in (optional)"]
    change(tmp_path / "some", "lib/train_gan.py", 'raise NotImplementedError("Task 3.2 is not filled in yet")', "pass")
    assert not scoring.all_pass(scoring.score(tmp_path / "some", seed=1).rows)
    assert not scoring.all_pass(scoring.score(editions / "unfilled", seed=1).rows)


def run_python(python, folder, **more):
    return subprocess.run([str(python), "-m", "tests"], cwd=str(folder), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True, env=dict(os.environ, **more))


def test_where_pytest_does_not_start(filled, tmp_path):
    """One line: the packages are missing, or there is no room for the report."""
    subprocess.check_call([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")])
    done = run_python(tmp_path / "bare" / ("Scripts" if os.name == "nt" else "bin") / "python", filled)
    assert (done.returncode, done.stdout) == (1, "") and done.stderr.count("\n") == 1
    assert done.stderr.startswith("tests: pytest does not start (") and "No module named pytest" in done.stderr
    (filled / "tests" / "conftest.py").write_text("import nothing_of_that_name\n")
    done = run_python(sys.executable, filled)
    assert done.returncode == 1 and "No module named 'nothing_of_that_name'" in done.stderr, done.stderr


def test_ctrl_c_stops_it_at_once(filled):
    """And the process that runs the tests as well."""
    change(filled, "lib/loss_vae.py", "import torch\n", "import torch\nimport time\n"
           "open('started', 'w').close()\ntime.sleep(300)\nopen('went_on', 'w').close()\n")
    options = {} if os.name == "nt" else {"start_new_session": True}
    process = subprocess.Popen([sys.executable, "-m", "tests"], cwd=str(filled), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, **options)
    while not (filled / "started").exists():
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == (b"", b"") and process.returncode == 130


# Code that breaks off

def test_code_that_ends_python_costs_the_tests_that_call_it(filled):
    for path, code in (("lib/loss_vae.py", "import os\nos._exit(0)"),
                       ("lib/explore_latent_space.py", "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)")):
        change(filled, path, "import torch\n", f"import torch\n{code}\n")
    rows = scoring.score(filled, seed=1).rows
    assert earned(rows) == {"1.1": 4, "1.2": 0, "1.3": 0, "1.4": None, "2.1": None, "2.2": 3, "3.1": 0, "3.2": 0,
                            "style": 0, "feedback": 0}
    said = {message for row in rows for _, message in row.failures}
    assert said == {NOT_ENDED}, said


def test_a_loop_without_an_end_is_given_up(filled, monkeypatch):
    monkeypatch.setattr(scoring, "PATIENCE", 20)
    change(filled, "lib/explore_latent_space.py", "    batches = [", "    while True:\n        pass\n    batches = [")
    rows = scoring.score(filled, seed=1).rows
    assert earned(rows)["1.3"] < 2 and earned(rows)["1.1"] == 4 and earned(rows)["3.2"] == 0
    failures, = [row.failures for row in rows if row.task.number == "1.3"]
    assert failures and {message for _, message in failures} == {NOT_ENDED}
    assert all(not row.failures for row in rows if row.task.number != "1.3")


def test_input_does_not_wait(filled):
    change(filled, "lib/loss_vae.py", "import torch\n", "import torch\ninput()\n")
    row, = [row for row in scoring.score(filled, seed=1).rows if row.task.number == "1.2"]
    assert row.earned == 0 and "cannot be imported" in row.failures[0][1]


def test_a_task_without_tests_earns_nothing(filled):
    (filled / "tests" / "test_loss.py").unlink()
    (filled / "tests" / "test_vae.py").write_text("import nothing_of_that_name\n")
    result = scoring.score(filled, seed=1)
    assert earned(result.rows)["1.1"] == earned(result.rows)["1.2"] == 0 and not scoring.all_pass(result.rows)
    assert earned(result.rows)["1.3"] == 2
    assert "tests/test_loss.py is gone" in result.edits


def test_a_report_that_was_cut_off(tmp_path):
    path = tmp_path / "report.jsonl"
    assert read_report(path) == {}
    path.write_text('["a", "1.1", "%s"]\n["a", "1.1", ""]\n["b", "1.1", "%s"]\n["b", "1.' % (NOT_RUN, NOT_RUN))
    assert read_report(path) == {"a": ("1.1", ""), "b": ("1.1", NOT_RUN)}


def test_failures_in_words():
    """The known mistake in full, even if another test comes first; a line of the others; the same messages together."""
    known = "Task 1.1: What:\n    expected: 1\n    got:      2\nThis looks like a known mistake: x is y.\nRead z."
    row = scoring.Row(TASKS[0], Fraction(1), "", [
        ("tests/test_vae.py::test_a", "Task 1.1: Numbers:\n    expected: 1\n    got:      2"),
        ("tests/test_vae.py::test_b", known), ("tests/test_vae.py::test_c", known)])
    assert scoring.failures_in_words(row) == [
        "### 1.1 the VAE: `python -m tests.test_vae`", "", "    test_b and 1 more",
        *(f"        {line}" for line in known.split("\n")), "    test_a", "        Numbers: expected: 1, got: 2", ""]
    raised = ("lib/x.py, line 1: your code raised an exception in f.\n    f()\nTypeError: no\n"
              "The test's inputs have the shapes: a 3.")
    assert scoring.in_a_line("Task 1.1: " + raised) == (
        "lib/x.py, line 1: your code raised an exception in f: TypeError: no")


# Feedback, submission, style

def test_feedback(tmp_path):
    assert handed_in.feedback(tmp_path) == ["feedback.md is missing"]
    for text in (FEEDBACK, FEEDBACK.replace("\n", "\r\n"), "\ufeff" + FEEDBACK, FEEDBACK.replace("##", "\n\n##"),
                 FEEDBACK.replace("hours: [10, 8.5]", "Hours:[4]\nin all")):
        (tmp_path / "feedback.md").write_bytes(text.encode())
        assert handed_in.feedback(tmp_path) == [], text


def test_feedback_as_it_is_handed_out():
    assert [line.split("below ")[1] for line in handed_in.feedback(ROOT)] == [
        '"Major problems"', '"Helpful?"', '"Other feedback"']


@pytest.mark.parametrize("old, new, words", [
    ("## Major problems\nnone", "## Major problems\n<!-- none -->", 'nothing below "Major problems"'),
    ("## Major problems\nnone", "", 'nothing below "Major problems"'),
    ("yes\n", "", 'nothing below "Helpful?"'), ("yes\n", "<!-- open\n", 'nothing below "Helpful?"'),
    ("none\n", "", 'nothing below "Major problems"'), ("hours: [10, 8.5]", "hours: [ ]", "needs the hours"),
    ("hours: [10, 8.5]", "ten", "needs the hours"), ("hours: [10, 8.5]", "hours: 10", "needs the hours"),
    ("hours: [10, 8.5]", "hours: [10, 8.5", "needs the hours"), ("[10, 8.5]", "[10h]", "no numbers"),
    ("[10, 8.5]", "['10']", "no numbers"), ("[10, 8.5]", "[ten]", "no numbers"), ("[10, 8.5]", "[-1]", "no numbers"),
    ("[10, 8.5]", "[True]", "no numbers"), ("[10, 8.5]", "[1e999]", "no numbers"),
    ("[10, 8.5]", "[10, 8,5, 3]", "the hours of 4"),
])
def test_feedback_that_lacks_something(tmp_path, old, new, words):
    assert old in FEEDBACK
    (tmp_path / "feedback.md").write_text(FEEDBACK.replace(old, new))
    missing = handed_in.feedback(tmp_path)
    assert missing and words in missing[0], missing


def test_submission(tmp_path):
    assert handed_in.submission(tmp_path) == (False, "submission.pdf is missing")
    (tmp_path / "Submission.PDF").write_bytes(b"%PDF-1.5")
    if not (tmp_path / "submission.pdf").exists():  # it does where the file system does not tell them apart
        assert handed_in.submission(tmp_path)[1] == "submission.pdf is missing, Submission.PDF must be spelled so"
    (tmp_path / "submission.pdf").write_bytes(b"PK")
    assert handed_in.submission(tmp_path) == (False, "submission.pdf is there, but is no PDF")
    (tmp_path / "submission.pdf").write_bytes(b"%PDF-1.5")
    assert handed_in.submission(tmp_path) == (True, "submission.pdf is there")


def test_style(editions, filled):
    assert handed_in.style(filled) == []
    assert "no gap is filled in yet" in handed_in.style(editions / "unfilled")[0]
    change(filled, "lib/loss_vae.py", "kl = -0.5 *", "kl=-0.5 *")
    complaint, = handed_in.style(filled)
    assert "lib/loss_vae.py" in complaint and "E225" in complaint


# Edits outside the gaps

def test_no_edits_in_gaps(editions, filled):
    """Whatever is in a gap, and however git treats line ends and their spaces."""
    for path in edits.handed_out(filled):
        data = (filled / path).read_bytes()
        (filled / path).write_bytes(data.replace(b"\n", b"\r\n") + b"\r\n")
    change(filled, "lib/loss_vae.py", "kl = -0.5 *", "kl = 99\n\n        def helper():\n            pass\n        kl =")
    (filled / "feedback.md").write_text("mine")
    (filled / "docs" / "assignment.md").write_text("mine")
    for originals in (edits.handed_out(filled), edits.handed_out(editions / "unfilled")):
        assert originals and edits.find_edits(filled, originals) == []


@pytest.mark.parametrize("old, new, said", [
    ("self.kl_loss_weight = kl_loss_weight", "self.kl_loss_weight = 1",
     "`self.kl_loss_weight = 1` in place of `self.kl_loss_weight = kl_loss_weight`"),
    ("import torch\n", "import math\nimport torch\n", "`import math` in place of nothing"),
    ("        super().__init__()\n", "", "nothing in place of `super().__init__()`"),
    ("        # END TODO 1.2 ########################\n", "", "in place of"),
    ("        # START TODO 1.2 ########################\n", "", "in place of"),
])
def test_edits_are_listed(filled, old, new, said):
    path = "lib/loss_vae.py"
    before = (filled / path).read_text(encoding="utf-8").split(old)[0].count("\n") + 1
    change(filled, path, old, new)
    first, = edits.find_edits(filled, edits.handed_out(filled))[:1]
    assert first.startswith(f"{path}, line ") and said in first, first
    if "TODO" not in old:
        assert first.startswith(f"{path}, line {before}:"), first


def test_files_that_are_new_or_gone(filled):
    (filled / "run_vae_training.py").unlink()
    (filled / "conftest.py").write_text("")
    (filled / "lib" / "mine.py").write_text("")
    (filled / "tests" / "pytest.ini").write_text("")
    (filled / "notes.txt").write_text("")
    assert edits.find_edits(filled, edits.handed_out(filled)) == [
        "run_vae_training.py is gone", "conftest.py is new", "lib/mine.py is new", "tests/pytest.ini is new"]
    status, output = run_score(filled)
    assert status == 0 and "## Edits outside the gaps" in output and "    lib/mine.py is new" in output


def test_the_reference_has_no_edits():
    assert edits.handed_out(ROOT) == {}
    assert "Edits" not in scoring.markdown(scoring.Score([scoring.Row(TASKS[0], Fraction(4), "")], None, 1))


def test_pushes_without_github(monkeypatch):
    for name in ("GITHUB_API_URL", "GITHUB_REPOSITORY", "GITHUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    assert "could not be counted" in pushes.in_words()
