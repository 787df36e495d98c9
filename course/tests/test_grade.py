"""Grading submissions, by the command and by Gradescope."""
import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from course import grade, gradescope, handout
from course.grader import layout
from course.tests.support import (
    BONUS,
    BY_TESTS,
    FEEDBACK,
    NUMBERS,
    REGULAR,
    ROOT,
    change,
    commit,
    contents,
    copy_project,
)
from course.tests.support import TODAYS_EDITION as TODAY
from tests.scoring.edition import CHANGELOG
from tests.scoring.edits import HANDED_OUT
from tests.scoring.tasks import TASKS


@pytest.fixture(scope="module")
def handed_in(tmp_path_factory):
    """A submission with every gap filled and a full score. Copy it; do not change it."""
    folder = tmp_path_factory.mktemp("handed_in") / "team 1"
    handout.write(ROOT, folder, keep=NUMBERS)
    shutil.rmtree(str(folder / "dataset_flowers_64px"))
    (folder / "feedback.md").write_text(FEEDBACK)
    (folder / "submission.pdf").write_bytes(b"%PDF-1.7")
    (folder / "run_vae_training.py").unlink()
    return folder


@pytest.fixture
def team(handed_in, tmp_path):
    shutil.copytree(str(handed_in), str(tmp_path / "team 1"))
    return tmp_path / "team 1"


def earned(rows):
    return {row.task.number: row.earned for row in rows}


def run(*arguments, **options):
    return subprocess.run([sys.executable, "-m", *map(str, arguments)], cwd=str(ROOT), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True, **options)


def test_the_command(team, tmp_path):
    """Two teams: a table for the teacher, and for each team the score it sees itself. Their files are unchanged."""
    shutil.copytree(str(team), str(tmp_path / "team 2"))
    change(tmp_path / "team 2", "lib/loss_vae.py", "1 + logvar", "logvar")
    (tmp_path / "team 2" / "submission.pdf").unlink()
    before = contents(team), contents(tmp_path / "team 2")
    done = run("course.grade", team, tmp_path / "team 2", "--output", tmp_path / "scores")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert (contents(team), contents(tmp_path / "team 2")) == before
    with open(str(tmp_path / "scores" / "scores.csv"), newline="") as file:
        one, two = csv.DictReader(file)
    graded = {task.number: str(task.points) for task in TASKS if task.graded_by != "a person"}
    assert one == dict(graded, submission="team 1", sum=str(BY_TESTS + BONUS), edits="1", edition=str(TODAY.number),
                       **{"submission.pdf": "yes", "not graded": ""})
    assert float(two["1.2"]) < 2 and float(two["sum"]) == BY_TESTS + BONUS - 2 + float(two["1.2"])
    assert (two["1.1"], two["submission.pdf"], two["edits"]) == ("4", "no", "1")
    texts = [(tmp_path / "scores" / f"team {number}.md").read_text(encoding="utf-8") for number in (1, 2)]
    assert all(text.startswith(f"# Score\n\nEdition {TODAY.number} of {TODAY.date}\n\n") for text in texts)
    assert f"| {REGULAR} + {BONUS} |     {BY_TESTS + BONUS} |" in texts[0]
    assert "run_vae_training.py is missing" in texts[0]
    assert "the KL term lacks the 1 in its sum" in texts[1]
    lines = done.stdout.splitlines()
    assert len(lines) == 4 and lines[0].startswith("students' code is confined by: ")
    assert {line.split(",")[0] for line in lines[1:3]} == {"submission team 1", "submission team 2"}


