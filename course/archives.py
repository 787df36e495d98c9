"""Read the names and files of zip and tar archives safely. Nothing is unpacked except the files that grading reads.

An archive may be damaged or hostile: its names may lead out of the folder, and a few bytes may unpack to terabytes.
"""
import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
from collections import Counter
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import IO, Any, Callable, Dict, Iterator, List, Tuple, cast

from tests.scoring.edits import CODE
from tests.scoring.report import in_one_line

MB = 2 ** 20
MOST_SEEN = 100000                                  # files and folders in a submission, wanted or not
LARGEST_TAR = 600 * MB                              # what a tar file unpacks to: it has to be read from end to end
LARGEST_READ = 8 * MB                               # at once: about 80,000 names of a zip file
DEEPEST = 30                                        # folders in folders
MOST_TOLD, LONGEST_NAME, LONGEST = 20, 150, 300     # messages of a kind; characters of a name and of a message
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".7z", ".rar")
NOTEBOOK = ".ipynb"
IGNORED = {"__MACOSX", "__pycache__", "site-packages", "node_modules"}
Entry = Tuple[str, Callable[[], Any]]               # a name, and a function that opens the file


class HandInError(ValueError):
    """A submission cannot be graded. The message is the reason, in one line."""

    def __init__(self, reason: str) -> None:
        super().__init__(in_one_line(reason)[:LONGEST])


class LeftOut:
    """What was left out of a submission: the first files of each kind, and the number of the others."""

    def __init__(self) -> None:
        self._told: Dict[str, List[str]] = {}
        self._count: Dict[str, int] = Counter()

    def add(self, kind: str, name: str, words: str) -> None:
        """Note a file.

        Args:
            kind: what is counted if there are many, a noun in the plural.
            words: what is said about the name.
        """
        self._count[kind] += 1
        if self._count[kind] <= MOST_TOLD:
            self._told.setdefault(kind, []).append(in_one_line(f"{shorten(name)} {words}")[:LONGEST])

    def unreadable(self, name: str, error: Exception) -> None:
        """Note a file that cannot be read."""
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        self.add("files that cannot be read", name, f"cannot be read ({reason})")

    def link(self, name: str) -> None:
        """Note a symbolic or hard link."""
        self.add("links", name, "is a link")

    def messages(self) -> List[str]:
        """Return the messages, kind by kind."""
        return [line for kind, told in self._told.items() for line in told + (
            [f"and {self._count[kind] - MOST_TOLD} more {kind}"] if self._count[kind] > MOST_TOLD else [])]


def shorten(name: str) -> str:
    """Return a name without its middle if it is too long for a message."""
    half = LONGEST_NAME // 2
    return name if len(name) <= LONGEST_NAME else f"{name[:half]}...{name[-half:]}"


def is_archive(name: str) -> bool:
    """Return whether a file is an archive, by its name."""
    return name.lower().endswith(ARCHIVES)


def is_ignored(name: str) -> bool:
    """Return whether a path leads through a folder that is never read, such as .git."""
    return any(part.startswith(".") and part != ".github" or part in IGNORED for part in name.split("/")[:-1])


def is_wanted(name: str) -> bool:
    """Return whether grading, or the search for the exercise, reads a file with this name, a posix path."""
    last = name.split("/")[-1]
    return not is_ignored(name) and not last.startswith("._") and (
        last.endswith(CODE + (NOTEBOOK,)) or last == "feedback.md" or last.lower().endswith(".pdf")
        or last.lower().startswith("submission") or is_archive(last))


