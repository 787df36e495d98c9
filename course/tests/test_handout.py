"""The handout is the reference but for its gaps, tells no solution, and its tests fail exactly where a gap is."""
import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from course import handout
from course.tests.support import ROOT, tracked_files
from tests.scoring.report import read_report
from tests.scoring.tasks import TASKS

# Written anew here, for bytes and by regular expression, so that the cut is compared with something that is not itself.
REGION = re.compile(rb"^[ \t]*# BEGIN SOLUTION\r?\n.*?^[ \t]*# END SOLUTION\r?\n", re.MULTILINE | re.DOTALL)
UNFILLED = re.compile(rb'^[ \t]*raise NotImplementedError\("Task (\S+) is not filled in yet"\)\r?\n', re.MULTILINE)
# Lines of solutions that any PyTorch program has: they tell nothing.
IDIOMS = {"model.eval()", "optimizer.zero_grad()", "loss.backward()", "optimizer.step()"}
WITH_GAPS = [task for task in TASKS
             if task.graded_by == "tests" and all((ROOT / path).is_file() for path in task.fill_in.split(", "))]


def run_handout(folder, project=ROOT, **options):
    """Run the command as a teacher does, in the project's root."""
    return subprocess.run([sys.executable, "-m", "course.handout", str(folder)], cwd=str(project),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, **options)


def files_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if not path.is_dir())


def track(project):
    subprocess.check_call(["git", "init", "--quiet"], cwd=str(project))
    subprocess.check_call(["git", "add", "--all", "--force"], cwd=str(project))


@pytest.fixture(scope="module")
def edition(tmp_path_factory):
    """The student edition of this very project, written by the command."""
    folder = tmp_path_factory.mktemp("handout") / "edition"
    done = run_handout(folder)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return folder


@pytest.fixture
def checkout(tmp_path):
    """A copy of the project's Python files as a checkout of its own, to break something in."""
    for name in tracked_files(ROOT):
        if name.endswith(".py"):
            (tmp_path / "checkout" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(ROOT / name), str(tmp_path / "checkout" / name))
    track(tmp_path / "checkout")
    return tmp_path / "checkout"


# What is in the handout

def test_reference_minus_regions_is_the_handout_and_back(edition):
    with_gaps = 0
    for name in handout.student_files(ROOT):
        reference, student = (ROOT / name).read_bytes(), (edition / handout.handout_path(name)).read_bytes()
        regions = REGION.findall(reference) if name.endswith(".py") else []
        pieces = UNFILLED.split(student)[::2] if regions else [student]
        assert b"".join(pieces) == (REGION.sub(b"", reference) if regions else reference), name
        assert len(pieces) == len(regions) + 1, name
        assert b"".join(piece + region for piece, region in zip(pieces, regions + [b""])) == reference, name
        with_gaps += bool(regions)
    assert with_gaps, "no gap in any file"


def test_pieces_joined_are_the_file():
    for name in handout.student_files(ROOT):
        if name.endswith(".py"):
            text = handout.read_source(ROOT, name)
            pieces = handout.split(name, text)
            assert "".join(piece if isinstance(piece, str) else piece.region for piece in pieces) == text, name


def test_everything_a_student_gets_and_nothing_else(edition):
    for_students = "course/student/"
    expected = {name for name in tracked_files(ROOT)
                if name.split("/")[0] not in ("course", "benchmarks", ".ci", ".github")}
    expected |= {name[len(for_students):] for name in tracked_files(ROOT) if name.startswith(for_students)}
    assert files_in(edition) == sorted(expected | {"tests/handout.zip"})
    assert not (edition / ".git").exists()


def test_students_get_the_flowers_but_not_their_painter(edition):
    flowers = [name for name in files_in(edition) if name.startswith("dataset_flowers_64px/")]
    assert len(flowers) == 800
    assert all((edition / name).read_bytes() == (ROOT / name).read_bytes() for name in flowers)
    assert (edition / "docs" / "flowers.md").is_file() and not (edition / "course").exists()


def test_executable_files_stay_executable(edition):
    for name in handout.student_files(ROOT):
        modes = [path.stat().st_mode & 0o111 for path in (ROOT / name, edition / handout.handout_path(name))]
        assert modes[0] == modes[1], name


