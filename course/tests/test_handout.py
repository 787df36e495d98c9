"""The handout equals the reference except for the gaps, reveals no solution, and its tests fail exactly at the gaps."""
import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from course import handout
from course.tests.support import ROOT, TODAYS_EDITION, tracked_files
from tests.scoring.report import read_report
from tests.scoring.tasks import TASKS

# A second implementation of the cut, with regular expressions on bytes, to compare the real one with.
REGION = re.compile(rb"^[ \t]*# BEGIN SOLUTION\r?\n.*?^[ \t]*# END SOLUTION\r?\n", re.MULTILINE | re.DOTALL)
UNFILLED = re.compile(rb'^[ \t]*raise NotImplementedError\("Task (\S+) is not filled in yet"\)\r?\n', re.MULTILINE)
# Lines that occur in any PyTorch program, so they reveal nothing.
IDIOMS = {"model.eval()", "optimizer.zero_grad()", "loss.backward()", "optimizer.step()"}
WITH_GAPS = [task for task in TASKS
             if task.graded_by == "tests" and all((ROOT / path).is_file() for path in task.fill_in.split(", "))]


def run_handout(folder, project=ROOT, **options):
    """Run the command in the project's root, as a teacher does."""
    return subprocess.run([sys.executable, "-m", "course.handout", str(folder)], cwd=str(project),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, **options)


def files_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if not path.is_dir())


def track(project):
    subprocess.check_call(["git", "init", "--quiet"], cwd=str(project))
    subprocess.check_call(["git", "add", "--all", "--force"], cwd=str(project))


@pytest.fixture(scope="module")
def edition(tmp_path_factory):
    """The handout of this project, written by the command."""
    folder = tmp_path_factory.mktemp("handout") / "edition"
    done = run_handout(folder)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return folder


@pytest.fixture
def checkout(tmp_path):
    """A git checkout with a copy of the project's Python files, in which a test can break something."""
    for name in tracked_files(ROOT):
        if name.endswith(".py"):
            (tmp_path / "checkout" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(ROOT / name), str(tmp_path / "checkout" / name))
    track(tmp_path / "checkout")
    return tmp_path / "checkout"


# The files of the handout

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


def test_the_handout_has_all_student_files_and_no_others(edition):
    for_students = "course/student/"
    expected = {name for name in tracked_files(ROOT)
                if name.split("/")[0] not in ("course", "benchmarks", ".ci", ".github", "CONTRIBUTING.md",
                                              "conftest.py", "pyproject.toml")}
    expected |= {name[len(for_students):] for name in tracked_files(ROOT) if name.startswith(for_students)}
    assert files_in(edition) == sorted(expected | {"tests/handout.zip"})
    assert not (edition / ".git").exists()


def test_the_handout_has_the_flowers_but_not_the_program_that_paints_them(edition):
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


def test_no_line_of_a_solution_is_revealed(edition):
    """No whole line of a solution occurs, and no longer line occurs inside another, whatever its spacing."""
    def squeeze(text):
        return "".join(text.split())

    lines = {line.strip() for gap in handout.find_gaps(ROOT) for line in gap.region.splitlines()}
    lines = {line for line in lines if re.search(r"\w", line) and not line.startswith("#")} - IDIOMS
    assert lines
    for name in files_in(edition):
        try:
            text = (edition / name).read_bytes().decode("utf-8")
        except UnicodeDecodeError:  # a binary file
            continue
        revealed = lines & {line.strip() for line in text.splitlines()}
        revealed |= {line for line in lines if len(squeeze(line)) >= 20 and squeeze(line) in squeeze(text)}
        assert not revealed, f"{name} reveals {sorted(revealed)}"


@pytest.mark.parametrize("task", WITH_GAPS, ids=[task.number for task in WITH_GAPS])
def test_gaps_are_where_the_table_says_and_describe_the_task(edition, task):
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


# The results of its tests

def results_of_tests(folder, tmp_path):
    """Run the student tests in `folder`; return {test: (task or "", message of the failure or "")}."""
    environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1", PYTEST_ADDOPTS="")
    report = tmp_path / "report.jsonl"
    done = subprocess.run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--report", str(report)],
                          cwd=str(folder), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          universal_newlines=True)
    assert done.returncode in (0, 1), done.stdout  # 2 and above: pytest could not collect the tests
    return read_report(report)


@pytest.mark.parametrize("filled", [""] + [task.number for task in WITH_GAPS])
def test_tests_fail_exactly_at_unfilled_gaps(tmp_path, filled):
    """Once with no task filled in, then with one task at a time."""
    handout.write(ROOT, tmp_path / "handout", keep=[filled] if filled else [])
    results = results_of_tests(tmp_path / "handout", tmp_path)
    with_tests = {task for task, _ in results.values()}
    assert with_tests >= {task.number for task in WITH_GAPS}, "a task has no test"
    for test, (task, wrong) in results.items():
        if task in ("", filled):
            assert not wrong, f"{test} of task {task or 'none'} fails although it runs no gap:\n{wrong}"
        else:
            assert wrong, f"{test} passes although task {task} is not filled in"
            assert f"Task {task} is not filled in yet" in wrong, f"{test} does not name task {task}:\n{wrong}"


