"""Unpack a submission, whatever its format, into a folder of plain files that is safe to read.

Only files that grading reads are copied, and only regular files: no links, pipes or devices, no paths that lead out of
an archive, no data, environments or history. So neither a link nor an archive bomb can do harm.
"""
import bz2
import gzip
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from functools import partial
from pathlib import Path
from typing import IO, Any, Callable, ContextManager, Dict, Iterator, List, Optional, Tuple, cast

from tests.scoring.edits import CODE
from tests.scoring.report import in_one_line

MB = 2 ** 20
LARGEST_CODE, LARGEST_SUM = MB, 300 * MB            # bytes of one code file, and of all files
MOST_FILES = 20000
DEPTH = 3                                           # how deep archives may be nested
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
IGNORED = {"__MACOSX", "__pycache__", "site-packages", "node_modules"}
Entry = Tuple[str, Callable[[], Optional[IO[bytes]]]]  # a name, and a function that opens the file
DAMAGE = (OSError, EOFError, RuntimeError, NotImplementedError, ValueError, zipfile.BadZipFile, tarfile.TarError,
          zlib.error, lzma.LZMAError)


class HandInError(ValueError):
    """A submission cannot be graded. The message is the reason."""


def collect(path: Path, scratch: Path) -> Tuple[Path, List[str]]:
    """Copy a submission: a folder, or an archive, which may contain other archives.

    Args:
        scratch: a folder that does not exist yet.

    Returns:
        The folder in scratch that contains lib, and a message for each file that was left out.

    Raises:
        HandInError: the submission does not contain the exercise, or is too large.
    """
    left_out: List[str] = []
    copied = [0, 0]                                 # number of bytes and of files
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
        if not is_folder and not stat.S_ISREG(path.stat().st_mode):
            raise HandInError("neither a folder nor a file")
        if is_folder:
            os.listdir(str(path))
    except OSError as error:
        words = "a broken link" if path.is_symlink() else "no such file or folder"
        raise HandInError(words if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
                          ) from None
    scratch.mkdir()
    _copy(_in_folder(path, left_out) if is_folder else _in_archive(path, left_out), scratch, copied, left_out)
    for _ in range(DEPTH):
        if _exercises(scratch):
            break
        for archive in sorted(found for found in scratch.rglob("*") if found.is_file() and _is_archive(found.name)):
            try:
                _copy(_in_archive(archive, left_out), archive.with_name(archive.name + " unpacked"), copied, left_out)
            except HandInError as error:
                if copied[0] > LARGEST_SUM or copied[1] > MOST_FILES:
                    raise
                left_out.append(f"{archive.name}: {error}")
            archive.unlink()
    return _the_exercise(scratch, path, left_out), [in_one_line(words) for words in left_out]


def _is_archive(name: str) -> bool:
    return name.lower().endswith(ARCHIVES)


def _is_wanted(name: str) -> bool:
    """Return whether grading, or the search for the exercise, reads a file with this name, a posix path."""
    *folders, last = name.split("/")
    ignored = any(part.startswith(".") and part != ".github" or part in IGNORED for part in folders)
    return not ignored and not last.startswith("._") and (
        last.endswith(CODE) or last == "feedback.md" or last.lower().endswith(".pdf")
        or last.lower().startswith("submission") or _is_archive(last))


def _in_folder(folder: Path, left_out: List[str]) -> Iterator[Entry]:
    """Yield the wanted files of a folder."""
    def note(error: OSError) -> None:
        left_out.append(f"{os.path.relpath(error.filename, str(folder))} cannot be read ({error.strerror})")

    for place, folders, files in os.walk(str(folder), onerror=note):
        above = Path(place).relative_to(folder).as_posix()
        names = {last: last if above == "." else f"{above}/{last}" for last in sorted(folders) + sorted(files)}
        left_out += [f"{names[last]} is a link" for last in folders
                     if last in ("lib", "tests") and os.path.islink(os.path.join(place, last))]
        folders[:] = [last for last in sorted(folders) if _is_wanted(f"{names[last]}/x.py")]
        for last in sorted(files):
            path = os.path.join(place, last)
            if _is_wanted(names[last]) and _is_regular(names[last], os.lstat(path).st_mode, left_out):
                yield names[last], _opener(path)


def _opener(path: str) -> Callable[[], IO[bytes]]:
    return lambda: open(path, "rb")


def _in_archive(path: Path, left_out: List[str]) -> Iterator[Entry]:
    """Yield the wanted files of a zip or tar file. Raises HandInError."""
    with open(str(path), "rb") as file:
        start = file.read(6)
    if not start:
        raise HandInError("an empty file")
    if start in (b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07"):
        raise HandInError("a 7-Zip or RAR archive; use zip or tar.gz")
    try:
        if zipfile.is_zipfile(str(path)):
            packed = zipfile.ZipFile(str(path))
            archive: ContextManager[Any] = packed
            entries = _in_zip(packed, left_out)
        else:
            unpack: Dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}
            bounded = Bounded(unpack.get(start[:2], open)(str(path), "rb"))
            archive = tar = tarfile.open(fileobj=cast(IO[bytes], bounded), mode="r:")
            entries = _in_tar(tar, left_out)
    except DAMAGE:
        damaged = start[:2] in (b"PK", b"\x1f\x8b", b"BZ", b"\xfd7") or _is_archive(path.name)
        raise HandInError("a damaged archive" if damaged else "a single file, not a folder or an archive") from None
    with archive:
        yield from entries