def in_archive(path: Path, left_out: LeftOut) -> Iterator[Entry]:
    """Yield the wanted files of a zip or tar file. Raises HandInError and OSError."""
    with open(str(path), "rb") as file:
        start = file.read(6)
    if not start:
        raise HandInError("an empty file")
    if start in (b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07"):
        raise HandInError("a 7-Zip or RAR archive; use zip or tar.gz")
    unpack: Dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}
    is_zip = start.startswith(b"PK")                # is_zipfile also finds a zip file at the end of a tar file
    with closing(unpack.get(start[:2], open)(str(path), "rb")) as file:
        bounded = cast(IO[bytes], Bounded(file))
        try:
            if is_zip:
                entries = _in_zip(zipfile.ZipFile(bounded), left_out)
            else:
                entries = _in_tar(tarfile.open(fileobj=bounded, mode="r:"), left_out)
        except HandInError:
            raise
        except Exception:                           # zipfile and tarfile raise almost anything about damaged files
            damaged = is_zip or start[:2] in unpack or is_archive(path.name)
            raise HandInError("a damaged archive" if damaged else "a single file, not a folder or an archive") from None
        yield from entries


class Bounded:
    """A file that refuses large reads: zipfile and tarfile read all names, or a long name, into memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self.seek, self.tell, self.close, self.seekable, self._read = (file.seek, file.tell, file.close, file.seekable,
                                                                       file.read)

    def read(self, size: int = -1) -> bytes:
        """Read some bytes. Raises HandInError if there are too many of them."""
        data = self._read(size if 0 <= size <= LARGEST_READ else LARGEST_READ + 1)
        if len(data) > LARGEST_READ:
            raise HandInError("an archive with too many or too long names, or a damaged one")
        return data


def _in_zip(archive: zipfile.ZipFile, left_out: LeftOut) -> Iterator[Entry]:
    infos = archive.infolist()
    if len(infos) > MOST_SEEN:
        raise HandInError(f"more than {MOST_SEEN} files, wanted or not")
    if infos and all(info.header_offset for info in infos):
        raise HandInError("a damaged archive")      # cut off, and this is the end of a zip file inside it
    for info in infos:
        mode = info.external_attr >> 16
        kind = stat.S_IFMT(mode) or (stat.S_IFDIR if info.filename.endswith(("/", "\\")) else stat.S_IFREG)
        name = _inside(info.filename, kind, left_out)
        if name and info.flag_bits & 1:
            raise HandInError("an encrypted archive; it has to be packed without a password")
        if name:
            yield name, partial(archive.open, info)


def _in_tar(archive: tarfile.TarFile, left_out: LeftOut) -> Iterator[Entry]:
    seen = size = 0
    while True:
        try:
            info = archive.next()
        except Exception:
            left_out.add("damaged archives", "the archive", "is damaged; the rest of it cannot be read")
            return
        if info is None:
            return
        cast(Any, archive).members = []             # tarfile keeps all of them otherwise
        seen += 1
        size += info.size
        if seen > MOST_SEEN:
            raise HandInError(f"more than {MOST_SEEN} files, wanted or not")
        if size > LARGEST_TAR:
            raise HandInError(f"unpacks to more than {LARGEST_TAR // MB} MB")
        kinds = [(info.isdir(), stat.S_IFDIR), (info.issym() or info.islnk(), stat.S_IFLNK),
                 (info.isreg(), stat.S_IFREG), (True, stat.S_IFIFO)]
        name = _inside(info.name, next(kind for is_kind, kind in kinds if is_kind), left_out)
        if name:
            yield name, partial(archive.extractfile, info)


def _inside(name: str, kind: int, left_out: LeftOut) -> str:
    """Return the name of a regular file in an archive as a posix path, or "" if it is not read.

    Args:
        kind: the kind of file, as in `stat.S_IFMT`.
    """
    name = name.replace("\\", "/")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    clean = "/".join(part for part in parts if part != "..")
    if not clean or kind == stat.S_IFDIR or not (is_wanted(clean) or kind == stat.S_IFLNK and not is_ignored(clean)):
        return ""
    if name.startswith("/") or ".." in parts or ":" in parts[0]:
        left_out.add("files outside the archive", name, "points outside the archive")
    elif len(parts) > DEEPEST:
        left_out.add("folders nested too deeply", name, "is nested too deeply")
    elif kind == stat.S_IFLNK:
        left_out.link(clean)
    elif kind != stat.S_IFREG:
        left_out.add("files that are not regular", clean, "is not a regular file")
    else:
        return clean
    return ""
