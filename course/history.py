"""Read the git history of a submission without trusting it.

A repository can make git run programs, through its configuration and hooks, and read other folders, through
alternates. So git never sees the submission: only its objects and branches are copied, into a new bare repository.
"""
import os
import re
import stat
import subprocess
import tempfile
import threading
import zipfile
import zlib
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Callable, Dict, Iterator, List, Optional, Tuple

MB = 2 ** 20
LARGEST_SUM, MOST_FILES = 300 * MB, 20000
LARGEST_OUTPUT = 16 * MB                           # bytes that git may write at a time
TIMEOUT = 60                                        # seconds for one run of git
# What is copied. In particular, no configuration, no hooks and nothing from objects/info.
COPIED = re.compile(r"HEAD|packed-refs|shallow|refs/(heads|remotes)/.+|objects/[0-9a-f]{2}/[0-9a-f]{38}|"
                    r"objects/pack/pack-[0-9a-f]{40}\.(pack|idx)")
REF = re.compile(rb"(ref: refs/(?!.*\.\.)[^\s\\:?*\[^~]+|[0-9a-f]{40})\s*")  # the contents of a branch
Entry = Tuple[str, Callable[[], IO[bytes]]]
DAMAGE = (OSError, EOFError, RuntimeError, NotImplementedError, ValueError, zipfile.BadZipFile, zlib.error)


class HistoryError(ValueError):
    """The history cannot be read. The message is the reason."""


def unmerged(folder: Path) -> str:
    """Return a message if the branch dev has commits that are not in main, "" if not, or if that cannot be found out.

    Args:
        folder: a clone, a bare repository, or a zip file with one of the two. The branches of its remotes count too.
    """
    try:
        with _copy(folder) as repository:
            refs = repository.lines("for-each-ref", "--format=%(refname)")
            dev, main = ([ref for ref in refs if re.fullmatch(rf"refs/(heads|remotes/[^/]+)/{name}", ref)]
                         for name in ("dev", "main"))
            if not dev or not main:
                return ""
            trees = [set(repository.lines("rev-parse", *(f"{ref}^{{tree}}" for ref in some))) for some in (dev, main)]
            if trees[0] <= trees[1]:                # merged with --squash
                return ""
            number = int(repository.lines("rev-list", "--count", "--no-merges", *dev, "--not", *main)[0])
    except HistoryError:
        return ""
    if not number:
        return ""
    return f"the branch dev has {number} commit{'s that are' if number > 1 else ' that is'} not in main"


def last_commit(folder: Path) -> Optional[str]:
    """Return the committer's date of the last commit of HEAD in ISO 8601, None if there is none.

    Args:
        folder: as for `unmerged`.
    """
    try:
        with _copy(folder) as repository:
            return repository.lines("log", "--max-count=1", "--format=%cI", "HEAD")[0]
    except (HistoryError, IndexError):
        return None


def checkout(bare: Path, to: Path) -> List[str]:
    """Write the files of HEAD to a folder. Links are left out.

    Args:
        bare: as `folder` for `unmerged`.
        to: a folder that does not exist yet.

    Returns:
        A message for each file that is left out.

    Raises:
        HistoryError: this is no repository, it is damaged or too large, or HEAD has no commit.
        OSError: a file cannot be written.
    """
    left_out: List[str] = []
    with _copy(bare) as repository:
        files: Dict[str, str] = {}
        size = 0
        for line in repository.output("ls-tree", "-r", "-z", "-l", "--full-tree", "HEAD").split(b"\0")[:-1]:
            about, _, name = line.partition(b"\t")
            mode, _, sha, length = about.decode().split()
            path = os.fsdecode(name)
            if mode not in ("100644", "100755"):
                left_out.append(f"{path} is {'a link' if mode == '120000' else 'not a regular file'}")
            elif not _is_safe(path):
                left_out.append(f"{path} is no valid name")
            else:
                files[path] = sha
                size += int(length)
        if size > LARGEST_SUM or len(files) > MOST_FILES:
            raise HistoryError(f"more than {LARGEST_SUM // MB} MB or {MOST_FILES} files")
        to.mkdir(parents=True)
        for path, data in repository.contents(files):
            try:
                (to / path).parent.mkdir(parents=True, exist_ok=True)
                (to / path).write_bytes(data)
            except OSError as error:                # for example, names that differ only in case
                left_out.append(f"{path} cannot be written ({error.strerror})")
    return left_out


def _is_safe(path: str) -> bool:
    parts = re.split(r"[/\\]", path)
    return not any(part in ("", ".", "..") or part.lower() == ".git" for part in parts) and ":" not in parts[0]