def test_python_files_compile(edition):
    for path in edition.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        compile(source, str(path), "exec")
        ast.parse(source, feature_version=(3, 8))


def test_code_style(edition):
    done = subprocess.run([sys.executable, "-m", "pycodestyle", "--max-line-length", "120", "."], cwd=str(edition),
                          stdout=subprocess.PIPE, universal_newlines=True)
    assert done.returncode == 0, done.stdout


def test_no_line_of_a_solution_is_told(edition):
    """Whole lines; those with some length nowhere inside a line either, however they are spaced or broken."""
    def squeeze(text):
        return "".join(text.split())

    lines = {line.strip() for gap in handout.find_gaps(ROOT) for line in gap.region.splitlines()}
    lines = {line for line in lines if re.search(r"\w", line) and not line.startswith("#")} - IDIOMS
    assert lines
    for name in files_in(edition):
        try:
            text = (edition / name).read_bytes().decode("utf-8")
        except UnicodeDecodeError:  # a picture
            continue
        told = lines & {line.strip() for line in text.splitlines()}
        told |= {line for line in lines if len(squeeze(line)) >= 20 and squeeze(line) in squeeze(text)}
        assert not told, f"{name} tells {sorted(told)}"


@pytest.mark.parametrize("task", WITH_GAPS, ids=[task.number for task in WITH_GAPS])
def test_gaps_stand_where_the_table_says_and_say_what_to_do(edition, task):
    gaps = [gap for gap in handout.find_gaps(ROOT) if gap.task == task.number]
    assert {gap.path for gap in gaps} == set(task.fill_in.split(", "))
    for path in task.fill_in.split(", "):
        in_file = [gap for gap in gaps if gap.path == path]
        blocks = re.findall(rf"^ *# START TODO {re.escape(task.number)} #+\n((?: *#.*\n)+) *raise NotImplementedError"
                            rf"\(\"Task {re.escape(task.number)} is not filled in yet\"\)\n"
                            rf" *# END TODO {re.escape(task.number)} #+\n",
                            (edition / path).read_text(encoding="utf-8"), re.MULTILINE)
        assert len(blocks) == len(in_file)
        assert all(len(re.findall(r"\w+", words)) >= 3 for words in blocks), blocks


# What its tests say

def results_of_tests(folder, tmp_path):
    """Run the student's tests in `folder`: {test: (task or "", what went wrong or "")}."""
    environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1", PYTEST_ADDOPTS="")
    report = tmp_path / "report.jsonl"
    done = subprocess.run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--report", str(report)],
                          cwd=str(folder), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          universal_newlines=True)
    assert done.returncode in (0, 1), done.stdout  # 2 and more: the tests could not be collected
    return read_report(report)


@pytest.mark.parametrize("filled", [""] + [task.number for task in WITH_GAPS])
def test_tests_fail_exactly_where_a_gap_is(tmp_path, filled):
    """With no task filled in, and with one at a time."""
    handout.write(ROOT, tmp_path / "handout", keep=[filled] if filled else [])
    results = results_of_tests(tmp_path / "handout", tmp_path)
    with_tests = {task for task, _ in results.values()}
    assert with_tests >= {task.number for task in WITH_GAPS}, "a task has no test"
    for test, (task, wrong) in results.items():
        if task in ("", filled):
            assert not wrong, f"{test} of task {task or 'none'} fails although it meets no gap:\n{wrong}"
        else:
            assert wrong, f"{test} passes although task {task} is not filled in"
            assert f"Task {task} is not filled in yet" in wrong, f"{test} does not name task {task}:\n{wrong}"


# What the cut does with any file

SMALL = """\
import math


class Circle:
    def area(self, radius):
        # START TODO 1.1 ########################
        # The area.
        # BEGIN SOLUTION
        square = radius ** 2

        return math.pi * square
        # END SOLUTION
        # END TODO 1.1 ########################


def twice(x):
    def double():
        # START TODO 1.2 ########################
        # BEGIN SOLUTION
        return 2 * x
        # END SOLUTION
        # END TODO 1.2 ########################
    if x:
        # START TODO 1.3 ########################
        # BEGIN SOLUTION
        x = 1
        # END SOLUTION
        # END TODO 1.3 ########################
    # START TODO 1.2 ########################
    # BEGIN SOLUTION
    return double()
    # END SOLUTION
    # END TODO 1.2 ########################
"""