def test_tests_and_given_code_of_theirs_do_not_count(team):
    """Nor does a call to exit. The contents of their gaps count, and the files they add to lib."""
    (team / "tests" / "test_loss.py").write_text("")
    (team / "conftest.py").write_text("import os\nos._exit(0)\n")
    change(team, "setup.cfg", "testpaths = tests", "testpaths = nowhere")
    change(team, "lib/distances.py", "import torch\n", "raise ValueError\n")
    change(team, "lib/loss_vae.py", "kl = -0.5 *", "from lib.more.mine import half\n        kl = -half *")
    (team / "lib" / "more").mkdir()
    (team / "lib" / "more" / "mine.py").write_text("half = 0.5\n")
    score = grade.grade(team)
    assert earned(score.rows) == {task.number: None if task.graded_by == "a person" else task.points for task in TASKS}
    assert "lib/more/mine.py is new" in score.edits and "conftest.py is new" in score.edits
    assert any(edit.startswith("lib/distances.py, line ") for edit in score.edits)
    assert any(edit.startswith("tests/test_loss.py, line ") for edit in score.edits)


def test_files_with_edits_outside_their_gaps_are_taken_as_they_are(team):
    """So the score is the one that the team saw. The edits are listed. Even the markers may be missing."""
    text = (team / "lib" / "loss_vae.py").read_text(encoding="utf-8")
    (team / "lib" / "loss_vae.py").write_text("".join(
        line for line in text.splitlines(True) if "TODO" not in line and "SOLUTION" not in line), encoding="utf-8")
    change(team, "lib/model_vae.py", "import torch\n", "import math\nimport torch\n")
    change(team, "lib/model_vae.py", "logvar / 2", "logvar / math.sqrt(4)")
    score = grade.grade(team)
    assert earned(score.rows)["1.1"] == 4 and earned(score.rows)["1.2"] == 2
    assert "lib/model_vae.py, line 17: `import math` added" in score.edits
    assert any("the marker `# START TODO 1.2" in edit for edit in score.edits)


def test_an_earlier_edition_is_graded_with_the_tests_of_today(team):
    """Differences in given code are ours, not the team's, so they are not listed as edits."""
    older = {name: (0, data) for name, data in contents(team).items() if name != "tests/handout.zip"}
    older["tests/test_vae.py"] = 0, b'"""Others."""\n'
    older["run_vae_training.py"] = 0, b'"""Others."""\n'
    for name in ("tests/test_vae.py", "run_vae_training.py"):
        (team / name).write_bytes(older[name][1])
    (team / "tests" / "handout.zip").write_bytes(handout._pack({name: data for name, (_, data) in older.items()}))
    score = grade.grade(team)
    assert score.edits == ["tests/handout.zip is from an earlier handout, or has been changed"]
    assert earned(score.rows)["1.1"] == 4 and score.based_on == str(TODAY.number)


def test_a_correction_by_hand_is_no_edit(team, tmp_path):
    """A teacher has changed the team's file to what it is in today's handout."""
    older = dict(contents(team), **{"tests/test_vae.py": b'"""Others."""\n'})
    (team / HANDED_OUT).write_bytes(handout._pack(older))
    handout.write(ROOT, tmp_path / "fresh")
    assert layout.find_edits(team, tmp_path / "fresh") == [
        "tests/handout.zip is from an earlier handout, or has been changed"]


def test_the_edition_of_a_submission_is_recorded(team, tmp_path):
    """It is the one in tests/handout.zip, whatever the team's CHANGELOG.md says."""
    older = {**contents(team), CHANGELOG: b"# Changelog\n\n## Edition 1 (2026-11-25)\n"}
    (team / HANDED_OUT).write_bytes(handout._pack(older))
    done = run("course.grade", team, "--output", tmp_path / "scores")
    assert done.returncode == 0, done.stderr
    with open(str(tmp_path / "scores" / "scores.csv"), newline="") as file:
        assert next(csv.DictReader(file))["edition"] == "1"
    text = (tmp_path / "scores" / "team 1.md").read_text(encoding="utf-8")
    assert f"\nEdition {TODAY.number} of {TODAY.date} (the submission's edition: 1)\n" in text


@pytest.mark.parametrize("changelog, based_on", [
    (b"# Changelog\n\n## Edition 7 (2027-01-31)\n\n## Edition 6 (2026-12-31)\n", "7"),
    (b"# Changelog\r\n\r\n## Edition 1 (2026-11-25)\r\n", "1"),
    (None, f"before {TODAY.number}"), (b"# Changelog\n", f"before {TODAY.number}"), ("no handout", "")])
