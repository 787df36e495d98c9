"""Writing files: whole or not at all, one process per folder, and never over files that somebody else wrote.

A folder's record, written.jsonl, lists the files that our scripts have written for this folder, with their checksums.
The scripts replace or remove only these. Each line is [name, script, checksum]; the last line of a name counts. With
the checksum ANY a file is ours whatever its content: a checkpoint, or a file that a killed process may have left
incomplete.
"""
import csv
import hashlib
import io
import json
import os
import re
import weakref
from contextlib import contextmanager
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Tuple, Union

from lib.script import RunError, UserError

RECORD, ANY = "written.jsonl", "any"


def part_path(path: Union[str, Path]) -> Path:
    """Return where this process writes a file until it is complete."""
    return Path(f"{path}.{os.getpid()}.part")


@contextmanager
def whole_file(path: Union[str, Path]) -> Iterator[Path]:
    """Yield a temporary path next to a file; afterwards rename it to the file, or remove it if anything failed.

    Raises:
        RunError: the file cannot be written. An existing file is left unchanged.
    """
    part = part_path(path)
    try:
        _remove(part)
        yield part
        os.replace(part, path)
    except (OSError, RunError) as error:
        _remove(part)
        kept = ". The existing file is unchanged" if Path(path).is_file() else ""
        raise RunError(f"{path} could not be written: {getattr(error, 'strerror', None) or error}{kept}") from error


def write_file(path: Union[str, Path], data: bytes) -> None:
    """Write a file whole or not at all. Raises RunError."""
    with whole_file(path) as part:
        with open(part, "xb") as file:              # x: do not follow a link that has this name
            file.write(data)
            file.flush()
            os.fsync(file.fileno())                 # before the rename: a power failure must not leave an empty file


def write_csv(path: Union[str, Path], rows: Sequence[Dict[str, float]]) -> None:
    """Write rows of numbers as CSV; a number that a row lacks is an empty cell. Raises RunError."""
    text = io.StringIO()
    if rows:
        names = list(dict.fromkeys(name for row in rows for name in row))
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in rows)
    write_file(path, text.getvalue().encode())


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except OSError:
        pass


def _checksum(path: Path) -> str:
    """Return the checksum of a file, or "" if it is not a regular file (the scripts never create links)."""
    try:
        is_ours = path.is_file() and not path.is_symlink()
        return hashlib.sha256(path.read_bytes()).hexdigest() if is_ours else ""
    except OSError:
        return ""


class _Lock:
    """A lock on a folder, which the system releases when the process ends, even if it is killed."""

    def __init__(self, folder: Path) -> None:
        try:
            import fcntl
        except ImportError:                         # Windows, which cannot lock a folder
            import msvcrt
            self.handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)
            msvcrt.locking(self.handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
            return
        try:
            self.handle = os.open(folder, os.O_RDONLY)
            fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:                    # other errors: a file system without locks
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
        script: name of the script. A script does not replace what another one has written.
        old: files to count as the script's if there is no record (runs from before records have none).
    """

    def __init__(self, path: Union[str, Path], script: str, old: Sequence[Path] = ()) -> None:
        self.path, self.script, self.old = Path(path), script, old
        self._lock: Optional[_Lock] = None

    def lock(self) -> None:
        """Lock an existing folder against other processes, until `unlock` or the end of this process.

        Raises:
            UserError: another process has locked it.
        """
        key = os.path.realpath(self.path)
        try:
            self._lock = _locks.get(key) or _Lock(self.path)
        except (BlockingIOError, PermissionError):  # Windows raises PermissionError
            raise UserError(f"another process is training in {self.path}: wait until it ends, or choose another folder "
                            "with --output_dir") from None
        _locks[key] = self._lock

    def unlock(self) -> None:
        """Let other processes use the folder."""
        self._lock = None

    def name_of(self, path: Union[str, Path]) -> str:
        """Return the name of a path in the record: relative to the folder, even for files outside it."""
        try:
            return Path(os.path.relpath(path, self.path)).as_posix()
        except ValueError:                          # on another drive of Windows
            return Path(path).absolute().as_posix()

    def place_of(self, name: str) -> Path:
        """Return the path of a name in the record. Like `name_of`, it does not resolve links."""
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
            except (ValueError, TypeError):         # truncated when a process was killed
                continue
        return entries

    def is_ours(self, path: Union[str, Path], by_any_script: bool = False) -> bool:
        """Return whether a file is unchanged since this script (or any of our scripts) wrote it."""
        script, checksum = self.entries().get(self.name_of(path), ("", ""))
        found = _checksum(Path(path))
        return bool(found) and checksum in (found, ANY) and (by_any_script or script == self.script)

    def foreign(self, paths: Sequence[Path], by_any_script: bool = False) -> str:
        """Return an error message if one of these paths exists and this script did not write it, otherwise ""."""
        for path in paths:
            if os.path.lexists(path) and not self.is_ours(path, by_any_script):
                return f"{path} exists, but this run did not write it: move it, or choose another --output_dir"
        return ""

    def note(self, path: Union[str, Path], checksum: str) -> None:
        """Add a line to the record. Raises RunError."""
        record, lines = self.path / RECORD, [[self.name_of(path), self.script, checksum]]
        if not record.exists():
            lines = [[name, *entry] for name, entry in self.entries().items()] + lines
        try:
            is_cut = record.exists() and not record.read_bytes().endswith(b"\n")    # truncated, see `entries`
            with open(record, "a", encoding="utf-8") as file:
                file.write("\n" * is_cut + "".join(f"{json.dumps(line)}\n" for line in lines))
        except OSError as error:
            raise RunError(f"{record} could not be written: {error.strerror or error}") from error

    @contextmanager
    def writing(self, path: Union[str, Path]) -> Iterator[Path]:
        """Yield a path to write to, and update the record.

        Args:
            path: the file, which may be outside the folder.

        Raises:
            RunError: the path exists, and this script did not write it.
        """
        path = Path(path)
        problem = self.foreign([path])
        if problem:
            raise RunError(problem)
        self.note(path, ANY)                        # first: a killed process must not leave an unrecorded file
        try:
            yield path
        finally:
            self.note(path, _checksum(path))

    def remove_ours(self) -> None:
        """Remove all files that our scripts have written for this folder, and only these."""
        self.remove_parts()
        for name in self.entries():
            if self.is_ours(self.place_of(name), by_any_script=True):
                _remove(self.place_of(name))
        _remove(self.path / RECORD)

    def remove_parts(self) -> None:
        """Remove incomplete files that killed processes have left."""
        for name in [*self.entries(), RECORD]:
            place = self.place_of(name)
            for path in place.parent.glob("*.part"):
                if re.fullmatch(re.escape(place.name) + r"\.\d+\.part", path.name):
                    _remove(path)

    def tidy(self) -> None:
        """Rewrite the record, sorted and with only the files that exist, so that equal runs end with equal records."""
        lines: List[List[str]] = sorted([name, *entry] for name, entry in self.entries().items()
                                        if self.is_ours(self.place_of(name), by_any_script=True))
        write_file(self.path / RECORD, "".join(f"{json.dumps(line)}\n" for line in lines).encode())
