"""python -m tests: what tasks earn, how failures are reported, and what is checked besides the tests."""
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from fractions import Fraction

import pytest

from course import handout
from course.tests.support import BONUS, BY_TESTS, FEEDBACK, NUMBERS, REGULAR, ROOT, WITH_TESTS, change
from tests.scoring import edits, handed_in, pushes
from tests.scoring import score as scoring
from tests.scoring.report import NOT_ENDED, NOT_RUN, in_one_line, printable, read_report
from tests.scoring.tasks import TASKS


@pytest.fixture(scope="module")
def editions(tmp_path_factory):
    """Return a folder of two handouts, one with all gaps filled and one with none. Copy them before changing them."""
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
    """Run the score as a student does; return the exit status and the output."""
    done = subprocess.run([sys.executable, "-m", "tests", *arguments], cwd=str(folder), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=dict(os.environ, OMP_NUM_THREADS="1", PYTHONIOENCODING="utf-8",
                                                           PYTEST_ADDOPTS="--maxfail=1 -k encode",
                                                           MPLBACKEND="module://not_installed"))
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
    assert (f"| {REGULAR} + {BONUS} |     {BY_TESTS + BONUS} | of {BY_TESTS} + {BONUS} scored here; "
            f"{REGULAR - BY_TESTS} graded by hand |") in output
    assert "look at first" not in output and "Edits" not in output


def test_nothing_filled_in(editions):
    status, output = run_score(editions / "unfilled")
    assert status == 1
    assert f"| {REGULAR} + {BONUS} |      0 |" in output and "Edits" not in output and "Traceback" not in output
    optional = sum(task.number in WITH_TESTS and not task.points for task in TASKS)
    assert output.count("| not filled in |") == len(WITH_TESTS) - optional
    assert output.count("| not filled in (optional) |") == optional
    assert output.count("| by a person; no submission.pdf |") == 2 and "### 3.2" not in output
    assert 'there is nothing below "Helpful?"' in output and "the hours are missing" in output
    long = [line for line in output.splitlines() if len(line) > 105]
    assert not long, "it must fit into a terminal"
    for task, path in (("1.2", "lib/loss_vae.py"), ("2.2", "lib/utils.py")):
        number = 1 + next(number for number, line in enumerate((editions / "unfilled" / path).read_text(
            encoding="utf-8").splitlines()) if "raise NotImplementedError" in line)
        assert f"Task {task} is not filled in yet: the gap in" in output and f"{path}, line {number}." in output


def test_a_mistake_takes_the_share_of_the_tests_that_find_it(filled):
    """The same seed gives the same output."""
    change(filled, "lib/loss_vae.py", 'reduction="sum"', 'reduction="mean"')  # right for a single pixel
    status, output = run_score(filled, "--seed", "5")
    assert status == 1
    row, = [line for line in output.splitlines() if line.startswith("| 1.2 ")]
    passed = int(row.split("|")[4].split(" of 8 ")[0])
    assert passed == 1 and float(row.split("|")[3]) == round(2 * passed / 8, 2)
    assert output.count(" tests pass |") == len(WITH_TESTS) and "python -m tests.test_loss" in output
    assert "This looks like a known mistake: the cross entropy is averaged over all pixels" in output
    assert "Read the docstring of VAELoss.forward" in output and "Traceback" not in output
    assert "`python -m tests --seed 5` repeats" in output
    assert run_score(filled, "--seed", "5")[1] == output


def test_one_task_or_some(filled):
    """Only their rows are printed, without a sum; mistakes in other tasks do not count."""
    change(filled, "lib/loss_vae.py", 'reduction="sum"', 'reduction="mean"')
    status, output = run_score(filled, "2.2", "--seed", "5")
    assert status == 0, output
    rows = [line.split("|")[1].split()[0] for line in output.splitlines() if line.startswith("| ")]
    assert rows == ["task", "-" * len("2.2 diffusion"), "2.2"] and "17 of 17 tests pass" in output
    assert "`python -m tests 2.2 --seed 5` repeats this run" in output
    status, output = run_score(filled, "1.2", "1.1")
    assert status == 1 and "| 1.1 the VAE " in output and "| 1.2 the loss of the VAE " in output
    assert "2.2 diffusion" not in output and "style" not in output
    assert "This looks like a known mistake: the cross entropy is averaged" in output