class _Repository:
    """A bare repository that we have made; so its configuration is ours."""

    def __init__(self, scratch: Path) -> None:
        self.folder = scratch / "copy.git"
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        self.environment.update(
            HOME=str(scratch), XDG_CONFIG_HOME=str(scratch), GIT_CONFIG_NOSYSTEM="1", GIT_CONFIG_GLOBAL=os.devnull,
            GIT_ATTR_NOSYSTEM="1", GIT_NO_REPLACE_OBJECTS="1", GIT_ALLOW_PROTOCOL="", GIT_TERMINAL_PROMPT="0",
            GIT_ALLOC_LIMIT=str(LARGEST_SUM))
        self.output("init", "--quiet", "--bare", "--template=", str(self.folder))
        self.environment["GIT_DIR"] = str(self.folder)

    @contextmanager
    def run(self, *arguments: str, asked: bytes = b"") -> Iterator[IO[bytes]]:
        """Run git with an input; give its output as a file. Raises HistoryError."""
        with tempfile.TemporaryFile() as stdin:
            stdin.write(asked)
            stdin.seek(0)
            try:
                process = subprocess.Popen(["git", "--no-pager", *arguments], cwd=str(self.folder.parent), stdin=stdin,
                                           env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            except OSError:
                raise HistoryError("git cannot be run") from None
        assert process.stdout is not None
        timer = threading.Timer(TIMEOUT, process.kill)
        timer.start()
        try:
            with process.stdout:
                yield process.stdout
            if process.wait():
                raise HistoryError("the git repository is damaged or too large")
        finally:
            timer.cancel()
            process.kill()
            process.wait()

    def output(self, *arguments: str) -> bytes:
        """Return what git writes, which must not be too much. Raises HistoryError."""
        with self.run(*arguments) as stdout:
            data = stdout.read(LARGEST_OUTPUT + 1)
            if len(data) > LARGEST_OUTPUT:
                raise HistoryError("the git repository has too many files")
        return data

    def lines(self, *arguments: str) -> List[str]:
        """Return the lines that git writes. Raises HistoryError."""
        return os.fsdecode(self.output(*arguments)).splitlines()

    def contents(self, files: Dict[str, str]) -> Iterator[Tuple[str, bytes]]:
        """Yield the path and the bytes of each file, given the hashes by path. Raises HistoryError."""
        with self.run("cat-file", "--batch", asked="".join(f"{sha}\n" for sha in files.values()).encode()) as stdout:
            for path in files:
                _, kind, size = stdout.readline().split()
                data = stdout.read(int(size) + 1)[:-1]
                if kind != b"blob" or len(data) != int(size):
                    raise HistoryError("the git repository is damaged")
                yield path, data


@contextmanager
def _copy(folder: Path) -> Iterator[_Repository]:
    """Give a copy of the repository of a submission. Raises HistoryError."""
    with tempfile.TemporaryDirectory() as scratch:
        repository = _Repository(Path(scratch).resolve())
        found = False
        size = number = 0
        try:
            for name, open_entry in _in_folder(folder) if folder.is_dir() else _in_zip(folder):
                if not COPIED.fullmatch(name) or not _is_safe(name):
                    continue
                with open_entry() as file:
                    data = file.read(LARGEST_SUM - size + 1)
                size, number = size + len(data), number + 1
                if size > LARGEST_SUM or number > MOST_FILES:
                    raise HistoryError("the git repository is too large")
                if (name == "HEAD" or name.startswith("refs/")) and not REF.fullmatch(data):
                    continue
                found = found or name == "HEAD"
                (repository.folder / name).parent.mkdir(parents=True, exist_ok=True)
                (repository.folder / name).write_bytes(data)
        except HistoryError:
            raise
        except DAMAGE:
            raise HistoryError("the git repository cannot be read") from None
        if not found:
            raise HistoryError("no git repository")
        try:
            yield repository
        except ValueError as error:                 # what git writes is not what we expect
            raise error if isinstance(error, HistoryError) else HistoryError("the git repository is damaged") from None


def _in_folder(folder: Path) -> Iterator[Entry]:
    """Yield the regular files of a repository that is a folder or is in its .git. No link is followed."""
    for place in (folder / ".git", folder):
        if _mode(place / "HEAD") == stat.S_IFREG and _mode(place) == _mode(place / "objects") == stat.S_IFDIR:
            break
    else:
        return
    for name in ("HEAD", "packed-refs", "shallow"):
        if _mode(place / name) == stat.S_IFREG:
            yield name, partial(_open, place / name)
    for top in ("refs", "objects"):
        if _mode(place / top) == stat.S_IFDIR:
            for above, _, files in os.walk(str(place / top)):
                for last in files:
                    path = Path(above) / last
                    if _mode(path) == stat.S_IFREG:
                        yield path.relative_to(place).as_posix(), partial(_open, path)


def _mode(path: Path) -> int:
    """Return the type of a file, 0 if it does not exist."""
    try:
        return stat.S_IFMT(os.lstat(str(path)).st_mode)
    except OSError:
        return 0


def _open(path: Path) -> IO[bytes]:
    return open(os.open(str(path), os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)), "rb")


def _in_zip(path: Path) -> Iterator[Entry]:
    """Yield the regular files of the repository in a zip file, the least deeply nested one."""
    with zipfile.ZipFile(str(path)) as archive:
        infos = {info.filename: info for info in archive.infolist()}
        places = {name[:name.index("objects/")] for name in infos if re.search("(^|/)objects/", name)}
        for place in sorted(places, key=len):
            if place + "HEAD" in infos:
                break
        else:
            return
        for name, info in infos.items():
            is_regular = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG) and not info.is_dir()
            is_bounded = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
            if name.startswith(place) and is_regular and is_bounded:
                yield name[len(place):], partial(archive.open, info)
