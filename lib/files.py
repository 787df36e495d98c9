"""Files that the scripts write: whole or not at all, by one process a folder, and never over a file of somebody else.

A folder's record, written.jsonl, says which files our scripts have written for it, with their checksums. Only these are
ever replaced or removed. It has a line a file, [name, script, checksum]; the last line of a name counts. A file with
ANY as its checksum is ours whatever it holds: a checkpoint, or a file that a killed process may have left half-way.
"""
import hashlib
import json
import os
import re
import weakref
from contextlib import contextmanager
from pathlib import Path
from typing import Dict, Iterator, List, Sequence, Tuple, Union

from lib.script import RunError, UserError

RECORD, ANY = "written.jsonl", "any"


def part_of(path: Union[str, Path]) -> Path:
    """Return where this process writes a file before it is whole."""
    return Path(f"{path}.{os.getpid()}.part")


@contextmanager
def whole_file(path: Union[str, Path]) -> Iterator[Path]:
    """Yield a place beside a file; rename what is written there to the file, or remove it if that fails.

    Raises:
        RunError: the file cannot be written. One that was there before is kept.
    """
    part = part_of(path)
    try:
        _remove(part)
        yield part
        os.replace(part, path)
    except (OSError, RunError) as error:
        _remove(part)
        kept = ". What was there before is kept" if Path(path).is_file() else ""
        raise RunError(f"{path} could not be written: {getattr(error, 'strerror', None) or error}{kept}")


def write_file(path: Union[str, Path], data: bytes) -> None:
    """Write a file whole or not at all: beside its place first, then renamed. Raises RunError."""
    with whole_file(path) as part:
        with open(part, "xb") as file:              # x: whatever is there must not be followed, if it is a link
            file.write(data)
            file.flush()
            os.fsync(file.fileno())                 # before the rename: a power cut must not leave an empty file


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except OSError:
        pass


def _checksum(path: Path) -> str:
    """Return the checksum of a file, or "" if there is no regular one (the scripts never make a link)."""
    try:
        is_ours = path.is_file() and not path.is_symlink()
        return hashlib.sha256(path.read_bytes()).hexdigest() if is_ours else ""
    except OSError:
        return ""


class _Lock:
    """A lock that the system takes back when its holder ends, however that happens."""

    def __init__(self, folder: Path) -> None:
        try:
            import fcntl
        except ImportError:                         # Windows, which cannot lock a folder
            import msvcrt
            self.handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)
            msvcrt.locking(self.handle, msvcrt.LK_NBLCK, 1)
            return
        try:
            self.handle = os.open(folder, os.O_RDONLY)
            fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:                    # others: a file system without locks
            if isinstance(error, BlockingIOError):
                raise

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            os.close(self.handle)


_locks: "weakref.WeakValueDictionary[str, _Lock]" = weakref.WeakValueDictionary()    # of this process


class Folder:
    """A folder that a script writes to, with its record.

    Args:
        path: the folder; it need not exist yet.
        script: who writes. What one script has written, another one does not replace.
        old: the script's files, if the folder is older than records and has none.
    """

    def __init__(self, path: Union[str, Path], script: str, old: Sequence[Path] = ()) -> None:
        self.path, self.script, self.old, self._lock = Path(path), script, old, None

    def lock(self) -> None:
        """Keep other processes away from an existing folder, until `unlock` or the end of this process.

        Raises:
            UserError: another process is at work there.
        """
        key = os.path.realpath(self.path)
        try:
            self._lock = _locks.get(key) or _Lock(self.path)
        except (BlockingIOError, PermissionError):  # PermissionError is what Windows raises
            raise UserError(f"another process is training in {self.path}: wait until it ends, or name another folder "
                            "with --output_dir")
        _locks[key] = self._lock

    def unlock(self) -> None:
        self._lock = None

    def name_of(self, path: Union[str, Path]) -> str:
        """Return a path as the record has it: relative to the folder, also for files outside it."""
        try:
            return Path(os.path.relpath(path, self.path)).as_posix()
        except ValueError:                          # another drive of Windows
            return Path(path).absolute().as_posix()

    def place_of(self, name: str) -> Path:
        """Return the path of a name in the record, by its text alone, as `name_of` made it: a link may be in it."""
        return Path(os.path.normpath(self.path / name))

    def entries(self) -> Dict[str, Tuple[str, str]]:
        """Return (script, checksum) of each name in the record."""
        try:
            lines = (self.path / RECORD).read_text(encoding="utf-8").splitlines()
        except OSError:
            return {self.name_of(path): (self.script, _checksum(path)) for path in self.old}
        entries = {}
        for line in lines:
            try:
                name, script, checksum = json.loads(line)
                entries[name] = str(script), str(checksum)
            except (ValueError, TypeError):         # cut short by a kill
                continue
        return entries

    def is_ours(self, path: Union[str, Path], by_any_script: bool = False) -> bool:
        """Return whether a file is as one of our scripts has left it (this one, if not any of them)."""
        script, checksum = self.entries().get(self.name_of(path), ("", ""))
        found = _checksum(Path(path))
        return bool(found) and checksum in (found, ANY) and (by_any_script or script == self.script)

    def foreign(self, paths: Sequence[Path], by_any_script: bool = False) -> str:
        """Return what is wrong with writing to these paths, "" if none of them holds what this script did not write."""
        for path in paths:
            if os.path.lexists(path) and not self.is_ours(path, by_any_script):
                return f"{path} exists, and was not written by this run: move it, or choose another --output_dir"
        return ""

    def note(self, path: Union[str, Path], checksum: str) -> None:
        """Add a line to the record."""
        record, lines = self.path / RECORD, [[self.name_of(path), self.script, checksum]]
        if not record.exists():
            lines = [[name, *entry] for name, entry in self.entries().items()] + lines
        try:
            is_cut = record.exists() and not record.read_bytes().endswith(b"\n")    # a kill came in the last line
            with open(record, "a", encoding="utf-8") as file:
                file.write("\n" * is_cut + "".join(f"{json.dumps(line)}\n" for line in lines))
        except OSError as error:
            raise RunError(f"{record} could not be written: {error.strerror or error}")

    @contextmanager
    def writing(self, path: Union[str, Path]) -> Iterator[Path]:
        """Yield a path to write to, and keep the record.

        Args:
            path: of the file, which may lie outside the folder.

        Raises:
            RunError: something that this script did not write is there.
        """
        path = Path(path)
        problem = self.foreign([path])
        if problem:
            raise RunError(problem)
        self.note(path, ANY)                        # first: a kill must not leave a file that nobody knows
        try:
            yield path
        finally:
            self.note(path, _checksum(path))

    def remove_ours(self) -> None:
        """Remove all files that our scripts have written for this folder, and nothing else."""
        self.remove_parts()
        for name in self.entries():
            if self.is_ours(self.place_of(name), by_any_script=True):
                _remove(self.place_of(name))
        _remove(self.path / RECORD)

    def remove_parts(self) -> None:
        """Remove what killed processes have left half-written."""
        for name in [*self.entries(), RECORD]:
            place = self.place_of(name)
            for path in place.parent.glob("*.part"):
                if re.fullmatch(re.escape(place.name) + r"\.\d+\.part", path.name):
                    _remove(path)

    def tidy(self) -> None:
        """Write the record anew, sorted, with the files that are there: equal runs end with equal records."""
        lines: List[List[str]] = sorted([name, *entry] for name, entry in self.entries().items()
                                        if self.is_ours(self.place_of(name), by_any_script=True))
        write_file(self.path / RECORD, "".join(f"{json.dumps(line)}\n" for line in lines).encode())