class Bounded:
    """A file that refuses large reads: tarfile reads the name of an entry into memory, however long it is."""

    def __init__(self, file: IO[bytes]) -> None:
        self.seek, self.tell, self.close, self._read = file.seek, file.tell, file.close, file.read

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MB:
            raise ValueError("read too large")
        return self._read(size)


def _in_zip(archive: zipfile.ZipFile, left_out: List[str]) -> Iterator[Entry]:
    for info in archive.infolist():
        name = _inside(info.filename, left_out)
        mode = info.external_attr >> 16
        if name and not info.is_dir() and _is_regular(name, mode if stat.S_IFMT(mode) else stat.S_IFREG, left_out):
            yield name, partial(archive.open, info)


def _in_tar(archive: tarfile.TarFile, left_out: List[str]) -> Iterator[Entry]:
    size = 0
    while True:
        try:
            info = archive.next()
        except DAMAGE:
            left_out.append("the archive is damaged; the rest of it")
            return
        if info is None:
            return
        size += info.size
        if size > 10 * LARGEST_SUM:                 # tarfile unpacks everything, wanted or not
            raise HandInError(f"unpacks to more than {10 * LARGEST_SUM // MB} MB")
        name = _inside(info.name, left_out)
        mode = stat.S_IFREG if info.isreg() else stat.S_IFIFO
        if info.issym() or info.islnk():
            mode = stat.S_IFLNK
        if name and not info.isdir() and _is_regular(name, mode, left_out):
            yield name, partial(archive.extractfile, info)


def _inside(name: str, left_out: List[str]) -> str:
    """Return the name of a file in an archive as a posix path, "" if it is not wanted or leads out of the archive."""
    name = name.replace("\\", "/")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    clean = "/".join(part for part in parts if part != "..")
    if not clean or not _is_wanted(clean):
        return ""
    if name.startswith("/") or ".." in parts or ":" in parts[0]:
        left_out.append(f"{name} points outside the archive")
        return ""
    return clean


def _is_regular(name: str, mode: int, left_out: List[str]) -> bool:
    if not stat.S_ISREG(mode):
        left_out.append(f"{name} is {'a link' if stat.S_ISLNK(mode) else 'not a regular file'}")
    return stat.S_ISREG(mode)


def _copy(entries: Iterator[Entry], to: Path, copied: List[int], left_out: List[str]) -> None:
    """Write files into a folder. Raises HandInError as soon as there are too many or they are too large."""
    for name, open_entry in entries:
        target, size = to / name, 0
        limit = LARGEST_CODE if name.endswith(CODE) else LARGEST_SUM
        copied[1] += 1
        if copied[1] > MOST_FILES:
            raise HandInError(f"more than {MOST_FILES} files")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            opened = open_entry()
            if opened is None:
                raise ValueError("not a regular file")
            with opened as source, open(str(target), "wb") as file:
                for block in iter(partial(source.read, MB), b""):
                    size += len(block)
                    copied[0] += len(block)
                    if copied[0] > LARGEST_SUM:
                        raise HandInError(f"more than {LARGEST_SUM // MB} MB, not counting data and environments")
                    if size > limit:
                        raise ValueError(f"larger than {limit // MB} MB")
                    file.write(block)
        except HandInError:
            raise
        except DAMAGE as error:
            left_out.append(f"{name} cannot be read ({getattr(error, 'strerror', None) or error})")
            if target.is_file():
                target.unlink()


def _exercises(folder: Path) -> List[Path]:
    """Return the folders that contain a lib with code, of those only the least deeply nested."""
    found = [path.parent for path in folder.rglob("lib") if any(path.glob("*.py"))]
    least = min((len(path.parts) for path in found), default=0)
    return sorted(path for path in found if len(path.parts) == least)


def _the_exercise(scratch: Path, path: Path, left_out: List[str]) -> Path:
    """Return the folder of the only exercise. Raises HandInError with the reason if there is none."""
    found = _exercises(scratch)
    if len(found) == 1:
        return found[0]
    if found:
        names = [place.relative_to(scratch).as_posix() for place in found]
        raise HandInError(f"contains {len(found)} exercises: {', '.join(names[:3])}")
    if path.is_dir() and not any(path.iterdir()):
        raise HandInError("an empty folder")
    if path.is_dir() and all((path / name).exists() for name in ("HEAD", "objects", "refs")):
        raise HandInError("a bare git repository: clone it and grade the clone")
    loose = [name for name in ("model_vae.py", "loss_vae.py", "utils.py") if any(scratch.rglob(name))]
    more = [f"{loose[0]} is not in a folder named lib"] if loose else []
    raise HandInError("; ".join(["does not contain the exercise: no lib folder"] + more + left_out[:2]))