def test_the_edition_of_a_handout(tmp_path, changelog, based_on):
    (tmp_path / "tests").mkdir()
    if changelog != "no handout":
        files = {"lib/x.py": b""} if changelog is None else {"lib/x.py": b"", CHANGELOG: changelog}
        (tmp_path / HANDED_OUT).write_bytes(handout._pack(files))
    assert handout.base_edition(tmp_path, TODAY) == based_on


def test_missing_files(team):
    (team / "feedback.md").unlink()
    (team / "lib" / "train_gan.py").unlink()
    rows = {row.task.number: row for row in grade.grade(team).rows}
    assert rows["feedback"].note == "feedback.md is missing" and rows["3.2"].note == "not filled in (optional)"


@pytest.mark.parametrize("arguments, words", [
    ([], "SUBMISSION"),
    (["{team}", "--output", "{team}"], "is not empty"), (["{team}", "--output", "{team}/setup.cfg"], "is not a folder"),
    (["{team}", "--jobs", "0"], "--jobs"),
    (["{team}", "--output", "{team}/setup.cfg/scores"], "cannot be created")])
def test_bad_commands(team, tmp_path, arguments, words):
    names = {"team": str(team), "nowhere": str(tmp_path / "nowhere")}
    output = [] if "--output" in arguments else ["--output", tmp_path / "scores"]
    done = run("course.grade", *(argument.format(**names) for argument in arguments), *output)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_a_team_that_cannot_be_graded_does_not_stop_the_others(team, tmp_path):
    (tmp_path / "empty").mkdir()
    shutil.copytree(str(team), str(tmp_path / "download" / "team-main"))  # as GitHub packs it
    change(team, "lib/loss_vae.py", "kl = -0.5 *", "raise ValueError('\\ud800')\n        kl = -0.5 *")
    done = run("course.grade", tmp_path / "empty", team, tmp_path / "download", "--output", tmp_path / "scores")
    assert done.returncode == 1 and done.stderr == "grade: empty could not be graded: an empty folder\n", done.stderr
    with open(str(tmp_path / "scores" / "scores.csv"), newline="") as file:
        assert [(row["1.2"], row["submission.pdf"], row["not graded"]) for row in csv.DictReader(file)] == [
            ("0", "no", "an empty folder"), ("0", "yes", ""), ("2", "yes", "")]
    assert done.stdout.endswith(f"graded 2 of 3; the scores are in {tmp_path / 'scores'}\n")


def test_every_argument_has_a_row_and_a_file(tmp_path):
    """Whatever the argument is called: its name never acts as a formula, starts a new row or hides another name."""
    names = ["=1+1", "+1", "-2", "@SUM(A1)", "\t=1", "\r\n=1", "a\nb", 'a","b', "a;=1", "\uff1d1", "\x1b[31mred",
             "\u202eevil", os.fsdecode(b"caf\xe9"), "x" * 250, ".", "CON", "Team", "team"]
    folders = [tmp_path / "one" / name for name in names]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    (tmp_path / "two" / "team").mkdir(parents=True)
    (tmp_path / "pipe.zip").mkdir()
    arguments = [f"./one/{name}" for name in names] + ["two/team", "two/team", "two/nothing", "pipe.zip", "/"]
    done = subprocess.run([sys.executable, "-m", "course.grade", "--output", str(tmp_path / "scores"), "--", *(
        argument if argument == "/" else str(tmp_path / argument) for argument in arguments)], cwd=str(ROOT),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ, PYTHONIOENCODING="ascii"))
    assert done.returncode == 1 and b"Traceback" not in done.stderr, done.stderr
    with open(str(tmp_path / "scores" / "scores.csv"), newline="", encoding="utf-8") as file:
        text = file.read()
    table = list(csv.DictReader(io.StringIO(text)))
    assert len(table) == len(arguments) == text.count("\n") - 1
    cells = [cell for row in table for cell in row.values()]
    assert not [cell for cell in cells if cell[:1] in tuple("=+-@\uff1d\t\r") or re.search("[\n\r\x1b\u202e]", cell)]
    assert all(row["not graded"] and row["sum"] == row["1.1"] == "0" for row in table), table
    names = [row["submission"] for row in table]
    assert len({name.lower() for name in names}) == len(names) and "team (2)" in names and "'=1+1" in names
    assert len(list((tmp_path / "scores").glob("*.md"))) == len(arguments)
    lines = (done.stdout + done.stderr).decode("ascii").splitlines()
    assert len(lines) == 2 * len(arguments) + 2 and not [line for line in lines if re.search("[\x00-\x1f\x7f]", line)]
    assert sum(line.startswith("grade: ") for line in lines) == len(arguments)


