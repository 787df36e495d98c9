"""The table of marks: python -m course.marks"""
import csv
import json
import os
import subprocess
import sys

import pytest

from course.marks import BY_PERSON, HEADER, late_days, read_time
from course.table import as_csv
from course.tests.support import BY_TESTS, ROOT
from tests.scoring.tasks import TASKS

TEAMS = "submission,name,number\nteam-01,Ada,007\nteam-01,Grace,2\nteam-02,Zoë,3\nteam-03,Alan,4\n"
WRITTEN = "submission,1.4,2.1\nteam-01,1.5,3\nteam-02,0,\n"
EARNED = {"1.2": "3/2", "style": "1", "feedback": "0"}


def content(name, **more):
    """Return the content of a NAME.json with all points for the tests except those of EARNED."""
    tasks = [{"number": task.number, "note": "", "failures": [],
              "earned": None if task.graded_by == "a person" else EARNED.get(task.number, str(task.points))}
             for task in TASKS]
    return dict({"submission": name, "path": f"/handed_in/{name}", "not_graded": "", "seed": 1, "edition": "3",
                 "based_on": "3", "pdf": True, "last_commit": "2026-12-01T23:03:00+01:00", "tasks": tasks, "edits": [],
                 "newer": []}, **more)


@pytest.fixture
def scores(tmp_path):
    folder = tmp_path / "scores"
    folder.mkdir()
    for name in ("team-01", "team-02"):
        (folder / f"{name}.json").write_text(json.dumps(content(name)))
    (tmp_path / "teams.csv").write_bytes(TEAMS.encode())
    (tmp_path / "written.csv").write_text(WRITTEN)
    return folder


def run(scores, *flags):
    return subprocess.run([sys.executable, "-m", "course.marks", str(scores), "--teams", "teams.csv", *flags],
                          cwd=str(scores.parent), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=dict(os.environ, PYTHONPATH=str(ROOT), TZ="Europe/Berlin", PYTHONIOENCODING="utf-8"),
                          universal_newlines=True)


