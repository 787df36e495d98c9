"""Submissions that would use up memory, time or the stack: each in a process of its own that may use 30 s and 1 GB."""
import io
import json
import os
import resource
import stat
import subprocess
import sys
import tarfile
import zipfile

import pytest

from course import archives, hand_in
from course.tests.support import ROOT
from course.tests.test_hand_in import FILES, tar_of, write, zip_of

COLLECT = """
import json, sys
from pathlib import Path
from course import hand_in
try:
    print(json.dumps([str(part) for part in hand_in.collect(Path(sys.argv[1]), Path(sys.argv[2]))[1]]))
except hand_in.HandInError as error:
    print(json.dumps(str(error)))
"""


def collect_in_a_process(submission, scratch):
    """Return the reason why a submission cannot be graded, or the messages about it."""
    done = subprocess.run([sys.executable, "-c", COLLECT, str(submission), str(scratch)], cwd=str(ROOT), timeout=30,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=lambda: resource.setrlimit(
                              resource.RLIMIT_AS, (2 ** 30, 2 ** 30)))
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout.decode())


def many_files(path, count, ending):
    write(path)
    for number in range(count):
        (path / f"{number}{ending}").touch()
    return path


def deep_folder(path, name, depth):
    """Write a folder whose path may be longer than the system allows."""
    write(path)
    here = os.getcwd()
    try:
        os.chdir(str(path))
        for _ in range(depth):
            os.mkdir(name)
            os.chdir(name)
        with open("x.py", "w"):
            pass
    finally:
        os.chdir(here)
    return path


def sparse(path, size):
    with open(str(path), "wb") as file:
        file.truncate(size)


def with_sparse(path, name):
    sparse(write(path) / name, 400 * hand_in.MB)
    return path


def empty_files(path, count):
    """Write a tar.gz of empty files."""
    with tarfile.open(str(path), "w:gz", compresslevel=1) as file:
        info = tarfile.TarInfo("a" * 60)
        for _ in range(count):
            file.addfile(info)
    return path


def many_names(path, count):
    with zipfile.ZipFile(str(path), "w") as file:
        for number in range(count):
            file.writestr(zipfile.ZipInfo(f"data/some_folder_{number:060}"), b"")
    return path


def large_member(path):
    """Write a tar.gz with a file of 2 GB of zeros before the exercise."""
    info = tarfile.TarInfo("data.bin")
    info.size = 2 ** 31

    class Zeros:
        def read(self, size):
            return bytes(size)

    with tarfile.open(str(path), "w:gz", compresslevel=1) as file:
        file.addfile(info, Zeros())
    return path


def chained_names(path):
    """Write a tar file in which each long name is about the next long name; tarfile recurses."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 10
    with tarfile.open(str(path), "w") as file:
        for _ in range(5000):
            file.addfile(info, io.BytesIO(b"lib/x.py\0\0"))
    return path


def understated(path):
    """Write a submission whose tests/handout.zip says that 500 MB are 5 bytes."""
    path.mkdir()
    zip_of(path / "handout.zip", {"lib/x.py": bytes(500 * hand_in.MB)})
    data = (path / "handout.zip").read_bytes().replace((500 * hand_in.MB).to_bytes(4, "little"), b"\5\0\0\0")
    (path / "handout.zip").unlink()
    return write(path, {**FILES, "tests/handout.zip": data})


def device(path):
    write(path)
    try:
        os.mknod(str(path / "lib" / "zero.py"), stat.S_IFCHR | 0o666, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root can create a device")
    return path


HOSTILE = {
    "100,001 files": (lambda path: many_files(path, 100001, ".jpg"), "more than 100000 files, wanted or not"),
    "20,001 modules": (lambda path: many_files(path, 20001, ".py"), "more than 20000 files, not counting"),
    "99,000 images": (lambda path: many_files(path, 99000, ".jpg"), []),
    "1,000 folders deep": (lambda path: deep_folder(path, "f", 1000), "f is nested too deeply"),
    "a path longer than the limit": (lambda path: deep_folder(path, "long" * 60, 100),
                                     "long cannot be read (File name too long)"),
    "1,000 folders deep in a zip": (lambda path: zip_of(path, {**FILES, "lib/" + 1000 * "f/" + "x.py": b""}),
                                    "f/x.py is nested too deeply"),
    "1,000 folders deep in a tar": (lambda path: tar_of(path, {**FILES, "lib/" + 1000 * "f/" + "x.py": b""}),
                                    "f/x.py is nested too deeply"),
    "a name that is too long": (lambda path: zip_of(path, {**FILES, "lib/" + "x" * 999 + ".py": b""}),
                                "x.py cannot be read (File name too long)"),
    "400 MB of images": (lambda path: with_sparse(path, "x.jpg"), []),
    "400 MB of PDF": (lambda path: with_sparse(path, "x.pdf"), "more than 300 MB"),
    "400 MB of code": (lambda path: with_sparse(path, "lib/x.py"), "lib/x.py cannot be read (larger than 256 KB)"),
    "400 MB of feedback": (lambda path: with_sparse(path, "feedback.md"), "feedback.md cannot be read (larger than"),
    "400 MB of nothing": (lambda path: sparse(path, 400 * hand_in.MB) or path, "no lib folder"),
    "6 MB of code": (lambda path: write(path, {f"lib/{number}.py": b"#" * (hand_in.MB // 4) for number in range(24)}),
                     "more than 2 MB of code"),
    "much code elsewhere": (lambda path: write(write(path), {f"a/{number}.py": b"#" * 10 ** 5 for number in range(90)}),
                            []),
    "100,001 names in a tar": (lambda path: empty_files(path, 100001), "more than 100000 files, wanted or not"),
    "150,000 names in a zip": (lambda path: many_names(path, 150000), "too many or too long names"),
    "a tar bomb": (large_member, "unpacks to more than 600 MB"),
    "a tar of chained names": (chained_names, "a single file"),
    "a wrong size in tests/handout.zip": (understated, "tests/handout.zip cannot be read ("),
    "a device": (device, "lib/zero.py is not a regular file"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_submissions_take_little_time_and_memory(tmp_path, kind):
    make, expected = HOSTILE[kind]
    said = collect_in_a_process(make(tmp_path / "team"), tmp_path / "scratch")
    subprocess.check_call(["rm", "-rf", str(tmp_path / "team"), str(tmp_path / "scratch")])
    lines = [said] if isinstance(said, str) else said
    assert len(lines) == bool(expected) and all(len(line) <= archives.LONGEST for line in lines), lines
    assert not expected or expected in lines[0]