# The cut of any file

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
                "docs/\u00fcber uns.md": b"no newline at the end", "image.png": bytes(range(256)),
                "course/student/.github/workflows/tests.yml": b"for students\n", ".github/workflows/ci.yml": b"ours\n",
                "course/answers.md": b"secret\n", "benchmarks/b.py": b"", ".ci/run": b"", "docs/course/x": b"stays\n"}
    for name, data in contents.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_bytes(data)
    (project / "runtests.sh").chmod(0o755)
    track(project)
    (project / "untracked.txt").write_bytes(b"mine\n")
    (project / "runtests.sh").write_bytes(b"#!/bin/sh\nexit 0\n")  # the working tree counts, not the index

    (tmp_path / "empty").mkdir()
    written = handout.write(project, tmp_path / "empty", keep=["1.1", "1.2", "1.3"])
    assert sorted(written) == files_in(tmp_path / "empty") == sorted([
        "lib/small.py", "runtests.sh", "docs/\u00fcber uns.md", "image.png", ".github/workflows/tests.yml",
        "docs/course/x", "tests/handout.zip"])
    contents[".github/workflows/tests.yml"] = b"for students\n"
    contents["runtests.sh"] = b"#!/bin/sh\nexit 0\n"
    for name in set(written) - {"tests/handout.zip"}:
        assert (tmp_path / "empty" / name).read_bytes() == contents[name], name
        assert os.access(str(tmp_path / "empty" / name), os.X_OK) == (name == "runtests.sh"), name


# Invalid markers

GOOD = ["def f(x):", "    # START TODO 1.1 ########", "    # Say x.", "    # BEGIN SOLUTION", "    return x",
        "    # END SOLUTION", "    # END TODO 1.1 ########"]


def changed(**lines):
    """Return GOOD with some lines replaced, given by number; an empty list removes the line."""
    out = []
    for number, line in enumerate(GOOD, 1):
        new = lines.get(f"line{number}", line)
        out += new if isinstance(new, list) else [new]
    return "\n".join(out) + "\n"


BROKEN = [
    ("nested block", changed(line4=GOOD[1:]), 4,
     "found START TODO where BEGIN SOLUTION was expected, after START TODO on line 2"),
    ("nested solution", changed(line5=GOOD[3:5]), 5, "found BEGIN SOLUTION where END SOLUTION was expected"),
    ("unclosed solution", changed(line6=[], line7=[]), 4, "BEGIN SOLUTION without END SOLUTION after it"),
    ("solution closed by the block", changed(line6=[]), 6, "found END TODO where END SOLUTION was expected"),
    ("unclosed block", changed(line7=[]), 6, "END SOLUTION without END TODO after it"),
    ("unclosed block, then the next", changed(line7=["", ""] + GOOD), 10,
     "found START TODO where END TODO was expected"),
    ("start alone", changed(line4=[], line5=[], line6=[], line7=[]), 2, "START TODO without BEGIN SOLUTION"),
    ("stray begin", changed(line2=[]), 3, "found BEGIN SOLUTION where START TODO was expected"),
    ("stray end", changed(line2=[], line4=[]), 4, "found END SOLUTION where START TODO was expected"),
    ("stray end of block", changed(line1=[GOOD[0], GOOD[6]]), 2, "found END TODO where START TODO was expected"),
    ("stray after a good one", changed(line7=[GOOD[6], GOOD[5]]), 8,
     "found END SOLUTION where START TODO was expected"),
    ("end before begin", changed(line4=GOOD[5], line6=GOOD[3]), 4,
     "found END SOLUTION where BEGIN SOLUTION was expected"),
    ("no solution", changed(line4=[], line6=[]), 5, "found END TODO where BEGIN SOLUTION was expected"),
    ("two solutions", changed(line6=[GOOD[5]] + GOOD[3:6]), 7, "found BEGIN SOLUTION where END TODO was expected"),
    ("numbers differ", changed(line7="    # END TODO 1.2 ########"), 7, "END TODO 1.2 closes START TODO 1.1 on line 2"),
    ("no points", changed(line2="    # START TODO 9.9 ########"), 2, "unknown task 9.9"),
    ("no number", changed(line2="    # START TODO"), 2, "this marker is misspelled"),
    ("begin indented", changed(line4="        # BEGIN SOLUTION"), 4, "BEGIN SOLUTION is not indented like START TODO"),
    ("end indented", changed(line6="  # END SOLUTION"), 6, "END SOLUTION is not indented like START TODO"),
    ("end of block indented", changed(line7="# END TODO 1.1 ###"), 7, "END TODO is not indented like START TODO"),
    ("solution deeper", changed(line5="        return x"), 5, "the solution is not indented like BEGIN SOLUTION"),
    ("solution shallower", changed(line5=["    x = 1", "  # x"]), 6, "the solution is not indented like"),
    ("solution at the margin", changed(line5=["x"]), 5, "the solution is not indented like"),
    ("empty solution", changed(line5=[]), 4, "the solution is empty"),
    ("comment for a solution", changed(line5=["", "    # return x"]), 4, "the solution is empty"),
    ("marker behind code", changed(line4="    y = x  # BEGIN SOLUTION"), 4, "this marker is misspelled"),
    ("marker spelled otherwise", changed(line4="    #BEGIN SOLUTION"), 4, "this marker is misspelled"),
    ("words after a marker", changed(line4="    # BEGIN SOLUTION of f"), 4, "this marker is misspelled"),
    ("gap outside a function", "\n".join(line[4:] for line in GOOD[1:]).replace("return x", "x = 1") + "\n", 3,
     "a gap must be inside a function"),
    ("gap in a class body", changed(line1="class C:", line5="    x = 1"), 4, "a gap must be inside a function"),
    ("gap in a string", changed(line2=['    """', GOOD[1]], line7=[GOOD[6], '    """']), 5,
     "a gap must be inside a function"),
    ("gap in a list", changed(line1=["def f(x):", "    y = ["], line5="    1,", line7=[GOOD[6], "    ]"]), None,
     "the file is not valid Python"),
]