def marks(scores):
    with open(str(scores / "marks.csv"), newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def assert_one_line(done, *words):
    assert done.returncode == 2 and len(done.stderr.split("\n")) == 3 and done.stderr[0] == "\n", done.stderr
    assert all(word in done.stderr for word in words) and "Traceback" not in done.stderr, done.stderr


def test_a_row_for_each_student(scores):
    done = run(scores, "--written", "written.csv", "--due", "2026-12-01T22:00")
    assert (done.returncode, done.stderr) == (0, "") and "wrote 4 students" in done.stdout
    ada, grace, zoe, alan = marks(scores)
    assert list(ada) == HEADER and ada["number"] == "007" and ada["name"] == "Ada"
    assert (ada["1.1"], ada["1.2"], ada["1.4"], ada["2.1"], ada["style"], ada["bonus"]) == (
        "4", "1.5", "1.5", "3", "1", "1")
    assert ada["total"] == f"{BY_TESTS - 2 + 1.5 + 1.5 + 3 + 1:g}" and ada["late days"] == "1" and ada["remark"] == ""
    assert dict(ada, name="Grace", number="2") == grace
    assert (zoe["name"], zoe["1.4"], zoe["2.1"], zoe["total"]) == ("Zoë", "0", "", "")
    assert zoe["remark"] == "not marked yet: 2.1"
    assert {alan[task.number] for task in TASKS} == {alan["total"], alan["bonus"]} == {"0"}
    assert (alan["late days"], alan["remark"]) == ("", "nothing handed in")


def test_submissions_that_were_not_graded_or_lack_a_pdf(scores):
    (scores / "team-02.json").write_text(json.dumps(content(
        "team-02", not_graded="an empty folder", pdf=False, last_commit="", tasks=[])))
    assert run(scores, "--due", "2026-12-01T22:00Z").returncode == 0
    _, _, zoe, _ = marks(scores)
    assert zoe["remark"] == "not graded: an empty folder; no submission.pdf; not marked yet: 1.4, 2.1"
    assert (zoe["1.1"], zoe["1.4"], zoe["total"], zoe["late days"]) == ("0", "", "", "")
    (scores.parent / "written.csv").write_text(WRITTEN.replace("02,0,", "02,0,0"))
    assert run(scores, "--written", "written.csv").returncode == 0
    assert marks(scores)[2]["total"] == "0" and marks(scores)[2]["late days"] == ""


def test_a_submission_in_no_row(scores):
    (scores / "x.json").write_text(json.dumps(content("team\n09")))
    done = run(scores)
    assert (done.returncode, done.stderr) == (1, "marks: no row of teams.csv names the submission team 09\n")
    assert len(marks(scores)) == 4


def test_a_template_is_written_but_never_replaced(scores):
    (scores / "x.json").write_text(json.dumps(content("=1+1")))
    done = run(scores, "--written", "new.csv")
    assert "wrote a template to new.csv" in done.stdout and len(marks(scores)) == 4
    template = scores.parent / "new.csv"
    text = template.read_text()
    assert text == as_csv([["submission", *BY_PERSON], ["team-01", "", ""], ["team-02", "", ""], ["=1+1", "", ""]])
    template.write_text(text.replace('"team-01",""', '"team-01","2"'))
    done = run(scores, "--written", "new.csv")  # the name that looked like a formula is known again
    assert done.returncode == 1 and "wrote a template" not in done.stdout and "=1+1" in done.stderr
    assert template.read_text() != text and marks(scores)[0]["1.4"] == "2"


def test_tables_as_spreadsheets_save_them(scores):
    """With semicolons, a byte order mark, decimal commas, other columns and empty rows; and names like formulas."""
    (scores.parent / "teams.csv").write_bytes(
        "\ufeff\"number\";email;name;submission;\r\n007;a@b;\"=Ada; the \"\"first\"\"\";team-01;\r\n;;;;\r\n".encode())
    (scores.parent / "written.csv").write_bytes(b"submission;2.1;1.4\r\nteam-01; 2,25 ;0,5\r\n;;\r\n")
    (scores / "team-02.json").unlink()
    done = run(scores, "--written", "written.csv")
    assert (done.returncode, done.stderr) == (0, "")
    row, = marks(scores)
    assert (row["number"], row["name"], row["1.4"], row["2.1"]) == ("007", "'=Ada; the \"first\"", "0.5", "2.25")


@pytest.mark.parametrize("file, text, words", [
    ("teams.csv", "", ["teams.csv", "empty"]),
    ("teams.csv", "submission,name,number\n", ["teams.csv", "no students"]),
    ("teams.csv", "submission,name\nteam-01,Ada\n", ["teams.csv:1", "no column number", "submission, name"]),
    ("teams.csv", "submission,name,number,name\n", ["teams.csv:1", "more than one column name"]),
    ("teams.csv", TEAMS + "team-01,Ada,\n", ["teams.csv:6", "number is missing"]),
    ("teams.csv", TEAMS + "team-02,Ada,007\n", ["teams.csv:6", "007 is already"]),
    ("teams.csv", TEAMS + "team-02,Lovelace, Ada,8\n", ["teams.csv:6", "4 cells for 3 columns"]),
    ("teams.csv", TEAMS + "team-02\n", ["teams.csv:6", "1 cells for 3 columns"]),
    ("teams.csv", TEAMS.encode("latin-1"), ["teams.csv", "not UTF-8"]),
    pytest.param("teams.csv", TEAMS + "x" * 200000 + ",a,8\n", ["teams.csv:", "not CSV"], id="a very long cell"),
    ("teams.csv", None, ["teams.csv", "cannot be read"]),
    ("written.csv", "submission,1.4\nteam-01,1\n", ["written.csv:1", "no column 2.1"]),
    ("written.csv", WRITTEN + "team-09,1,1\n", ["written.csv:4", "team-09"]),
    ("written.csv", WRITTEN + "team-01,1,1\n", ["written.csv:4", "team-01 is already"]),
    ("written.csv", WRITTEN.replace("1.5", "2.5"), ["written.csv:2", "task 1.4: '2.5'", "0 to 2"]),
    ("written.csv", WRITTEN.replace("1.5", "-1"), ["written.csv:2", "task 1.4: '-1'"]),
    ("written.csv", WRITTEN.replace("1.5", "1/0"), ["written.csv:2", "task 1.4: '1/0'"]),
    ("written.csv", WRITTEN.replace("1.5", "1.50.1"), ["written.csv:2", "task 1.4"]),
    ("written.csv", WRITTEN.replace("1.5", "1,5"), ["written.csv:2", "4 cells for 3 columns", "separator ,"]),
    ("scores/team-01.json", "{", ["team-01.json is damaged"]),
    pytest.param("scores/team-01.json", "[" * 100000, ["team-01.json is damaged"], id="deep"),
    ("scores/team-01.json", b"\xff", ["team-01.json is damaged"]),
    ("scores/team-01.json", "[]", ["team-01.json is damaged", "no valid submission"]),
    ("scores/team-01.json", json.dumps(content("team-02")), ["another file is about team-02"]),
    ("scores/team-01.json", json.dumps(content("team-01", pdf="yes")), ["team-01.json is damaged", "no valid pdf"]),
    ("scores/team-01.json", json.dumps(content("team-01", last_commit="today")), ["damaged", "'today' is not a time"]),
    ("scores/team-01.json", json.dumps(content("team-01", tasks=[])), ["damaged", "task 1.1 is missing"]),
    ("scores/team-01.json", json.dumps(content("team-01")).replace('"3/2"', '"5/2"'), ["damaged", "task 1.2: '5/2'"]),
    ("scores/team-01.json", json.dumps(content("team-01")).replace('"3/2"', '1.5'), ["damaged", "task 1.2: 1.5"])])
def test_files_that_cannot_be_used(scores, file, text, words):
    """One line names the file and, in a table, the line; nothing is written."""
    path = scores.parent / file
    path.unlink()
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert_one_line(run(scores, "--written", "written.csv"), *words)
    assert not (scores / "marks.csv").exists()


@pytest.mark.parametrize("flags, words", [
    (["--due", "2026-12-01"], ["--due", "'2026-12-01' is not a time"]),
    (["--due", "2026-13-01T00:00"], ["--due"]), (["--due", "0001-01-01T00:00+14:00"], ["--due"]),
    (["--written", "nowhere/written.csv"], ["cannot be written"]), (["--written", "scores"], ["cannot be read"])])
def test_flags_that_cannot_be_used(scores, flags, words):
    assert_one_line(run(scores, *flags), *words)


def test_a_folder_without_scores(tmp_path):
    (tmp_path / "scores").mkdir()
    assert_one_line(run(tmp_path / "scores"), "contains no score")
    assert_one_line(run(tmp_path / "nowhere"), "is not a folder")


@pytest.mark.parametrize("commit, days", [
    ("2026-11-01T00:00:00+01:00", 0), ("2026-12-01T23:59:00+01:00", 0), ("2026-12-01T22:59:01Z", 1),
    ("2026-12-02T23:59:00+01:00", 1), ("2026-12-02T23:59:01+01:00", 2), ("2026-12-02T00:00:00+14:00", 0)])
def test_late_days(commit, days):
    assert late_days(read_time("2026-12-01T23:59+01:00"), read_time(commit)) == days
