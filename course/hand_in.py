"""Copy a submission, whatever its format, into a folder of plain files that is safe to read.

Only files that grading reads are copied, and only regular files: no links, pipes or devices, no paths that lead out of
an archive, no data, environments or history. So neither a link nor an archive bomb can do harm.
"""
import ast
import codecs
import io
import os
import re
import stat
import tokenize
import unicodedata
import warnings
import zipfile
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, Callable, Iterator, List, Tuple

from course import history
from course.archives import (
    DEEPEST,
    MB,
    MOST_SEEN,
    NOTEBOOK,
    Entry,
    HandInError,
    LeftOut,
    in_archive,
    is_archive,
    is_wanted,
    shorten,
)
from tests.scoring.edits import CODE, HANDED_OUT

__all__ = ["HandInError", "collect"]

LARGEST_CODE, LARGEST_SUM = MB // 4, 300 * MB       # bytes of one file that is read as text, and of all files
LARGEST_CODE_SUM = 2 * MB                           # of the code of the exercise, of which 0.4 MB are given
MOST_FILES = 20000
DEPTH = 3                                           # how deep archives may be nested
LIB = Path(__file__).resolve().parent.parent / "lib"
COOKIE = re.compile(r"coding[:=][ \t]*[-\w.]+", re.ASCII)


def collect(path: Path, scratch: Path) -> Tuple[Path, List[str]]:
    """Copy a submission: a folder, or an archive, which may contain other archives.

    The modules in the copy are UTF-8 and have Unix line ends, except those that Python cannot read.

    Args:
        scratch: a folder that does not exist yet.

    Returns:
        The folder in scratch that contains lib, and a message for each file that was left out or cannot be used.

    Raises:
        HandInError: the submission does not contain the exercise, contains several, or is too large.
    """
    try:
        return _collect(path, scratch)
    except HandInError:
        raise
    except Exception as error:                      # a row for each submission, whatever its files are like
        raise HandInError(f"cannot be read ({type(error).__name__}: {error})") from None


def _collect(path: Path, scratch: Path) -> Tuple[Path, List[str]]:
    copy = _Copy(scratch)
    if path.is_symlink():
        raise HandInError("a link: grade the folder itself")
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            os.listdir(str(path))
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        raise HandInError("no such file or folder" if missing else f"cannot be read ({error.strerror})") from None
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise HandInError("neither a folder nor a file")
    scratch.mkdir()
    if stat.S_ISDIR(mode) and _is_bare(path):
        files = scratch.with_name(f"{scratch.name}.checkout")
        try:
            for words in history.checkout(path, files):
                copy.left_out.add("files", words, "")
        except history.HistoryError as error:
            raise HandInError(f"a bare git repository that cannot be read: {error}") from None
        copy.add(_in_folder(files, copy.left_out), scratch)
    elif stat.S_ISDIR(mode):
        copy.add(_in_folder(path, copy.left_out), scratch)
    else:
        copy.add(in_archive(path, copy.left_out), scratch)
    for _ in range(DEPTH):
        copy.unpack()
    folder = copy.the_exercise(path)
    _repack(folder / HANDED_OUT, copy.left_out)
    code = _code(folder)
    if sum(file.stat().st_size for file in code) > LARGEST_CODE_SUM:
        raise HandInError(f"more than {LARGEST_CODE_SUM // MB} MB of code")
    for file in code:
        problem = _rewrite(file) if file.name.endswith(".py") else ""
        if problem:
            copy.left_out.add("files that Python cannot read", file.relative_to(folder).as_posix(),
                              f"{problem}: Python cannot read it")
    return folder, copy.left_out.messages()


def _is_bare(path: Path) -> bool:
    """Return whether a folder is a git repository without a working tree."""
    return (path / "HEAD").is_file() and (path / "objects").is_dir() and (path / "refs").is_dir()


