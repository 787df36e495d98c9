"""Every kind of folder and archive is read safely, or refused with a reason."""
import io
import os
import stat
import subprocess
import tarfile
import zipfile

import pytest

from course import hand_in
from course.tests.support import commit, contents


def zip_bytes(files):
    """Return a zip file as course.hand_in writes tests/handout.zip again: without compression, dated 1980."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in files.items():
            file.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()


FILES = {"lib/model_vae.py": b"mine\n", "lib/more/own.py": b"own\n", "feedback.md": b"good\n", "README.md": b"no\n",
         "submission.pdf": b"%PDF-1.7", "tests/handout.zip": zip_bytes({"lib/model_vae.py": b"theirs\n"}),
         "data/MNIST/raw/x": b"no", ".git/config": b"no",
         ".venv/lib/python3.11/site-packages/torch/a.py": b"no", "setup.cfg": b"", ".github/workflows/tests.yml": b"",
         ".DS_Store": b"no", "lib/._model_vae.py": b"no", "lib/__pycache__/x.py": b"no"}
COPIED = {name: data for name, data in FILES.items() if data != b"no" and data != b"no\n"}


def write(folder, files=FILES, prefix=""):
    for name, data in files.items():
        path = folder / (prefix + name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def zip_of(path, files=FILES, prefix="", compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(str(path), "w", compression) as file:
        for name, data in files.items():
            file.writestr(prefix + name, data)
    return path


def tar_of(path, files=FILES, prefix="", mode="w:gz"):
    with tarfile.open(str(path), mode) as file:
        for name, data in files.items():
            info = tarfile.TarInfo(prefix + name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def macos(path):
    resources = {f"__MACOSX/team/{name}": b"resource" for name in ("._lib", "lib/._model_vae.py", "lib/x.py")}
    return zip_of(path, {**{f"team/{name}": data for name, data in FILES.items()}, ".DS_Store": b"x", **resources})


def nested(path, wrap):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as file:
        for name, data in FILES.items():
            file.writestr(f"team-main/{name}", data)
    return wrap(path, {"Ünit 1/team.zip": inner.getvalue(), "notes.txt": b""})


def git_checkout(path):
    write(path, COPIED)
    commit(path)
    return path


GRADABLE = {
    "a folder": lambda path: write(path),
    "a folder in folders": lambda path: write(path, prefix="download/team main/"),
    "a folder beside others": lambda path: write(write(path, prefix="team/"), {".DS_Store": b"", "s.pdf": b"x"}),
    "a git checkout": git_checkout,
    "a zip": lambda path: zip_of(path),
    "GitHub's zip": lambda path: zip_of(path, prefix="team-main/"),
    "a zip of macOS": macos,
    "a zip of Windows": lambda path: zip_of(path, {name.replace("/", "\\"): data for name, data in FILES.items()}),
    "a zip without compression": lambda path: zip_of(path, compression=zipfile.ZIP_STORED),
    "a zip in a zip": lambda path: nested(path, zip_of),
    "a zip in a folder": lambda path: nested(path, write),
    "a zip in a tar": lambda path: nested(path, tar_of),
    "a tar.gz": lambda path: tar_of(path, prefix="./"),
    "a tar": lambda path: tar_of(path, prefix="team/", mode="w"),
    "a tar.xz": lambda path: tar_of(path, mode="w:xz"),
    "a tar.bz2": lambda path: tar_of(path, mode="w:bz2"),
}


@pytest.mark.parametrize("name", ["team", "team.zip", "=a\n\tb", pytest.param(os.fsdecode(b"caf\xe9"), id="latin1")])
@pytest.mark.parametrize("kind", GRADABLE)
def test_what_can_be_graded(tmp_path, kind, name):
    submission = GRADABLE[kind](tmp_path / name)
    folder, left_out = hand_in.collect(submission, tmp_path / "scratch")
    assert left_out == []
    assert contents(folder) == COPIED


def test_files_that_are_left_out_are_reported(tmp_path):
    """Links, pipes and files that are too large, in a folder. No file of the teacher's is read."""
    (tmp_path / "secret.py").write_text("secret")
    (tmp_path / "solutions" / "lib").mkdir(parents=True)
    (tmp_path / "solutions" / "lib" / "loss_vae.py").write_text("secret")
    team = write(tmp_path / "team")
    (team / "lib" / "linked.py").symlink_to(tmp_path / "secret.py")
    (team / "lib" / "broken.py").symlink_to(tmp_path / "nothing")
    (team / "tests" / "lib").symlink_to(tmp_path / "solutions" / "lib")
    os.mkfifo(str(team / "lib" / "pipe.py"))
    (team / "feedback.md").unlink()
    os.mkfifo(str(team / "feedback.md"))
    (team / "submission.pdf").unlink()
    (team / "submission.pdf").mkdir()
    (team / "lib" / "large.py").write_bytes(bytes(hand_in.LARGEST_CODE + 1))
    (team / "lib" / "line\nend.py").symlink_to("x")
    folder, left_out = hand_in.collect(team, tmp_path / "scratch")
    assert sorted(left_out) == [
        "feedback.md is not a regular file", "lib/broken.py is a link",
        "lib/large.py cannot be read (larger than 1 MB)", "lib/line end.py is a link", "lib/linked.py is a link",
        "lib/pipe.py is not a regular file", "tests/lib is a link"]
    left = set(COPIED) - {"feedback.md", "submission.pdf"}
    assert contents(folder) == {name: COPIED[name] for name in left}


