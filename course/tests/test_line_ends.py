"""A clone made with core.autocrlf, as on Windows, equals this project byte for byte; so do its handout and archive."""
import os
import shutil
import subprocess
import sys

import pytest

from course import handout
from course.tests.support import FEEDBACK, NUMBERS, ROOT, commit, contents, copy_project, tracked_files

# A PDF that looks like text: by default git would convert it, which makes the offsets in it wrong.
TEXT_PDF = b"%PDF-1.4\r\n1 0 obj\r\n<< >>\r\nendobj\nxref\n0 1\r\ntrailer\nstartxref\n9\n%%EOF\r\n"
BINARY = ("submission.pdf", "handed_in.zip", "x.gz", "x.tgz", "x.tar", "x.7z", "x.rar", "x.jpg", "x.jpeg", "x.png",
          "x.gif", "x.webp", "x.tiff", "x.bmp", "x.mp4", "x.webm", "x.npz", "x.npy", "x.pt", "x.pth", "x.pkl",
          "x.docx", "x.odt", "data2/train-images-idx3-ubyte")
AS_UNIX = (".ci/run", ".ci/check", "runtests.sh", "course/gradescope/setup.sh", "course/gradescope/run_autograder",
           "lib/model_vae.py", "README.md", "setup.cfg", "requirements.txt")


def git(folder, *arguments):
    return subprocess.check_output(["git", "-c", "user.name=n", "-c", "user.email=e", "-C", str(folder), *arguments])


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone that asks for Windows line endings, of the project and some more kinds of files."""
    folder = tmp_path_factory.mktemp("line_ends")
    copy_project(folder / "origin", but=(".jpg", ".pt"))
    for name in BINARY:
        (folder / "origin" / name).parent.mkdir(exist_ok=True)
        (folder / "origin" / name).write_bytes(TEXT_PDF)
    (folder / "origin" / "notes.ipynb").write_bytes(b'{"cells": []}\n')
    git(folder / "origin", "init", "--quiet")
    git(folder / "origin", "config", "core.autocrlf", "true")
    commit(folder / "origin")
    subprocess.check_call(["git", "clone", "--quiet", "-c", "core.autocrlf=true", str(folder / "origin"),
                           str(folder / "clone")])
    return folder / "clone"


def test_no_byte_is_changed(clone):
    files = tracked_files(clone)
    assert set(files) >= set(BINARY) | set(AS_UNIX)
    for name in files:
        data, ours = (clone / name).read_bytes(), (clone.parent / "origin" / name).read_bytes()
        assert data == ours, name
        if name in BINARY:
            assert data == TEXT_PDF, name
        elif name.endswith((".bat", ".cmd")):
            assert data.count(b"\r\n") == data.count(b"\n") > 0, name
        elif b"\0" not in data:
            assert b"\r" not in data, name
    assert git(clone, "status", "--porcelain") == b""


def test_every_file_is_of_a_known_kind(clone):
    """Git never has to guess whether a file is binary."""
    attributes = git(clone, "check-attr", "text", "--", *tracked_files(clone)).decode().splitlines()
    assert len(attributes) == len(tracked_files(clone))
    for line in attributes:
        name, _, value = line.rsplit(": ", 2)
        is_text = b"\0" not in (clone / name).read_bytes() and name not in BINARY
        assert value in (("auto", "set") if is_text else ("unset",)), line


def test_windows_line_endings_do_not_enter_a_commit(clone, tmp_path):
    """An editor on Windows has saved a file."""
    shutil.copytree(str(clone), str(tmp_path / "clone"))
    path = tmp_path / "clone" / "lib" / "loss_vae.py"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    git(tmp_path / "clone", "commit", "--all", "--allow-empty", "--quiet", "--message", "saved")
    assert b"\r" not in git(tmp_path / "clone", "show", "HEAD:lib/loss_vae.py")


def test_the_handout_of_the_clone_is_ours(clone, tmp_path):
    subprocess.check_call([sys.executable, "-m", "course.handout", str(tmp_path / "theirs")], cwd=str(clone))
    handout.write(clone.parent / "origin", tmp_path / "ours")
    assert contents(tmp_path / "theirs") == contents(tmp_path / "ours")
    assert (tmp_path / "theirs" / ".gitattributes").read_bytes() == (ROOT / ".gitattributes").read_bytes()
    git(tmp_path / "theirs", "init", "--quiet")
    git(tmp_path / "theirs", "config", "core.autocrlf", "true")
    (tmp_path / "theirs" / "submission.pdf").write_bytes(TEXT_PDF)
    git(tmp_path / "theirs", "add", "--all", "--force")
    git(tmp_path / "theirs", "commit", "--quiet", "--message", "all")
    assert git(tmp_path / "theirs", "show", "HEAD:submission.pdf") == TEXT_PDF


def test_gradescopes_archive_starts_on_linux(clone, tmp_path):
    command, = [line for line in (ROOT / "course" / "running.md").read_text(encoding="utf-8").splitlines()
                if "course.gradescope.build" in line]
    subprocess.check_call([sys.executable] + command.split()[1:], cwd=str(clone))
    shutil.unpack_archive(str(clone / "autograder.zip"), str(tmp_path / "source"))
    (clone / "autograder.zip").unlink()
    for name in ("setup.sh", "run_autograder", "runtests.sh", "course/grade.py"):
        assert b"\r" not in (tmp_path / "source" / name).read_bytes(), name
    assert (tmp_path / "source" / "run_autograder").read_bytes().startswith(b"#!/usr/bin/env bash\n")


def test_the_clone_grades_and_updates(clone, tmp_path):
    """A team that works on Windows, and its submission."""
    handout.write(clone, tmp_path / "team", keep=NUMBERS)
    (tmp_path / "team" / "feedback.md").write_text(FEEDBACK)
    for path in tmp_path.rglob("*.py"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    command = [sys.executable, "-m", "course.grade", str(tmp_path / "team"), "--output", str(tmp_path / "scores")]
    done = subprocess.run(command, cwd=str(clone), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          universal_newlines=True, env=dict(os.environ, OMP_NUM_THREADS="1"))
    assert done.returncode == 0 and "sum 13, submission.pdf yes, edits 0" in done.stdout, done.stdout
    done = subprocess.run([sys.executable, "-m", "course.handout", "--update", str(tmp_path / "team")], cwd=str(clone),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    assert done.stdout.startswith("0 files changed"), done.stdout