def _in_folder(folder: Path, left_out: LeftOut) -> Iterator[Entry]:
    """Yield the wanted files of a folder. Raises HandInError."""
    seen, waiting = 0, [""]
    while waiting:                                  # os.walk would recurse
        above = waiting.pop()
        try:
            with os.scandir(os.path.join(str(folder), above)) as listing:
                entries = sorted(islice(listing, MOST_SEEN + 1), key=lambda entry: entry.name)
        except OSError as error:
            left_out.unreadable(above or "the folder", error)
            continue
        seen += len(entries)
        if seen > MOST_SEEN:
            raise HandInError(f"more than {MOST_SEEN} files, wanted or not")
        for entry in entries:
            name = f"{above}/{entry.name}" if above else entry.name
            may_enter = is_wanted(f"{name}/x.py")
            if entry.is_symlink():
                if is_wanted(name) or may_enter and not os.path.isfile(entry.path):
                    left_out.link(name)
            elif entry.is_dir(follow_symlinks=False):
                if may_enter and name.count("/") < DEEPEST:
                    waiting.append(name)
                elif may_enter:
                    left_out.add("folders nested too deeply", name, "is nested too deeply")
            elif is_wanted(name) and not entry.is_file(follow_symlinks=False):
                left_out.add("files that are not regular", name, "is not a regular file")
            elif is_wanted(name):
                yield name, _opener(entry.path)


def _opener(path: str) -> Callable[[], IO[bytes]]:
    """Return a function that opens a file, unless it has become a link; it does not wait for a pipe."""
    more = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    return lambda: open(path, "rb", opener=lambda name, flags: os.open(name, flags | more))


