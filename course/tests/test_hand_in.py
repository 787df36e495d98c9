"""Every kind of folder and archive is read safely, or refused with a reason."""
import ast
import io
import os
import socket
import stat
import subprocess
import tarfile
import zipfile

import pytest

from course import hand_in, handout
from course.grader.layout import lay_out, make_pristine
from course.tests.support import ROOT, commit, contents


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


def nested(path, wrap, *prefixes):
    inner = zip_bytes({f"team-main/{name}": data for name, data in FILES.items()})
    archives = {f"{prefix}team.zip": inner for prefix in prefixes or ["Ünit 1/"]}
    return wrap(path, {**archives, "notes.txt": b""})


def old_names(path, prefix, encoding):
    """Write a zip file whose names are not UTF-8, as Windows and old programs do."""
    placeholder = "x" * len(prefix.encode(encoding))
    data = zip_bytes({placeholder[:-1] + "/" + name: data for name, data in FILES.items()})
    path.write_bytes(data.replace(placeholder[:-1].encode() + b"/", prefix.encode(encoding)))
    return path


def git_checkout(path):
    write(path, COPIED)
    commit(path)
    return path


def bare_clone(path):
    git_checkout(path.with_name("work"))
    subprocess.check_call(["git", "clone", "-q", "--bare", str(path.with_name("work")), str(path)])
    return path


GRADABLE = {
    "a folder": lambda path: write(path),
    "a bare repository": bare_clone,
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
    "a zip of macOS with umlauts": lambda path: zip_of(path, prefix="Gruppe Mu\u0308ller 1/"),
    "Moodle's zip of one team": lambda path: nested(path, zip_of, "Übung 3 – Größe_12_assignsubmission_file_/"),
    "names in cp437": lambda path: old_names(path, "\u00dcbung/", "cp437"),
    "names in Latin-1": lambda path: old_names(path, "\u00dcbung/", "latin-1"),
    "a backup in the folder": lambda path: write(write(path), {"lib/x.py": b"no"}, prefix=".backup/"),
}


@pytest.mark.parametrize("name", ["team", "team.zip", "=a\n\tb", pytest.param(os.fsdecode(b"caf\xe9"), id="latin1")])
@pytest.mark.parametrize("kind", GRADABLE)
def test_what_can_be_graded(tmp_path, kind, name):
    submission = GRADABLE[kind](tmp_path / name)
    folder, left_out = hand_in.collect(submission, tmp_path / "scratch")
    assert left_out == []
    assert contents(folder) == COPIED


@pytest.mark.parametrize("kind", ["zip", "folders", "mixed", "deeper"])
def test_several_teams_in_one_submission(tmp_path, kind):
    """One of them is never graded in place of all."""
    path = tmp_path / "all"
    if kind == "zip":
        nested(path, zip_of, *(f"Team {number}_{number}_assignsubmission_file_/" for number in range(1, 6)))
    elif kind == "folders":
        for number in range(1, 6):
            write(path, prefix=f"Team {number}/")
    else:
        nested(path, write, *(f"Team {number}/{'more/' * (kind == 'deeper')}" for number in range(2, 6)))
        write(path, prefix="Team 1/")
    with pytest.raises(hand_in.HandInError) as caught:
        hand_in.collect(path, tmp_path / "scratch")
    assert str(caught.value).startswith("contains 5 exercises: Team 1"), caught.value
    assert str(caught.value).endswith(", ...; unpack it first and grade each one") and "Team 2" in str(caught.value)


def test_a_link_to_another_folder_is_refused(tmp_path):
    write(tmp_path / "solution")
    zip_of(tmp_path / "solution.zip")
    for name in ("solution", "solution.zip"):
        (tmp_path / "team").symlink_to(tmp_path / name)
        with pytest.raises(hand_in.HandInError, match="^a link: grade the folder itself$"):
            hand_in.collect(tmp_path / "team", tmp_path / "scratch")
        (tmp_path / "team").unlink()