def test_a_folder_of_links_is_no_exercise(tmp_path):
    write(tmp_path / "solution")
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "lib").symlink_to(tmp_path / "solution" / "lib")
    with pytest.raises(hand_in.HandInError, match="no lib folder with Python files; lib is a link"):
        hand_in.collect(tmp_path / "team", tmp_path / "scratch")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root can read everything")
def test_without_permission(tmp_path):
    team = write(tmp_path / "team", {**FILES, "lib/loss_vae.py": b"readable"})
    (team / "lib" / "model_vae.py").chmod(0)
    (team / "lib" / "more").chmod(0)
    _, left_out = hand_in.collect(team, tmp_path / "scratch")
    assert sorted(left_out) == ["lib/model_vae.py cannot be read (Permission denied)",
                                "lib/more cannot be read (Permission denied)"]
    (team / "lib" / "more").chmod(0o755)
    team.chmod(0)
    with pytest.raises(hand_in.HandInError, match="cannot be read .Permission denied"):
        hand_in.collect(team, tmp_path / "scratch2")
    team.chmod(0o755)


@pytest.mark.parametrize("name", ["/tmp/evil.py", "../evil.py", "a/../../evil.py", "..\\evil.py", "C:\\evil.py",
                                  "\\evil.py"])
@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_nothing_leads_out_of_an_archive(tmp_path, pack, name):
    submission = pack(tmp_path / "team", {**FILES, name: b"evil"})
    folder, left_out = hand_in.collect(submission, tmp_path / "scratch")
    assert left_out == [name.replace("\\", "/") + " points outside the archive"] and contents(folder) == COPIED
    assert contents(tmp_path / "scratch") == COPIED and not [path for path in tmp_path.rglob("evil.py")]