def test_what_students_write_cannot_control_a_terminal(team, tmp_path):
    """Not in an exception, a file name, an edit, a style message or the feedback; nor in Gradescope's results."""
    code = "raise ValueError('\\x1b[2J\\x1b]0;title\\x07 \\x9b1mred\\u202e end\\r over')\n        kl = -0.5 *"
    change(team, "lib/loss_vae.py", "kl = -0.5 *", code)
    change(team, "lib/model_vae.py", "import torch\n", "import torch  # \x1b[31m\u202e\n")
    (team / "lib" / "\x1b[2J\nown.py").write_text("x=1\n")
    (team / "feedback.md").write_text(FEEDBACK.replace("[10, 8.5]", "[\x1b[2J, \u202e\r]"))
    archive = shutil.make_archive(str(tmp_path / "packed"), "gztar", str(team))
    done = run("course.grade", archive, "--output", tmp_path / "scores")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "scores" / "packed.tar.gz.md").read_bytes().decode("utf-8")
    content = json.dumps(gradescope.results(grade.grade(team)), ensure_ascii=False).replace("\\n", "\n")
    for said in (text, content):
        assert "ValueError:  red end\n" in said and "own.py is new" in said and "import torch  # " in said
        assert "own.py:1:2: E225" in said and "the hours are not numbers" in said
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]|\\\\u00[01]", said)
    assert not re.search("[\x00-\x08\x0b-\x1f]", done.stdout + done.stderr)


# Gradescope

# https://gradescope-autograders.readthedocs.io/en/latest/specs/: the keys of results.json and of a test, with types
NUMBER = (int, float)
OF_RESULTS = {"score": NUMBER, "execution_time": NUMBER, "output": str, "output_format": str, "test_output_format": str,
              "test_name_format": str, "visibility": str, "stdout_visibility": str, "extra_data": dict, "tests": list,
              "leaderboard": list}
OF_TEST = {"score": NUMBER, "max_score": NUMBER, "status": str, "name": str, "name_format": str, "number": str,
           "output": str, "output_format": str, "tags": list, "visibility": str, "extra_data": dict}
VALUES = {"visibility": {"hidden", "after_due_date", "after_published", "visible"}, "status": {"passed", "failed"},
          "output_format": {"text", "html", "simple_format", "md", "ansi"}}


def assert_published_format(content):
    for part, keys in [(content, OF_RESULTS)] + [(test, OF_TEST) for test in content.get("tests", [])]:
        for key, value in part.items():
            assert key in keys and isinstance(value, keys[key]) and not isinstance(value, bool), key
            assert value in VALUES.get(key, {value}) if isinstance(value, str) else True, key
    assert "score" in content or content["tests"] and all("score" in test for test in content["tests"])