def test_all_links_are_reported(tmp_path):
    """Those that replace a folder too, wherever they are; if there are many, with their number."""
    write(tmp_path / "solution")
    team = write(tmp_path / "team")
    for name in ("src", "docs/more", "lib/again", "nowhere", "runtests.sh"):
        (team / name).parent.mkdir(exist_ok=True)
        (team / name).symlink_to(tmp_path / ("nothing" if name == "nowhere" else "solution"))
    (team / "data.txt").symlink_to(team / "README.md")
    folder, left_out = hand_in.collect(team, tmp_path / "scratch")
    assert sorted(left_out) == [f"{name} is a link" for name in ("docs/more", "lib/again", "nowhere", "runtests.sh",
                                                                 "src")]
    assert contents(folder) == COPIED
    for number in range(1000):
        (team / "lib" / f"{number:04}.py").symlink_to("/etc/passwd")
    _, left_out = hand_in.collect(team, tmp_path / "scratch2")
    assert len(left_out) == 21 and left_out[-1] == "and 985 more links"


def test_files_that_are_left_out_are_reported(tmp_path, monkeypatch):
    """Links, pipes and files that are too large, in a folder. No file of the teacher's is read."""
    (tmp_path / "secret.py").write_text("secret")
    (tmp_path / "solutions" / "lib").mkdir(parents=True)
    (tmp_path / "solutions" / "lib" / "loss_vae.py").write_text("secret")
    team = write(tmp_path / "team")
    (team / "lib" / "linked.py").symlink_to(tmp_path / "secret.py")
    (team / "lib" / "broken.py").symlink_to(tmp_path / "nothing")
    (team / "tests" / "lib").symlink_to(tmp_path / "solutions" / "lib")
    os.mkfifo(str(team / "lib" / "pipe.py"))
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(team / "lib")             # the length of an address is limited
        server.bind("socket.py")
    (team / "feedback.md").unlink()
    os.mkfifo(str(team / "feedback.md"))
    (team / "submission.pdf").unlink()
    (team / "submission.pdf").mkdir()
    (team / "lib" / "large.py").write_bytes(bytes(hand_in.LARGEST_CODE + 1))
    (team / "lib" / "line\nend.py").symlink_to("x")
    folder, left_out = hand_in.collect(team, tmp_path / "scratch")
    assert sorted(left_out) == [
        "feedback.md is not a regular file", "lib/broken.py is a link",
        "lib/large.py cannot be read (larger than 256 KB)", "lib/line end.py is a link", "lib/linked.py is a link",
        "lib/pipe.py is not a regular file", "lib/socket.py is not a regular file", "tests/lib is a link"]
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
    with zipfile.ZipFile(str(zip_of(tmp_path / "team.zip")), "a") as file:
        for name in ("lib/link.py", "docs", ".git/hooks"):
            link = zipfile.ZipInfo(name)
            link.external_attr = (stat.S_IFLNK | 0o777) << 16
            file.writestr(link, "/etc/passwd")
    with tarfile.open(str(tar_of(tmp_path / "team.tar", mode="w")), "a") as file:
        for name, kind in (("lib/link.py", tarfile.SYMTYPE), ("docs", tarfile.SYMTYPE),
                           ("lib/hard.py", tarfile.LNKTYPE), ("lib/pipe.py", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            file.addfile(info)
    folder, left_out = hand_in.collect(tmp_path / "team.zip", tmp_path / "scratch")
    assert left_out == ["lib/link.py is a link", "docs is a link"] and contents(folder) == COPIED
    folder, left_out = hand_in.collect(tmp_path / "team.tar", tmp_path / "scratch2")
    assert left_out == ["lib/link.py is a link", "docs is a link", "lib/hard.py is a link",
                        "lib/pipe.py is not a regular file"]
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
    "names that are too long": (lambda path: zip_of(path, {f"lib/{'a' * 400}{number}.py": b"" for number in range(9)}),
                                "no lib folder with Python files; lib/aaaa"),
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
    assert str(caught.value).isprintable() and len(str(caught.value)) <= 300
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


def test_a_file_that_grows_and_one_that_vanishes(tmp_path, monkeypatch):
    team = write(tmp_path / "team", {**FILES, "lib/grows.py": b"#", "lib/gone.py": b"", "lib/swapped.py": b""})

    def in_folder(*arguments):
        for name, open_entry in found(*arguments):
            if name == "lib/gone.py":
                (team / name).unlink()
            if name == "lib/swapped.py":
                (team / name).unlink()
                (team / name).symlink_to(team / "README.md")
            yield name, (lambda: open("/dev/zero", "rb")) if name == "lib/grows.py" else open_entry

    found = hand_in._in_folder
    monkeypatch.setattr(hand_in, "_in_folder", in_folder)
    folder, left_out = hand_in.collect(team, tmp_path / "scratch")
    assert left_out == ["lib/gone.py cannot be read (No such file or directory)",
                        "lib/grows.py cannot be read (larger than 256 KB)",
                        "lib/swapped.py cannot be read (Too many levels of symbolic links)"]
    assert contents(folder) == COPIED


@pytest.mark.parametrize("name, told", [
    ("lib/line\nend.py", ""), (os.fsdecode(b"lib/caf\xe9.py"), ""), ("lib/nul\0.py", "null byte"),
    ("lib/\x1b[2J.py", ""), ("x" * 300 + "/a.py", "File name too long")])
def test_strange_names_in_a_tar(tmp_path, name, told):
    with tarfile.open(str(tar_of(tmp_path / "team.tar", mode="w")), "a", format=tarfile.PAX_FORMAT) as file:
        info = tarfile.TarInfo("other")
        info.pax_headers = {"path": name}
        file.addfile(info)
    folder, left_out = hand_in.collect(tmp_path / "team.tar", tmp_path / "scratch")
    assert [told in line and line.isprintable() for line in left_out] == [True] * bool(told), left_out
    assert {name: data for name, data in contents(folder).items() if data} == {
        name: data for name, data in COPIED.items() if data}


def test_a_zip_in_an_archive_is_not_taken_for_it(tmp_path):
    """The handout at the end of a tar file, or of half a zip file, would hide what the team has written."""
    files = {"lib/model_vae.py": b"mine\n", "tests/handout.zip": zip_bytes({"lib/model_vae.py": b"theirs\n"})}
    folder, _ = hand_in.collect(tar_of(tmp_path / "team.tar", files, mode="w"), tmp_path / "scratch")
    assert contents(folder) == files
    data = zip_of(tmp_path / "team.zip", files, compression=zipfile.ZIP_STORED).read_bytes()
    inner = data.index(files["tests/handout.zip"]) + len(files["tests/handout.zip"])
    (tmp_path / "team.zip").write_bytes(data[:inner])
    with pytest.raises(hand_in.HandInError, match="a damaged archive"):
        hand_in.collect(tmp_path / "team.zip", tmp_path / "scratch2")


def test_notebooks(tmp_path):
    """Those in place of a module are named, whether there is an exercise or not."""
    team = write(tmp_path / "team", {**FILES, "lib/loss_vae.ipynb": b"{}", "notes/plots.ipynb": b"{}"})
    folder, left_out = hand_in.collect(team, tmp_path / "scratch")
    assert left_out == ["lib/loss_vae.ipynb is a notebook; the tests read lib/loss_vae.py"]
    assert contents(folder) == COPIED
    only = write(tmp_path / "only", {"lib/model_vae.ipynb": b"{}"})
    with pytest.raises(hand_in.HandInError, match="lib/model_vae.ipynb is a notebook; the tests read lib/model_vae.py"):
        hand_in.collect(only, tmp_path / "scratch2")


# Encodings

COOKIE = "# -*- coding: latin-1 -*-\n"
UMLAUT = 'more = "gr\u00f6\u00dfer"  # f\u00fcr sp\u00e4ter'
COMMENT = "more = 1  # f\u00fcr sp\u00e4ter"
ENCODINGS = {
    "LF": (UMLAUT, lambda text: text.encode(), ""),
    "CRLF": (UMLAUT, lambda text: text.replace("\n", "\r\n").encode(), ""),
    "CR": (UMLAUT, lambda text: text.replace("\n", "\r").encode(), ""),
    "mixed line ends": (UMLAUT, lambda text: text.replace("\n", "\r\n", 9).replace("\r\n", "\r", 3).encode(), ""),
    "a byte-order mark": (UMLAUT, lambda text: text.encode("utf-8-sig"), ""),
    "a byte-order mark and CRLF": (UMLAUT, lambda text: text.replace("\n", "\r\n").encode("utf-8-sig"), ""),
    "two byte-order marks": (UMLAUT, lambda text: ("\ufeff" + text).encode("utf-8-sig"), "two byte-order marks"),
    "Latin-1, declared": (UMLAUT, lambda text: (COOKIE + text).encode("latin-1"), ""),
    "Latin-1, declared, CRLF": (UMLAUT, lambda text: (COOKIE + text).replace("\n", "\r\n").encode("latin-1"), ""),
    "Latin-1, declared, CR": (UMLAUT, lambda text: (COOKIE + text).replace("\n", "\r").encode("latin-1"), ""),
    "Latin-1, declared for Emacs": (
        UMLAUT, lambda text: ("# \u00fc\n" + COOKIE.replace("1", "1-unix") + text).encode("latin-1"), ""),
    "cp1252, declared for Vim": (UMLAUT, lambda text: ("# vim: set fileencoding=cp1252 :\n" + text).encode("cp1252"),
                                 ""),
    "Latin-1": (UMLAUT, lambda text: text.encode("latin-1"), "is not utf-8 (line "),
    "Latin-1, declared UTF-8": (UMLAUT, lambda text: ("# coding: utf-8\n" + text).encode("latin-1"), "is not utf-8"),
    "Latin-1, declared too late": (UMLAUT, lambda text: ("\n\n" + COOKIE + text).encode("latin-1"), "is not utf-8"),
    "Latin-1 in a string": (UMLAUT, lambda text: text.encode().replace(UMLAUT.encode(), UMLAUT.encode("latin-1")),
                            "is not utf-8 (line "),
    "Latin-1 in a comment": (COMMENT, lambda text: text.encode().replace(COMMENT.encode(), COMMENT.encode("latin-1")),
                             ""),
    "Latin-1 with a byte-order mark": (UMLAUT, lambda text: (COOKIE + text).encode("utf-8-sig"), "no valid encoding"),
    "an unknown encoding": (UMLAUT, lambda text: ("# coding: klingon\n" + text).encode(), "no valid encoding"),
    "UTF-16": (UMLAUT, lambda text: text.encode("utf-16"), "is UTF-16"),
    "UTF-16 without a mark": (UMLAUT, lambda text: text.encode("utf-16-le"), "contains NUL bytes"),
    "UTF-16, declared": (UMLAUT, lambda text: ("# coding: utf-16\n" + text).encode(), "utf-16"),
    "a NUL byte": (UMLAUT.replace("f\u00fcr", "\0"), lambda text: text.encode(), "contains NUL bytes"),
}


def syntax_tree(source):
    """Return what Python reads in a file when it imports it, None if it cannot."""
    try:
        return ast.dump(ast.parse(source))
    except (SyntaxError, ValueError):
        return None


@pytest.fixture(scope="module")
def with_gap_filled():
    """The handout, and a function that returns its lib/loss_vae.py with a line in the gap."""
    files = {name: data for name, (_, data) in handout.build(ROOT).items() if not name.startswith("dataset")}
    text = files["lib/loss_vae.py"].decode()
    assert text.count("raise NotImplementedError") == 1
    return files, lambda line: text.replace("raise NotImplementedError", f"{line}\n        raise NotImplementedError")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pristine") / "handout"
    make_pristine(folder)
    return folder


@pytest.mark.parametrize("kind", ENCODINGS)
def test_a_module_is_graded_as_python_reads_it(tmp_path, with_gap_filled, pristine, kind):
    """What the team can import is graded, and what it cannot import is not repaired."""
    line, encode, problem = ENCODINGS[kind]
    files, fill = with_gap_filled
    data = encode(fill(line))
    write(tmp_path / "team", {**files, "lib/loss_vae.py": data})
    (tmp_path / "grading").mkdir()
    graded = lay_out(tmp_path / "team", tmp_path / "grading", pristine).folder / "lib" / "loss_vae.py"
    assert syntax_tree(graded.read_bytes()) == syntax_tree(data)
    assert (syntax_tree(data) is None) == bool(problem)
    folder, left_out = hand_in.collect(tmp_path / "team", tmp_path / "scratch")
    assert len(left_out) == bool(problem) and problem in "".join(left_out), left_out
    if problem:
        assert left_out[0].startswith("lib/loss_vae.py ") and left_out[0].endswith(": Python cannot read it")
    else:
        text = (folder / "lib" / "loss_vae.py").read_bytes().decode()
        assert "\r" not in text and not text.startswith("\ufeff")