def test_gaps_know_their_place():
    gaps = [piece for piece in handout.split("lib/small.py", SMALL) if isinstance(piece, handout.Gap)]
    assert [gap[:5] for gap in gaps] == [
        ("1.1", "lib/small.py", 8, "Circle.area", " " * 8), ("1.2", "lib/small.py", 19, "twice.double", " " * 8),
        ("1.3", "lib/small.py", 25, "twice", " " * 8), ("1.2", "lib/small.py", 30, "twice#2", " " * 4)]
    assert gaps[1].region == "        # BEGIN SOLUTION\n        return 2 * x\n        # END SOLUTION\n"


@pytest.mark.parametrize("keep", [(), ("1.1",), ("1.2",), ("1.1", "1.2", "1.3")])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_cut_leaves_every_other_byte(keep, line_end):
    expected = SMALL
    for task, indent, solution in (("1.1", 8, "        square = radius ** 2\n\n        return math.pi * square\n"),
                                   ("1.2", 8, "        return 2 * x\n"), ("1.3", 8, "        x = 1\n"),
                                   ("1.2", 4, "    return double()\n")):
        if task not in keep:
            space = " " * indent
            expected = expected.replace(f"{space}# BEGIN SOLUTION\n{solution}{space}# END SOLUTION\n",
                                        f'{space}raise NotImplementedError("Task {task} is not filled in yet")\n')
    text = SMALL.replace("\n", line_end)
    assert handout.cut("lib/small.py", text, keep) == expected.replace("\n", line_end)
    assert "".join(getattr(piece, "region", piece) for piece in handout.split("lib/small.py", text)) == text


def test_write_keeps_line_ends_modes_and_odd_names(tmp_path):
    project = tmp_path / "project"
    contents = {"lib/small.py": SMALL.replace("\n", "\r\n").encode(), "runtests.sh": b"#!/bin/sh\n",
                "docs/\u00fcber uns.md": b"no newline at the end", "picture.png": bytes(range(256)),
                "course/student/.github/workflows/tests.yml": b"for students\n", ".github/workflows/ci.yml": b"ours\n",
                "course/answers.md": b"secret\n", "benchmarks/b.py": b"", ".ci/run": b"", "docs/course/x": b"stays\n"}
    for name, data in contents.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_bytes(data)
    (project / "runtests.sh").chmod(0o755)
    track(project)
    (project / "untracked.txt").write_bytes(b"mine\n")
    (project / "runtests.sh").write_bytes(b"#!/bin/sh\nexit 0\n")  # the working tree counts, not what was added

    (tmp_path / "empty").mkdir()
    written = handout.write(project, tmp_path / "empty", keep=["1.1", "1.2", "1.3"])
    assert sorted(written) == files_in(tmp_path / "empty") == sorted([
        "lib/small.py", "runtests.sh", "docs/\u00fcber uns.md", "picture.png", ".github/workflows/tests.yml",
        "docs/course/x", "tests/handout.zip"])
    contents[".github/workflows/tests.yml"] = b"for students\n"
    contents["runtests.sh"] = b"#!/bin/sh\nexit 0\n"
    for name in set(written) - {"tests/handout.zip"}:
        assert (tmp_path / "empty" / name).read_bytes() == contents[name], name
        assert os.access(str(tmp_path / "empty" / name), os.X_OK) == (name == "runtests.sh"), name


# Markers that do not make gaps

GOOD = ["def f(x):", "    # START TODO 1.1 ########", "    # Say x.", "    # BEGIN SOLUTION", "    return x",
        "    # END SOLUTION", "    # END TODO 1.1 ########"]


def changed(**lines):
    """GOOD with some lines, by number, replaced by others; an empty list leaves the line out."""
    out = []
    for number, line in enumerate(GOOD, 1):
        new = lines.get(f"line{number}", line)
        out += new if isinstance(new, list) else [new]
    return "\n".join(out) + "\n"