@pytest.fixture(scope="module")
def autograder(tmp_path_factory):
    """The folder /autograder as Gradescope prepares it from the archive described in running.md.

    apt-get does not run, and the Python environment is the current one.
    """
    folder = tmp_path_factory.mktemp("autograder")
    project = tmp_path_factory.mktemp("project") / "project"
    copy_project(project)
    commit(project)
    command, = [line for line in (ROOT / "course" / "running.md").read_text(encoding="utf-8").splitlines()
                if "course.gradescope.build" in line]
    subprocess.check_call([sys.executable] + command.split()[1:], cwd=str(project))
    shutil.unpack_archive(str(project / "autograder.zip"), str(folder / "source"))
    shutil.copy(str(folder / "source" / "run_autograder"), str(folder))
    for name in ("source/setup.sh", "run_autograder"):
        (folder / name).chmod(0o755)
    (folder / "results").mkdir()
    tools = tmp_path_factory.mktemp("tools")
    for name, text in (("apt-get", "exit 0"), ("python3", f'[ "$1 $2" = "-m venv" ] && ln -s "{sys.prefix}" "$3"')):
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    path = os.pathsep.join([str(tools), os.environ["PATH"]])
    done = subprocess.run([str(folder / "source" / "setup.sh")], cwd="/", env=dict(os.environ, PATH=path),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout.decode()
    return folder


def test_the_archive_holds_nothing_that_solves_a_task(autograder):
    """Students' code runs beside it."""
    files = contents(autograder / "source")
    assert "course/grader/server.py" in files and "tests/handout.zip" in files
    assert not [name for name in files if name.startswith(("course/answers", "course/bank", "course/tests", ".git/"))]
    gaps = [gap for gap in handout.find_gaps(ROOT)]
    for name, data in files.items():
        text = data.decode("utf-8", errors="replace") if name.endswith((".py", ".md")) else ""
        assert "BEGIN SOLUTION" not in text or name in ("course/gaps.py", "course/handout.py"), name
        assert not [gap.name for gap in gaps if gap.region in text]


def run_autograder(autograder, submission):
    if (autograder / "submission").exists():
        shutil.rmtree(str(autograder / "submission"))
    shutil.copytree(str(submission), str(autograder / "submission"))
    done = subprocess.run([str(autograder / "run_autograder")], cwd="/", stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout.decode()
    content = json.loads((autograder / "results" / "results.json").read_text(encoding="utf-8"))
    assert_published_format(content)
    return content


def test_results_json(autograder, team):
    content = run_autograder(autograder, team)
    tests = content["tests"]
    assert "run_vae_training.py is missing" in content["output"] and "today" not in content["output"]
    assert sum(test["score"] for test in tests) == BY_TESTS + BONUS
    assert sum(test.get("max_score", 0) for test in tests) == BY_TESTS
    assert [test["number"] for test in tests] == [task.number for task in TASKS if task.graded_by != "a person"]
    assert {test["status"] for test in tests} == {"passed"}

    change(team, "lib/loss_vae.py", "1 + logvar", "logvar")
    content = run_autograder(autograder, team)
    failed, = [test for test in content["tests"] if test["status"] == "failed"]
    assert failed["number"] == "1.2" and failed["score"] < failed["max_score"] == 2
    assert "This looks like a known mistake: the KL term lacks the 1 in its sum." in failed["output"]
    assert "| 1.2 the loss of the VAE " in content["output"]


def test_an_optional_task_that_is_not_started_has_not_failed(tmp_path):
    with_tests = [task for task in TASKS if task.graded_by == "tests"]
    handout.write(ROOT, tmp_path / "team", keep=[task.number for task in with_tests if task.points])
    tests = gradescope.results(grade.grade(tmp_path / "team"))["tests"]
    assert [test.get("status") for test in tests] == [
        "passed" if task.points else None for task in with_tests] + ["passed", "failed"]


def test_a_submission_without_the_exercise(autograder, tmp_path):
    (tmp_path / "other").mkdir()
    content = run_autograder(autograder, tmp_path / "other")
    assert content["score"] == 0 and content["output"] == "This submission could not be graded: an empty folder"


def test_results_outside_the_published_format_are_found():
    """A test of the check above."""
    good = {"tests": [{"score": 1.0, "status": "passed"}]}
    assert_published_format(good)
    for bad in ({}, {"tests": []}, {"tests": [{}]}, {"score": "1"}, {"score": 1, "points": 2},
                {"tests": [{"score": 1, "status": "ok"}]}, {"score": 1, "visibility": "all"}):
        with pytest.raises((AssertionError, KeyError)):
            assert_published_format(bad)