class _Copy:
    """The files copied so far."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.left_out = LeftOut()
        self.notebooks: List[str] = []
        self.files = self.bytes = 0

    def add(self, entries: Iterator[Entry], to: Path) -> None:
        """Write files into a folder. Raises HandInError as soon as there are too many or they are too large."""
        for name, open_entry in entries:
            self.files += 1
            if self.files > MOST_FILES:
                raise HandInError(f"more than {MOST_FILES} files, not counting data and environments")
            target = to / unicodedata.normalize("NFC", name)  # macOS decomposes umlauts
            if name.endswith(NOTEBOOK):
                self.notebooks.append(target.relative_to(self.scratch).as_posix())
                continue
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                self._write(open_entry, target, LARGEST_CODE if name.endswith(CODE + (".md",)) else LARGEST_SUM)
            except HandInError:
                raise
            except Exception as error:              # the archive is damaged, or the file has vanished
                self.left_out.unreadable(name, error)
                if os.path.isfile(str(target)):
                    target.unlink()

    def _write(self, open_entry: Callable[[], Any], target: Path, limit: int) -> None:
        with open_entry() as source, open(str(target), "wb") as file:
            for block in iter(partial(source.read, MB), b""):
                self.bytes += len(block)
                if self.bytes > LARGEST_SUM:
                    raise HandInError(f"more than {LARGEST_SUM // MB} MB, not counting data and environments")
                if file.tell() + len(block) > limit:
                    raise ValueError(f"larger than {limit // 1024} KB")
                file.write(block)

    def unpack(self) -> None:
        """Replace each archive that is not part of an exercise by a folder with its name. Raises HandInError."""
        exercises = self.exercises()
        found = [path for path in self.scratch.rglob("*") if is_archive(path.name) and path.is_file()
                 and not path.as_posix().endswith(HANDED_OUT) and not set(exercises) & set(path.parents)]
        for archive in sorted(found):
            packed = self.scratch.with_name(f"{self.scratch.name} {archive.suffix}")
            os.replace(str(archive), str(packed))
            try:
                self.add(in_archive(packed, self.left_out), archive)
            except HandInError as error:
                if self.bytes > LARGEST_SUM or self.files > MOST_FILES:
                    raise
                self.left_out.add("archives", archive.relative_to(self.scratch).as_posix(), f"is left out: {error}")
            packed.unlink()

    def exercises(self) -> List[Path]:
        """Return the folders that contain a lib with code, apart from folders inside them."""
        found = {path.parent for path in self.scratch.rglob("lib") if any(path.glob("*.py"))}
        return sorted(path for path in found if not found & set(path.parents))

    def the_exercise(self, path: Path) -> Path:
        """Return the folder of the only exercise. Raises HandInError with the reason if there is none."""
        found = self.exercises()
        names = [place.relative_to(self.scratch).as_posix() for place in found]
        if len(found) > 1:
            shown = ", ".join(shorten(name) for name in names[:3])[:150] + ", ..." * (len(names) > 3)
            raise HandInError(f"contains {len(found)} exercises: {shown}; unpack it first and grade each one")
        for name in self.notebooks:
            module = LIB / Path(name).with_suffix(".py").name
            if module.is_file():
                below = name[len(names[0]) + 1:] if found and name.startswith(f"{names[0]}/") else name
                self.left_out.add("notebooks", below, f"is a notebook; the tests read lib/{module.name}")
        if found:
            return found[0]
        if path.is_dir() and not any(path.iterdir()):
            raise HandInError("an empty folder")
        loose = [name for name in ("model_vae.py", "loss_vae.py", "utils.py") if any(self.scratch.rglob(name))]
        more = [f"{loose[0]} is not in a folder named lib"] if loose else []
        more += self.left_out.messages()
        raise HandInError("; ".join(["does not contain the exercise: no lib folder with Python files"] + more[:2]))


def _code(folder: Path) -> List[Path]:
    """Return the code files of an exercise that grading reads."""
    found = {path for pattern in ("*", "lib/**/*", "tests/**/*") for path in folder.glob(pattern)}
    return sorted(path for path in found if path.name.endswith(CODE) and path.is_file())


def _repack(path: Path, left_out: LeftOut) -> None:
    """Write a zip file of code again, or remove it if it is damaged or too large.

    The sizes in its headers may be wrong, and zipfile would read as much as there is.
    """
    if not path.is_file():
        return
    size, contents = 0, {}
    try:
        with zipfile.ZipFile(str(path)) as archive:
            for info in archive.infolist():
                with archive.open(info) as file:
                    contents[info.filename] = file.read(LARGEST_CODE + 1)
                size += len(contents[info.filename])
                if len(contents[info.filename]) > LARGEST_CODE or size > LARGEST_CODE_SUM:
                    raise ValueError(f"larger than {LARGEST_CODE // 1024} KB")
        with zipfile.ZipFile(str(path), "w") as archive:
            for name, data in contents.items():
                archive.writestr(zipfile.ZipInfo(name), data)
    except Exception as error:
        path.unlink()
        left_out.unreadable(HANDED_OUT, error)


def _rewrite(path: Path) -> str:
    """Rewrite a module as UTF-8 with Unix line ends. Return "", or why Python cannot read it.

    `tests.scoring.edits.read` replaces bytes that are not UTF-8 and so could repair a file that the team cannot import.
    Such bytes become NUL, which Python cannot read either.
    """
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "is UTF-16"
    if b"\0" in data:
        return "contains NUL bytes"
    lines = re.sub(b"\r\n?", b"\n", data)
    bom = codecs.BOM_UTF8 if lines.startswith(codecs.BOM_UTF8) else b""
    # detect_encoding rejects undecodable bytes next to the declaration, but Python accepts them
    head = re.sub(b"[\x80-\xff]", b"?", b"\n".join(lines[len(bom):].split(b"\n", 2)[:2]))
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(bom + head).readline)
        text = lines.decode(encoding)
    except SyntaxError as error:
        return f"has no valid encoding ({error.msg})"
    except UnicodeDecodeError as error:
        text = lines.decode("utf-8-sig", errors="replace")
        if not _is_valid(data):
            path.write_bytes(text.replace("\ufffd", "\0").encode("utf-8"))
            return f"is not {encoding} (line {lines.count(10, 0, error.start) + 1})"
    if text.startswith("\ufeff"):
        return "begins with two byte-order marks"
    if not encoding.startswith("utf-8"):
        text = COOKIE.sub("coding: utf-8", text, count=1)
    path.write_bytes(text.encode("utf-8"))
    return ""


def _is_valid(source: bytes) -> bool:
    """Return whether Python can read a module. It ignores the encoding of comments."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(source)
    except Exception:
        return False
    return True