BROKEN = [
    ("nested block", changed(line4=GOOD[1:]), 4, "START TODO where BEGIN SOLUTION is due, after START TODO in line 2"),
    ("nested solution", changed(line5=GOOD[3:5]), 5, "BEGIN SOLUTION where END SOLUTION is due"),
    ("unclosed solution", changed(line6=[], line7=[]), 4, "BEGIN SOLUTION with no END SOLUTION after it"),
    ("solution closed by the block", changed(line6=[]), 6, "END TODO where END SOLUTION is due"),
    ("unclosed block", changed(line7=[]), 6, "END SOLUTION with no END TODO after it"),
    ("unclosed block, then the next", changed(line7=["", ""] + GOOD), 10, "START TODO where END TODO is due"),
    ("start alone", changed(line4=[], line5=[], line6=[], line7=[]), 2, "START TODO with no BEGIN SOLUTION"),
    ("stray begin", changed(line2=[]), 3, "BEGIN SOLUTION where START TODO is due"),
    ("stray end", changed(line2=[], line4=[]), 4, "END SOLUTION where START TODO is due"),
    ("stray end of block", changed(line1=[GOOD[0], GOOD[6]]), 2, "END TODO where START TODO is due"),
    ("stray after a good one", changed(line7=[GOOD[6], GOOD[5]]), 8, "END SOLUTION where START TODO is due"),
    ("end before begin", changed(line4=GOOD[5], line6=GOOD[3]), 4, "END SOLUTION where BEGIN SOLUTION is due"),
    ("no solution", changed(line4=[], line6=[]), 5, "END TODO where BEGIN SOLUTION is due"),
    ("two solutions", changed(line6=[GOOD[5]] + GOOD[3:6]), 7, "BEGIN SOLUTION where END TODO is due"),
    ("numbers differ", changed(line7="    # END TODO 1.2 ########"), 7, "END TODO 1.2 closes START TODO 1.1 in line 2"),
    ("no points", changed(line2="    # START TODO 9.9 ########"), 2, "task 9.9 has no points"),
    ("no number", changed(line2="    # START TODO"), 2, "not written like the marker"),
    ("begin indented", changed(line4="        # BEGIN SOLUTION"), 4, "BEGIN SOLUTION is not indented like START TODO"),
    ("end indented", changed(line6="  # END SOLUTION"), 6, "END SOLUTION is not indented like START TODO"),
    ("end of block indented", changed(line7="# END TODO 1.1 ###"), 7, "END TODO is not indented like START TODO"),
    ("solution deeper", changed(line5="        return x"), 5, "the solution is not indented like BEGIN SOLUTION"),
    ("solution shallower", changed(line5=["    x = 1", "  # x"]), 6, "the solution is not indented like"),
    ("solution at the margin", changed(line5=["x"]), 5, "the solution is not indented like"),
    ("empty solution", changed(line5=[]), 4, "the solution is empty"),
    ("comment for a solution", changed(line5=["", "    # return x"]), 4, "the solution is empty"),
    ("marker behind code", changed(line4="    y = x  # BEGIN SOLUTION"), 4, "not written like the marker"),
    ("marker spelled otherwise", changed(line4="    #BEGIN SOLUTION"), 4, "not written like the marker"),
    ("words after a marker", changed(line4="    # BEGIN SOLUTION of f"), 4, "not written like the marker"),
    ("gap outside a function", "\n".join(line[4:] for line in GOOD[1:]).replace("return x", "x = 1") + "\n", 3,
     "a gap stands in a function"),
    ("gap in a class body", changed(line1="class C:", line5="    x = 1"), 4, "a gap stands in a function"),
    ("gap in a string", changed(line2=['    """', GOOD[1]], line7=[GOOD[6], '    """']), 5,
     "a gap stands in a function"),
    ("gap in a list", changed(line1=["def f(x):", "    y = ["], line5="    1,", line7=[GOOD[6], "    ]"]), None,
     "the file is no Python"),
]