@pytest.mark.parametrize("task", ["9.9", "1.4", "style"])
def test_a_task_without_tests_is_refused(filled, task):
    done = subprocess.run([sys.executable, "-m", "tests", "1.1", task], cwd=str(filled), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"tests: there are no tests of task {task}; choose from {', '.join(WITH_TESTS)}\n"


def test_optional_tasks_may_wait_until_they_are_started(editions, tmp_path):
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


def test_the_tests_do_not_start(filled, tmp_path):
    """One line says that packages are missing, or that a given file is broken."""
    subprocess.check_call([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")])
    done = run_python(tmp_path / "bare" / ("Scripts" if os.name == "nt" else "bin") / "python", filled)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.count("\n") == 1
    assert "bare" in done.stderr and "lacks torch, torchvision, numpy" in done.stderr
    (filled / "tests" / "conftest.py").write_text("import nothing_of_that_name\n")
    done = run_python(sys.executable, filled)
    assert done.returncode == 1 and "No module named 'nothing_of_that_name'" in done.stderr, done.stderr
    assert done.stderr.startswith("tests: the tests could not be started: ") and done.stderr.count("\n") == 1


def test_ctrl_c_stops_everything_at_once(filled):
    """It also stops the process that runs the tests, and the processes that the code has started there."""
    change(filled, "lib/loss_vae.py", "import torch\n", f"""import torch
import os, subprocess, time
child = subprocess.Popen([{sys.executable!r}, "-c", "import time; time.sleep(300)"])
with open("started.part", "w") as file:
    file.write(f"{{os.getpid()}} {{child.pid}}")
os.rename("started.part", "started")
time.sleep(300)
""")
    process = subprocess.Popen([sys.executable, "-m", "tests"], cwd=str(filled), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    while not (filled / "started").exists():
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == (b"", b"") and process.returncode == 130
    for pid in (filled / "started").read_text().split():
        for _ in range(100):
            if not is_alive(int(pid)):
                break
            time.sleep(0.1)
        else:
            raise AssertionError(f"process {pid} is still running")


def is_alive(pid):
    """Return whether a process runs; a zombie does not."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], stdout=subprocess.PIPE, universal_newlines=True)
    return done.stdout.strip()[:1] not in ("", "Z")


# Code that ends or hangs

def test_code_that_terminates_python_costs_the_tests_that_call_it(filled):
    for path, code in (("lib/loss_vae.py", "import os\nos._exit(0)"),
                       ("lib/explore_latent_space.py", "import os, signal\nos.kill(0, signal.SIGTERM)")):
        change(filled, path, "import torch\n", f"import torch\n{code}\n")
    rows = scoring.score(filled, seed=1).rows
    full = {task.number: None if task.graded_by == "a person" else task.points for task in TASKS}
    assert earned(rows) == {**full, "1.2": 0, "1.3": 0, "style": 0, "feedback": 0}
    said = {message for row in rows if not row.task.bonus for _, message in row.failures}
    assert said == {NOT_ENDED}, said


def test_an_infinite_loop_is_stopped(filled, monkeypatch):
    """The message says where the code was running."""
    monkeypatch.setattr(scoring, "TIMEOUT", 15)
    change(filled, "lib/explore_latent_space.py", "    batches = [", "    while True:\n        pass\n    batches = [")
    rows = scoring.score(filled, seed=1).rows
    assert earned(rows)["1.3"] < 2 and earned(rows)["1.1"] == 4 and earned(rows)["3.2"] == 0
    failures, = [row.failures for row in rows if row.task.number == "1.3"]
    start = (filled / "lib" / "explore_latent_space.py").read_text(encoding="utf-8").split("while True")[0]
    place = r"Your code was still running after 15 seconds in get_mu_logvar, lib.explore_latent_space.py, line (\d+): "
    lines = [re.match(place, message) for _, message in failures]
    assert lines and all(int(line[1]) - start.count("\n") in (1, 2) for line in lines), failures
    assert scoring.all_pass([row for row in rows if row.task.number != "1.3"])


def test_input_does_not_wait(filled):
    change(filled, "lib/loss_vae.py", "import torch\n", "import torch\ninput()\n")
    row, = [row for row in scoring.score(filled, seed=1).rows if row.task.number == "1.2"]
    assert row.earned == 0 and "Nobody can answer input() here" in row.failures[0][1]


def test_a_task_whose_tests_are_missing_earns_nothing(filled):
    (filled / "tests" / "test_loss.py").unlink()
    result = scoring.score(filled, seed=1)
    assert earned(result.rows)["1.2"] == 0 and not scoring.all_pass(result.rows)
    assert earned(result.rows)["1.1"] == 4 and earned(result.rows)["1.3"] == 2
    assert "tests/test_loss.py is missing" in result.edits


def test_a_broken_test_file_stops_the_score(filled):
    """This holds even if its task has other tests."""
    (filled / "tests" / "test_train_diffusion.py").write_text("import nothing_of_that_name\n")
    with pytest.raises(RuntimeError) as caught:
        scoring.score(filled, seed=1)
    assert "No module named 'nothing_of_that_name'" in str(caught.value) and "\n" not in str(caught.value)


def test_an_incomplete_report(tmp_path):
    path = tmp_path / "report.jsonl"
    assert read_report(path) == {}
    path.write_text('["a", "1.1", "%s"]\n["a", "1.1", ""]\n["b", "1.1", "%s"]\n["b", "1.' % (NOT_RUN, NOT_RUN))
    assert read_report(path) == {"a": ("1.1", ""), "b": ("1.1", NOT_RUN)}


@pytest.mark.parametrize("text, shown", [
    ("a\x1b[31mb\x1b[0m", "ab"), ("\x1b]0;title\x07a", "a"), ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
    ("\x9b2Ja", "a"), ("\x1bPq\x1b\\a", "a"), ("\x1bca\x1b(Bb", "ab"), ("\x1b]0;open\nb", "\nb"), ("a\x1b", "a"),
    ("a\rb\r\nc\td", "a\nb\nc\td"), ("\u202ea\u2066b\u200b\ufeff", "ab"), ("\x00\x08\x7f\x85a\u2028b", "a b"),
    ("caf\udce9", "caf\ufffd"), ("\u00fc \u2013 \u65e5\u672c \U0001f600", "\u00fc \u2013 \u65e5\u672c \U0001f600")])
def test_printable_text(text, shown):
    assert printable(text) == shown
    assert in_one_line(text) == shown.replace("\n", " ").replace("\t", " ").strip()


def test_a_report_is_read_as_text(tmp_path):
    """Malformed lines are ignored, and messages cannot control a terminal."""
    path = tmp_path / "report.jsonl"
    path.write_text('["a", "1.1", "x\\u001b[2Jy"]\n["b", 1, ""]\n[["c"], "1.1", ""]\n{"d": 1}\n7\nnull\n["e", "1.1"]\n')
    assert read_report(path) == {"a": ("1.1", "xy")}


def test_failures_in_words():
    """A known mistake is shown in full even if another test comes first, other failures in a line, equal ones once."""
    known = "Task 1.1: What:\n    expected: 1\n    got:      2\nThis looks like a known mistake: x is y.\nRead z."
    row = scoring.Row(TASKS[0], Fraction(1), "", [
        ("tests/test_vae.py::test_a", "Task 1.1: Numbers:\n    expected: 1\n    got:      2"),
        ("tests/test_vae.py::test_b", known), ("tests/test_vae.py::test_c", known)])
    assert scoring.failures_in_words(row) == [
        "### 1.1 the VAE: `python -m tests.test_vae`", "", "    test_b and 1 more",
        *(f"        {line}" for line in known.split("\n")), "    test_a", "        Numbers: expected: 1, got: 2", ""]
    raised = ("lib/x.py, line 1: your code raised an exception in f.\n    f()\nTypeError: no\n"
              "The test's inputs have these shapes: a 3.")
    assert scoring.in_a_line("Task 1.1: " + raised) == (
        "lib/x.py, line 1: your code raised an exception in f: TypeError: no")


# Feedback, submission, style

def test_feedback(tmp_path):
    assert handed_in.feedback(tmp_path) == ["feedback.md is missing"]
    for text in (FEEDBACK, FEEDBACK.replace("\n", "\r\n"), "\ufeff" + FEEDBACK, FEEDBACK.replace("##", "\n\n##"),
                 FEEDBACK.replace("hours: [10, 8.5]", "**Hours**: [4]\nin all"),
                 FEEDBACK.replace("Helpful?", "helpful"),
                 FEEDBACK.replace("## H", "### H"), FEEDBACK.replace("yes", "## Task 1.1\nyes"),
                 FEEDBACK.replace("## Hours", "##Hours:")):
        (tmp_path / "feedback.md").write_bytes(text.encode())
        assert handed_in.feedback(tmp_path) == [], text


def test_unfilled_feedback():
    assert [re.findall('below "(.*)"|the (hours) are missing', line)[0] for line in handed_in.feedback(ROOT)] == [
        ("Major problems", ""), ("Helpful?", ""), ("", "hours"), ("Other feedback", "")]


@pytest.mark.parametrize("old, new, words", [
    ("## Major problems\nnone", "## Major problems\n<!-- none -->", 'nothing below "Major problems"'),
    ("yes\n", "-->" * 9000 + "<!--" * 9000, "is longer than 50000 characters"),
    ("## Major problems\nnone", "", 'the heading "## Major problems" is missing'),
    ("yes\n", "", 'nothing below "Helpful?"'), ("yes\n", "<!-- open\n", "is not closed"),
    ("none\n", "", 'nothing below "Major problems"'), ("hours: [10, 8.5]", "hours: [ ]", "the hours are missing"),
    ("hours: [10, 8.5]", "ten", "the hours are missing"), ("hours: [10, 8.5]", "", "the hours are missing"),
    ("hours: [10, 8.5]", "hours: 10", "the hours are missing"), ("[10, 8.5]", "[10, 8.5", "the hours are missing"),
    *(("[10, 8.5]", hours, "the hours are not numbers")
      for hours in ("[10h]", "['10']", "[ten]", "[-1]", "[True]", "[1e999]", "[{{}: 1}]", f"[{'9' * 400}]")),
    ("[10, 8.5]", "[10, 8,5, 3]", "hours are given for 4 people"),
    ("[10, 8.5]", "[10,\nten]", "not numbers: [10, ten];"),
])
def test_incomplete_feedback(tmp_path, old, new, words):
    assert old in FEEDBACK
    (tmp_path / "feedback.md").write_text(FEEDBACK.replace(old, new))
    missing = handed_in.feedback(tmp_path)
    assert missing and words in missing[0], missing


def test_submission(tmp_path):
    assert handed_in.submission(tmp_path) == (False, "no submission.pdf")
    (tmp_path / "submission.pdf").mkdir()
    assert handed_in.submission(tmp_path) == (False, "no submission.pdf")
    (tmp_path / "submission.pdf").rmdir()
    for name in ("solution.pdf", "Submission.PDF"):
        (tmp_path / name).write_bytes(b"%PDF-1.5")
        assert handed_in.submission(tmp_path) == (False, f"no submission.pdf, but {name}")
    (tmp_path / "Submission.PDF").unlink()
    (tmp_path / "submission.pdf").write_bytes(b"PK")
    assert handed_in.submission(tmp_path) == (False, "submission.pdf is not a PDF")
    (tmp_path / "submission.pdf").write_bytes(b"%PDF-1.5")
    assert handed_in.submission(tmp_path) == (True, "submission.pdf is there")


def test_style(editions, filled):
    assert handed_in.style(filled) == []
    assert "none of the gaps has been filled in yet" in handed_in.style(editions / "unfilled")[0]
    change(filled, "lib/loss_vae.py", "kl = -0.5 *", "kl=-0.5 *")
    complaint, = handed_in.style(filled)
    assert "lib/loss_vae.py" in complaint and "E225" in complaint
    (filled / "lib" / "z.py").write_text("def f(:\n")
    assert handed_in.style(filled)[0] == "./lib/z.py:1: Python 3.8 does not understand this line"
    (filled / "lib" / "z.py").unlink()
    (filled / "lib" / "loss_vae.py").unlink()
    (filled / "myenv" / "lib").mkdir(parents=True)
    (filled / "myenv" / "lib" / "x.py").write_text("x=1\n")
    assert handed_in.style(filled) == []


def test_bonus_rows():
    """The table has a short note, and the messages follow below it."""
    row = scoring.row_of_bonus(TASKS[-2], [f"./lib/x.py:{number}:1: E225" for number in range(9)])
    assert (row.earned, row.note) == (0, "9 problems") and scoring.to_do(row) and scoring.all_pass([row])
    text = scoring.markdown(scoring.Score([row], [], 1))
    assert "    ./lib/x.py:4:1: E225\n    and 4 more\n" in text and "x.py:5" not in text
    assert scoring.row_of_bonus(TASKS[-1], ["feedback.md is missing"]).note == "feedback.md is missing"
    assert scoring.row_of_bonus(TASKS[-1], []) == (TASKS[-1], 1, "", [])


# Edits outside the gaps

def test_no_edits_in_gaps(editions, filled):
    """Gaps may contain anything, and git may change line ends and trailing spaces."""
    for path in edits.handed_out(filled):
        data = (filled / path).read_bytes()
        (filled / path).write_bytes(data.replace(b"\n", b"\r\n") + b"\r\n")
    change(filled, "lib/loss_vae.py", "kl = -0.5 *",
           "kl = 99  # \u2028 \x0c \x85\n\n        def helper():\n            pass\n        kl =")
    (filled / "feedback.md").write_text("mine")
    (filled / "docs" / "assignment.md").write_text("mine")
    for originals in (edits.handed_out(filled), edits.handed_out(editions / "unfilled")):
        assert originals and edits.find_edits(filled, originals) == []


@pytest.mark.parametrize("old, new, said", [
    ("self.kl_loss_weight = kl_loss_weight", "self.kl_loss_weight = 1",
     "`self.kl_loss_weight = 1` instead of `self.kl_loss_weight = kl_loss_weight`"),
    ("import torch\n", "import math\nimport torch\n", "`import math` added"),
    ("        super().__init__()\n", "", "`super().__init__()` removed"),
    ("import torch\n", "import math\nimport torch as t\n", "`import math` and 1 more instead of `import torch`"),
    ("        # END TODO 1.2 ########################\n", "", "the marker `# END TODO 1.2 "),
    ("        # START TODO 1.2 ########################\n", "", "the marker `# START TODO 1.2 "),
    ("# START TODO 1.2", "# BEGIN TODO 1.2", "the marker `# START TODO 1.2 ########################` was changed"),
])
def test_edits_are_listed(filled, old, new, said):
    path = "lib/loss_vae.py"
    before = (filled / path).read_text(encoding="utf-8").split(old)[0].count("\n") + 1
    change(filled, path, old, new)
    found = edits.find_edits(filled, edits.handed_out(filled))
    assert any(edit.startswith(f"{path}, line ") and said in edit for edit in found), found
    if "TODO" not in old:
        assert len(found) == 1 and found[0].startswith(f"{path}, line {before}:"), found


def test_many_edits(filled):
    """Each of several neighbouring lines is listed, but only a few lines of a file, and only the start of a line."""
    change(filled, "lib/distances.py", "    ", "   ")
    text = (filled / "lib" / "script.py").read_text(encoding="utf-8").splitlines()
    text[0], text[3:5] = text[0] + "!", ["1", "2"]
    (filled / "lib" / "script.py").write_text("\n".join(text), encoding="utf-8")
    found = edits.find_edits(filled, edits.handed_out(filled))
    assert [edit for edit in found if edit.startswith("lib/distances.py: ")][0].endswith(" more")
    assert len([edit for edit in found if edit.startswith("lib/distances.py")]) == edits.SHOWN + 1
    of_script = [edit for edit in found if edit.startswith("lib/script.py")]
    assert [edit.split(":")[0] for edit in of_script] == [f"lib/script.py, line {number}" for number in (1, 4, 5)]
    assert all(len(edit) < 170 for edit in found) and "...`" in of_script[0]


@pytest.mark.parametrize("text, said", [
    ("a\nB\nc\nnew\nd\n", []), ("a\nb\nc\nd\ne\n", []), ("a\nB\nc\nd\ne\n", []), ("a\nb\nc\nd\n", []),
    ("a\nB\nmine\nd\n", ["x, line 3: `mine` instead of `c`"]), ("a\nc\nd\ne\n", ["x, line 2: `b` removed"]),
    ("a\nb\nc\nnew\nd\nf\n", ["x, line 6: `f` instead of `e`"]), ("B\nc\nnew\nd\n", ["x, line 1: `a` removed"])])
def test_what_is_like_in_todays_handout_is_no_edit(text, said):
    """The teacher may have corrected a file by hand, or a part of it."""
    found = edits.compare("x", "a\nb\nc\nd\ne\n", text, "a\nB\nc\nnew\nd\n")
    assert found == said


def test_corrected_files_are_no_edits(filled):
    originals = edits.handed_out(filled)
    today = {**originals, "lib/new.py": "x = 1\n", "setup.cfg": originals["setup.cfg"] + "[mypy]\n"}
    del today["lib/script.py"]
    (filled / "lib" / "new.py").write_text("x = 1\n")
    (filled / "lib" / "script.py").unlink()
    (filled / "setup.cfg").write_text(today["setup.cfg"])
    assert edits.find_edits(filled, originals, today) == []
    assert edits.find_edits(filled, originals) == ["lib/script.py is missing"] + [
        f"setup.cfg, line {today['setup.cfg'].count(chr(10))}: `[mypy]` added", "lib/new.py is new"]
    (filled / "lib" / "new.py").write_text("x = 2\n")
    assert edits.find_edits(filled, originals, today) == ["lib/new.py, line 1: `x = 2` instead of `x = 1`"]


@pytest.mark.parametrize("text, said", [
    ("a\n" * 20000, "x: too many equal lines to compare"), ("a\nb\n" * 10000, "x: too many equal lines to compare"),
    ("\n" * 20000 + "b\n" * 3, "x, line 20001: `a` removed")])
def test_many_repeated_lines(text, said):
    """They are not compared, since that would take long, unless most are empty."""
    assert edits.compare("x", "a\nb\nc\n" * 300, text)[0] == said


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_record_that_unpacks_to_a_gigabyte(tmp_path, method):
    """It is not read, even if its header gives a small size."""
    resource = pytest.importorskip("resource")
    (tmp_path / "tests").mkdir()
    with zipfile.ZipFile(str(tmp_path / edits.HANDED_OUT), "w", method) as archive:
        with archive.open(zipfile.ZipInfo("lib/x.py"), "w") as file:
            for _ in range(256):
                file.write(bytes(2 ** 20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert edits.handed_out(tmp_path) == {}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50000
    with zipfile.ZipFile(str(tmp_path / edits.HANDED_OUT), "w") as archive:
        for number in range(edits.MOST_FILES + 1):
            archive.writestr(f"lib/x{number}.py", "")
    assert edits.handed_out(tmp_path) == {}


def test_files_in_lib_that_are_not_code(filled):
    for name in ("weights.npy", "notes.csv", ".DS_Store", "__pycache__/x.pyc", "loss_vae.py.new", "a.mine1", "b.part"):
        (filled / "lib" / name).parent.mkdir(exist_ok=True)
        (filled / "lib" / name).write_bytes(b"")
    (filled / "lib" / "own.toml").write_bytes(b"")
    assert edits.find_edits(filled, edits.handed_out(filled)) == [
        "lib/own.toml is new (only .py files of lib are graded)",
        "lib/notes.csv is new (only .py files of lib are graded)",
        "lib/weights.npy is new (only .py files of lib are graded)"]
    (filled / "lib" / "data").mkdir()
    for number in range(30):
        (filled / "lib" / "data" / f"{number}.png").write_bytes(b"")
    found = edits.find_edits(filled, edits.handed_out(filled))
    assert len(found) == 7 and found[-1] == "lib: 27 more files that are not graded"


@pytest.mark.parametrize("damage", ["missing", "cut off", "other", "inside"])
def test_damaged_original_code(filled, damage):
    path = filled / edits.HANDED_OUT
    data = path.read_bytes()
    path.unlink()
    if damage != "missing":
        middle = len(data) // 3
        path.write_bytes({"cut off": data[:100], "other": b"PK",
                          "inside": data[:middle] + bytes(2000) + data[middle + 2000:]}[damage])
    status, output = run_score(filled)
    assert status == 0 and "    tests/handout.zip is missing or damaged" in output, output


def test_new_and_missing_files(filled):
    (filled / "run_vae_training.py").unlink()
    (filled / "conftest.py").write_text("")
    (filled / "lib" / "mine.py").write_text("")
    (filled / "tests" / "more").mkdir()
    (filled / "tests" / "more" / "pytest.ini").write_text("")
    (filled / "tox.ini").write_text("")
    for name in ("notes.txt", "my_plots.py", "run_all.sh", "helper.py", "second.py"):
        (filled / name).write_text("")              # own scripts in the root are fine, unless lib imports them
    (filled / "helper.py").write_text("half = 0.5\n")
    change(filled, "lib/loss_vae.py", "        kl = -0.5 *", "        import math, second\n"
                                                             "        from helper import half\n        kl = -0.5 *")
    assert edits.find_edits(filled, edits.handed_out(filled)) == [
        "run_vae_training.py is missing", "conftest.py is new", "helper.py is new", "lib/mine.py is new",
        "second.py is new", "tests/more/pytest.ini is new", "tox.ini is new"]
    status, output = run_score(filled)
    assert status == 0 and "## Edits outside the gaps" in output and "    lib/mine.py is new" in output


def test_pytest_says_a_message_once(editions, tmp_path):
    """Nine other tests of test_vae.py need the same gap as the first one; test_gan.py needs two."""
    shutil.copytree(str(editions / "unfilled"), str(tmp_path / "unfilled"))
    done = subprocess.run([sys.executable, "-m", "pytest", "tests/test_vae.py", "tests/test_gan.py", "--report", "r"],
                          cwd=str(tmp_path / "unfilled"), stdout=subprocess.PIPE, universal_newlines=True)
    said = re.findall(r"^Task 1.1 is .* lib/model_vae.py|^Task 3.1 is .* lib/model_gan.py", done.stdout, re.MULTILINE)
    assert len(said) == 1 + 2 and done.stdout.count("The same as for test_layers.") >= 9, done.stdout
    messages = [words for _, words in read_report(tmp_path / "unfilled" / "r").values()]
    assert len(messages) > 15 and all("is not filled in yet: the gap in" in words for words in messages)


def test_the_reference_has_no_edits():
    assert edits.handed_out(ROOT) == {}
    assert "Edits" not in scoring.markdown(scoring.Score([scoring.Row(TASKS[0], Fraction(4), "")], [], 1))


def test_pushes_without_github(monkeypatch):
    for name in ("GITHUB_API_URL", "GITHUB_REPOSITORY", "GITHUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    assert "could not be counted" in pushes.in_words()