def test_links_in_archives(tmp_path):
    link = zipfile.ZipInfo("lib/link.py")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(str(zip_of(tmp_path / "team.zip")), "a") as file:
        file.writestr(link, "/etc/passwd")
    with tarfile.open(str(tar_of(tmp_path / "team.tar", mode="w")), "a") as file:
        for name, kind in (("lib/link.py", tarfile.SYMTYPE), ("lib/hard.py", tarfile.LNKTYPE),
                           ("lib/pipe.py", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            file.addfile(info)
    assert hand_in.collect(tmp_path / "team.zip", tmp_path / "scratch")[1] == ["lib/link.py is a link"]
    folder, left_out = hand_in.collect(tmp_path / "team.tar", tmp_path / "scratch2")
    assert left_out == ["lib/link.py is a link", "lib/hard.py is a link", "lib/pipe.py is not a regular file"]
    assert contents(folder) == COPIED


def bomb(path):
    """Write an archive with many entries that are large when unpacked."""
    return zip_of(path, {**FILES, **{f"{number}.pdf": bytes(20 * hand_in.MB) for number in range(20)}})


def bomb_in_bomb(path):
    zip_of(path.with_suffix(".0"), {f"{number}.pdf": bytes(20 * hand_in.MB) for number in range(12)})
    data = path.with_suffix(".0").read_bytes()
    return zip_of(path, {f"{number}.zip": data for number in range(12)})


def long_name(path):
    """Write a tar file whose first entry has a name of 100 MB."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 100 * hand_in.MB
    with tarfile.open(str(path), "w:gz") as file:
        file.addfile(info, io.BytesIO(bytes(info.size)))
    return path


def encrypted(path):
    data = bytearray(zip_of(path, {"lib/model_vae.py": b"mine"}).read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + place] |= 1
    path.write_bytes(bytes(data))
    return path


def bare_repository(path):
    subprocess.check_call(["git", "init", "-q", "--bare", str(path)])
    return path


def pipe(path):
    os.mkfifo(str(path))
    return path


def file_of(data):
    return lambda path: path.write_bytes(data) and path or path


REFUSED = {
    "nothing": (lambda path: path, "no such file"),
    "a broken link": (lambda path: path.symlink_to("nowhere") or path, "a link: grade the folder itself"),
    "a link to itself": (lambda path: path.symlink_to(path.name) or path, "a link: grade the folder itself"),
    "a pipe": (pipe, "neither a folder nor a file"),
    "an empty folder": (lambda path: path.mkdir() or path, "an empty folder"),
    "an empty file": (file_of(b""), "an empty file"),
    "a single file": (file_of(b"def f():\n    pass\n"), "a single file, not a folder or an archive"),
    "a PDF": (file_of(b"%PDF-1.7\n"), "a single file"),
    "a folder without lib": (lambda path: write(path, {"a/feedback.md": b"", "b/c/x.py": b""}), "no lib folder"),
    "an empty lib": (lambda path: (path / "lib").mkdir(parents=True) or path, "no lib folder"),
    "modules without lib": (lambda path: write(path, {"model_vae.py": b""}), "model_vae.py is not in a folder"),
    "a zip without lib": (lambda path: zip_of(path, {"x.py": b""}), "no lib folder"),
    "an empty zip": (lambda path: zip_of(path, {}), "no lib folder"),
    "a bare repository": (bare_repository, "a bare git repository"),
    "two exercises": (lambda path: write(write(path, prefix="a/"), prefix="b/"), "contains 2 exercises: a, b"),
    "half a zip": (lambda path: file_of(zip_of(path).read_bytes()[:200])(path), "a damaged archive"),
    "half a tar.gz": (lambda path: file_of(tar_of(path).read_bytes()[:60])(path), "a"),
    "an encrypted zip": (encrypted, "an encrypted archive"),
    "7-Zip": (file_of(b"7z\xbc\xaf\x27\x1c" + bytes(100)), "7-Zip"),
    "RAR": (file_of(b"Rar!\x1a\x07\x00" + bytes(100)), "RAR"),
    "a zip bomb": (bomb, "more than 300 MB"),
    "a bomb of zips": (bomb_in_bomb, "more than 300 MB"),
    "too many files": (lambda path: zip_of(path, {f"lib/{number}.py": b"" for number in range(20001)}), "20000 files"),
    "a tar with a name of 100 MB": (long_name, "too long names"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_the_reason_is_given_if_grading_is_impossible(tmp_path, kind):
    make, words = REFUSED[kind]
    submission = make(tmp_path / "team")
    with pytest.raises(hand_in.HandInError, match=words) as caught:
        hand_in.collect(submission, tmp_path / "scratch")
    assert "\n" not in str(caught.value)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 700 * hand_in.MB


def test_undamaged_files_of_a_damaged_archive_are_read(tmp_path):
    """A wrong checksum in a zip file, and a truncated tar file."""
    data = zip_of(tmp_path / "team.zip", {**FILES, "lib/loss_vae.py": b"broken"}, compression=0).read_bytes()
    (tmp_path / "team.zip").write_bytes(data.replace(b"broken", b"braken"))
    folder, left_out = hand_in.collect(tmp_path / "team.zip", tmp_path / "scratch")
    assert contents(folder) == COPIED and len(left_out) == 1
    assert left_out[0].startswith("lib/loss_vae.py cannot be read (Bad CRC-32")
    large = {"lib/model_vae.py": b"mine\n", "lib/random.py": os.urandom(2 ** 19), "lib/utils.py": b"lost"}
    data = tar_of(tmp_path / "team.tgz", large).read_bytes()
    (tmp_path / "team.tgz").write_bytes(data[:2 ** 18])
    folder, left_out = hand_in.collect(tmp_path / "team.tgz", tmp_path / "scratch2")
    assert contents(folder) == {"lib/model_vae.py": b"mine\n"}
    assert left_out[0].startswith("lib/random.py cannot be read (") and left_out[1].startswith("the archive is damaged")


def test_files_and_folders_with_the_same_name(tmp_path):
    submission = zip_of(tmp_path / "team.zip", {**FILES, "lib/model_vae.py/x.py": b"", "feedback.md/y.py": b""})
    folder, left_out = hand_in.collect(submission, tmp_path / "scratch")
    assert contents(folder) == COPIED and len(left_out) == 2