@pytest.mark.parametrize("text, line, words", [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_marker_errors_name_file_and_line(text, line, words):
    handout.cut("lib/x.py", changed())
    with pytest.raises(handout.MarkerError) as caught:
        handout.cut("lib/x.py", text)
    message = str(caught.value)
    assert re.match(r"lib/x\.py:%s: " % (line or r"\d+"), message) and words in message, message
    assert "\n" not in message


# The command's output and errors

def assert_one_line(done, status, *words):
    assert done.returncode == status, done.stdout + done.stderr
    assert done.stdout == "" and done.stderr.startswith("handout: ") and done.stderr.count("\n") == 1, done.stderr
    assert all(str(word) in done.stderr for word in words), done.stderr


def test_the_command_reports_what_it_wrote(tmp_path):
    done = run_handout(tmp_path / "a" / "new one")
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    gaps = handout.find_gaps(ROOT)
    assert done.stdout.startswith(f"wrote edition {TODAYS_EDITION.number} to {tmp_path / 'a' / 'new one'}: ")
    assert f"{len(files_in(tmp_path / 'a' / 'new one'))} files with {len(gaps)} gaps" in done.stdout
    for task in {gap.task for gap in gaps}:
        assert f"task {task}: {sum(gap.task == task for gap in gaps)}" in done.stdout


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    assert_one_line(run_handout(tmp_path), 2, tmp_path)
    assert files_in(tmp_path) == ["README.md"] and (tmp_path / "README.md").read_text() == "mine"


def test_a_file_instead_of_a_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    assert_one_line(run_handout(tmp_path / "file"), 2, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("folder", [".", "lib/new", ".git/new"])
def test_folders_of_the_project_are_refused(checkout, folder):
    assert_one_line(run_handout(folder, checkout), 2, folder)
    assert not (checkout / "lib" / "new").exists() and not (checkout / ".git" / "new").exists()


def test_a_folder_that_cannot_be_created(tmp_path):
    (tmp_path / "file").write_text("mine")
    assert_one_line(run_handout(tmp_path / "file" / "new"), 2, tmp_path / "file" / "new")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root can write everywhere")
@pytest.mark.parametrize("folder", [".", "new"])
def test_a_folder_without_permission(tmp_path, folder):
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked").chmod(0o555)
    assert_one_line(run_handout(tmp_path / "locked" / folder), 2, tmp_path / "locked" / folder)


def test_a_full_disk_leaves_no_partial_handout(tmp_path):
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


def test_a_tracked_file_that_is_missing(checkout, tmp_path):
    (checkout / "lib" / "__init__.py").unlink()
    assert_one_line(run_handout(tmp_path / "new", checkout), 1, "lib/__init__.py")
    assert not (tmp_path / "new").exists()


def test_nothing_is_written_after_a_marker_error(checkout, tmp_path):
    gap = handout.find_gaps(checkout)[-1]
    lines = (checkout / gap.path).read_text(encoding="utf-8").splitlines(True)
    del lines[gap.line - 1]
    (checkout / gap.path).write_text("".join(lines), encoding="utf-8")
    assert_one_line(run_handout(tmp_path / "new", checkout), 1, f"handout: {gap.path}:", "BEGIN SOLUTION was expected")
    assert not (tmp_path / "new").exists()


def test_a_file_that_is_not_utf8(checkout, tmp_path):
    with open(str(checkout / "lib" / "__init__.py"), "ab") as file:
        file.write(b"# fine\n# \xe4\n")
    assert_one_line(run_handout(tmp_path / "new", checkout), 1, "lib/__init__.py:2: not UTF-8")


def test_two_files_with_the_same_path(checkout, tmp_path):
    (checkout / "course" / "student" / "lib").mkdir(parents=True)
    (checkout / "course" / "student" / "lib" / "__init__.py").write_text("")
    track(checkout)
    assert_one_line(run_handout(tmp_path / "new", checkout), 1, "would become the same file in the handout")