@pytest.mark.parametrize("text, line, words", [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_marker_errors_name_file_and_line(text, line, words):
    handout.cut("lib/x.py", changed())
    with pytest.raises(handout.MarkerError) as caught:
        handout.cut("lib/x.py", text)
    message = str(caught.value)
    assert re.match(r"lib/x\.py:%s: " % (line or r"\d+"), message) and words in message, message
    assert "\n" not in message


# The command, when something is wrong

def assert_one_line(done, status, *words):
    assert done.returncode == status, done.stdout + done.stderr
    assert done.stdout == "" and done.stderr.startswith("handout: ") and done.stderr.count("\n") == 1, done.stderr
    assert all(str(word) in done.stderr for word in words), done.stderr


def test_says_what_it_wrote(tmp_path):
    done = run_handout(tmp_path / "a" / "new one")
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    gaps = handout.find_gaps(ROOT)
    assert f"{len(files_in(tmp_path / 'a' / 'new one'))} files with {len(gaps)} gaps" in done.stdout
    for task in {gap.task for gap in gaps}:
        assert f"task {task}: {sum(gap.task == task for gap in gaps)}" in done.stdout
    assert str(tmp_path / "a" / "new one") in done.stdout


def test_folder_that_is_not_empty_stays_as_it_is(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    assert_one_line(run_handout(tmp_path), 2, tmp_path)
    assert files_in(tmp_path) == ["README.md"] and (tmp_path / "README.md").read_text() == "mine"


def test_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    assert_one_line(run_handout(tmp_path / "file"), 2, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("folder", [".", "lib/new", ".git/new"])
def test_folders_of_the_project_are_refused(checkout, folder):
    assert_one_line(run_handout(folder, checkout), 2, folder)
    assert not (checkout / "lib" / "new").exists() and not (checkout / ".git" / "new").exists()


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("mine")
    assert_one_line(run_handout(tmp_path / "file" / "new"), 2, tmp_path / "file" / "new")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is unwritable for root")
@pytest.mark.parametrize("folder", [".", "new"])
def test_folder_without_permission(tmp_path, folder):
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked").chmod(0o555)
    assert_one_line(run_handout(tmp_path / "locked" / folder), 2, tmp_path / "locked" / folder)


def test_full_disk_leaves_nothing_half_written(tmp_path):
    resource = pytest.importorskip("resource")
    done = run_handout(tmp_path / "new", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500)))
    assert_one_line(done, 1)
    assert files_in(tmp_path) == []


def test_no_checkout(checkout, tmp_path):
    shutil.rmtree(str(checkout / ".git"))
    environment = dict(os.environ, GIT_CEILING_DIRECTORIES=str(tmp_path))
    assert_one_line(run_handout(tmp_path / "new", checkout, env=environment), 1, checkout, "git checkout")
    assert not (tmp_path / "new").exists()


def test_no_git(tmp_path):
    environment = dict(os.environ, PATH=str(tmp_path))
    assert_one_line(run_handout(tmp_path / "new", env=environment), 1, "git is not installed")


def test_nothing_tracked(checkout, tmp_path):
    subprocess.check_call(["git", "rm", "-r", "--cached", "--quiet", "."], cwd=str(checkout))
    assert_one_line(run_handout(tmp_path / "new", checkout), 1, "git tracks no file")


def test_tracked_file_that_is_gone(checkout, tmp_path):
    (checkout / "lib" / "__init__.py").unlink()
    assert_one_line(run_handout(tmp_path / "new", checkout), 1, "lib/__init__.py")
    assert not (tmp_path / "new").exists()


def test_marker_error_writes_nothing(checkout, tmp_path):
    gap = handout.find_gaps(checkout)[-1]
    lines = (checkout / gap.path).read_text(encoding="utf-8").splitlines(True)
    del lines[gap.line - 1]
    (checkout / gap.path).write_text("".join(lines), encoding="utf-8")
    assert_one_line(run_handout(tmp_path / "new", checkout), 1, f"handout: {gap.path}:", "BEGIN SOLUTION is due")
    assert not (tmp_path / "new").exists()


def test_file_that_is_not_utf8(checkout, tmp_path):
    with open(str(checkout / "lib" / "__init__.py"), "ab") as file:
        file.write(b"# fine\n# \xe4\n")
    assert_one_line(run_handout(tmp_path / "new", checkout), 1, "lib/__init__.py:2: not UTF-8")


def test_two_files_for_one_place(checkout, tmp_path):
    (checkout / "course" / "student" / "lib").mkdir(parents=True)
    (checkout / "course" / "student" / "lib" / "__init__.py").write_text("")
    track(checkout)
    assert_one_line(run_handout(tmp_path / "new", checkout), 1, "course/student/lib/__init__.py", "one file")
