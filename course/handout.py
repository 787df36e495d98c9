"""Cut the student edition out of the reference solution: python -m course.handout DIR

A handout in which students have begun to work gets a new edition by python -m course.handout --update DIR
"""
import argparse
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple, Union

from course.gaps import Gap, MarkerError, cut, read_source, split
from tests.scoring.edits import CODE, HANDED_OUT, compare, gap_lines, handed_out, outside_gaps, split_lines

TEACHER_ONLY = ("course/", "benchmarks/", ".ci/", ".github/")
FOR_STUDENTS = "course/student/"  # the exception: goes into the handout, without this prefix
SUMS = "SHA256SUMS"  # of all files, in tests/handout.zip


class FolderError(ValueError):
    """The handout cannot be written to the folder that was named."""


def _tracked_files(root: Path) -> List[str]:
    try:
        git = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except FileNotFoundError:
        raise RuntimeError("git is not installed; it knows which files belong to the project") from None
    if git.returncode:
        reason = os.fsdecode(git.stderr).strip().split("\n")[0]
        raise RuntimeError(f"{root} is not a git checkout that can be read ({reason})")
    return sorted(set(os.fsdecode(git.stdout).split("\0")) - {""})


def student_files(root: Union[str, Path]) -> List[str]:
    """The tracked files that go into the handout, as posix paths from `root`; RuntimeError where git has none."""
    files = [name for name in _tracked_files(Path(root))
             if name.startswith(FOR_STUDENTS) or not name.startswith(TEACHER_ONLY)]
    if not files:
        raise RuntimeError(f"git tracks no file in {root} that students get")
    return files


def handout_path(name: str) -> str:
    """Where a file of the project stands in the handout."""
    return name[len(FOR_STUDENTS):] if name.startswith(FOR_STUDENTS) else name


def find_gaps(root: Union[str, Path]) -> List[Gap]:
    """All gaps of the project, file by file. Raises MarkerError and RuntimeError."""
    return [piece for name in student_files(root) if name.endswith(".py")
            for piece in split(name, read_source(root, name)) if isinstance(piece, Gap)]


def edition(root: Union[str, Path], keep: Sequence[str] = ()) -> Dict[str, Tuple[int, bytes]]:
    """The student edition: for each file's path its permission to be executed, and its bytes.

    Args:
        root: the project, a git checkout: what is tracked counts, as it is in the working tree.
        keep: numbers of tasks, like "1.1", whose gaps stay solved.

    Raises:
        MarkerError: the markers of a file do not make gaps.
        RuntimeError: there is no git or no checkout.
        OSError: a file cannot be read.
    """
    root = Path(root)
    contents: Dict[str, Tuple[int, bytes]] = {}
    unfilled: Dict[str, bytes] = {}
    for name in student_files(root):
        path = handout_path(name)
        if path in contents:
            raise RuntimeError(f"{path} and {FOR_STUDENTS}{path} would be one file")
        if name.endswith(".py"):
            text = read_source(root, name)
            data, unfilled[path] = cut(name, text, keep).encode(), cut(name, text).encode()
        else:
            data = unfilled[path] = (root / name).read_bytes()
        contents[path] = (root / name).stat().st_mode & 0o111, data
    contents[HANDED_OUT] = 0, _pack(unfilled)
    return contents


def _pack(files: Dict[str, bytes]) -> bytes:
    """tests/handout.zip: the code as it is handed out, and the sums of all files."""
    sums = "".join(f"{_sum(data)}  {name}\n" for name, data in files.items())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in {SUMS: sums.encode(), **files}.items():
            if name == SUMS or name.endswith(CODE):
                file.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)  # dated 1980: equal files, equal bytes
    return buffer.getvalue()


def _sum(data: bytes) -> str:
    return hashlib.sha256(data.replace(b"\r\n", b"\n")).hexdigest()  # git may have changed the line ends


def write(root: Union[str, Path], folder: Union[str, Path], keep: Sequence[str] = ()) -> List[str]:
    """Write the student edition, without history.

    All files are read and cut before the first is written; a handout that cannot be finished is removed again.

    Args:
        root, keep: as for `edition`.
        folder: where to; a new or empty folder.

    Returns:
        The files' paths in the handout.

    Raises:
        FolderError: the folder is not empty, cannot be made or belongs to the project.
        MarkerError, RuntimeError, OSError: as for `edition`, or a file cannot be written.
    """
    root, folder = Path(root), Path(folder)
    where = folder.resolve()
    if where.is_dir() and any(where.iterdir()):
        raise FolderError(f"{folder} is not empty; name a folder that is new or empty (--update is for a handout)")
    if root.resolve() in where.parents:
        top = where.relative_to(root.resolve()).parts[0]
        if top in [".git"] + [name.split("/")[0] for name in _tracked_files(root)]:
            raise FolderError(f"{folder} is in {top}/, which belongs to the project; name a folder elsewhere")
    contents = edition(root, keep)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FolderError(f"{folder} cannot be made ({error.strerror}); name another folder") from None
    if not os.access(str(folder), os.W_OK | os.X_OK):
        raise FolderError(f"{folder} cannot be written to; name another folder")
    try:
        for name, (executable, data) in contents.items():
            _write_file(folder / name, data, executable)
    except BaseException:
        shutil.rmtree(str(folder), ignore_errors=True)
        raise
    return list(contents)


def _write_file(path: Path, data: bytes, executable: int = 0) -> None:
    """Whole or not at all: beside its place first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(data)
        part.chmod(part.stat().st_mode | executable)
        os.replace(str(part), str(path))
    except BaseException:
        if part.exists():
            part.unlink()
        raise


def _contents_of_gaps(text: str) -> Dict[Tuple[str, str, int], Tuple[int, int, List[str]]]:
    """Of each gap of a student's file the first line, the end, and the lines.

    What names a gap is its task, the function around it, and which one of these it is.
    """
    lines, gaps = split_lines(text), {}
    times: Dict[Tuple[str, str], int] = Counter()
    for task, first, end in gap_lines(text):
        above = [number for number, _ in outside_gaps(text) if number <= first]
        around = [match[1] for match in (re.match(r"\s*def (\w+)", lines[number - 1]) for number in above) if match]
        key = task, (around or [""])[-1]
        times[key] += 1
        gaps[key + (times[key],)] = first, end, lines[first:end]
    return gaps


def fill(new: str, mine: str, old: str = "") -> Optional[str]:
    """A file of the new edition with the gaps as a student has filled them.

    Args:
        new: the file as it is handed out.
        mine: the file in which the student works.
        old: the file as it was handed out to the student; a gap that is still as it was there becomes the new one.

    Returns:
        The text, or None where a gap of theirs has no place in the new file, or one of the new file is missing.
    """
    lines, places = split_lines(new), _contents_of_gaps(new)
    theirs, untouched = _contents_of_gaps(mine), _contents_of_gaps(old)
    filled = {key: gap for key, (_, _, gap) in theirs.items() if key not in untouched or gap != untouched[key][2]}
    if not set(filled) <= set(places) or len(theirs) < len(places):
        return None
    for key, (first, end, _) in sorted(places.items(), key=lambda item: -item[1][0]):  # from below: numbers above stay
        if key in filled:
            lines[first:end] = filled[key]
    return "\n".join(lines)


def update(root: Union[str, Path], folder: Union[str, Path]) -> List[str]:
    """Bring a handout in progress to the edition of today: its gaps and feedback.md stay as the student has them.

    A given file that the student has changed is replaced where today's is another one, and kept beside as NAME.mine;
    not so if it has gaps: then it stays, and the new one is put beside it as NAME.new. Can be repeated after a stop.

    Returns:
        What was done, a line for each file.

    Raises:
        FolderError: the folder holds no handout.
        MarkerError, RuntimeError, OSError: as for `write`.
    """
    folder = Path(folder)
    originals, sums = handed_out(folder), _sums(folder)
    if not originals or not sums:
        raise FolderError(f"{folder} holds no handout: there is no {HANDED_OUT} in it that can be read")
    contents = edition(root)
    done = []
    for name, (executable, data) in contents.items():
        path = folder / name
        mine = path.read_bytes() if path.is_file() else None
        if name == HANDED_OUT or mine is not None and _sum(mine) == _sum(data):
            continue
        if mine is None:
            done.append(f"{name} is new")
        elif _sum(mine) == sums.get(name):
            done.append(f"{name} is brought up to date")
        elif _sum(data) == sums.get(name) or name == "feedback.md":
            continue  # only theirs has changed
        elif name.endswith(".py") and gap_lines(data.decode()):
            my_text, original = mine.decode("utf-8-sig", errors="surrogateescape"), originals.get(name, "")
            filled = fill(data.decode(), my_text, original)
            if filled is None or compare(name, original, my_text):
                _write_file(path.with_name(path.name + ".new"), data, executable)
                done.append(f"{name} is as it was, for it was changed outside its gaps; the new one is {name}.new")
                continue
            data = filled.encode("utf-8", errors="surrogateescape")
            if _sum(mine) == _sum(data):
                continue
            done.append(f"{name} is brought up to date")
        else:
            kept = next(place for place in (path.with_name(f"{path.name}.mine{number or ''}") for number in count())
                        if not place.exists())
            _write_file(kept, mine)
            done.append(f"{name} is brought up to date; it had been changed, and is kept as {kept.name}")
        _write_file(path, data, executable)
    for name in sorted(set(sums) - set(contents)):
        if (folder / name).is_file() and _sum((folder / name).read_bytes()) == sums[name]:
            (folder / name).unlink()
            done.append(f"{name} is removed")
    _write_file(folder / HANDED_OUT, contents[HANDED_OUT][1])  # last: until then a stopped update can be repeated
    return done


def _sums(folder: Path) -> Dict[str, str]:
    """The sum of each file as it was handed out; none where that cannot be read."""
    try:
        with zipfile.ZipFile(str(folder / HANDED_OUT)) as file:
            return dict(line.split("  ", 1)[::-1] for line in file.read(SUMS).decode().splitlines())
    except (OSError, KeyError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error):
        return {}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m course.handout", description="Write the student edition.")
    parser.add_argument("folder", metavar="DIR", help="where to; a new or empty folder")
    parser.add_argument("--update", action="store_true",
                        help="DIR is a handout in which students work: renew all but the gaps and feedback.md")
    args = parser.parse_args()
    root = Path(__file__).resolve().parent.parent
    try:
        if args.update:
            done = update(root, args.folder)
            print("\n".join(done + [f"{len(done)} files changed in {args.folder}; the gaps are as they were"]))
            return
        files = write(root, args.folder)
        tasks = Counter(gap.task for gap in find_gaps(root))
    except (FolderError, MarkerError, RuntimeError, OSError) as error:
        print(f"handout: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, FolderError) else 1)
    gaps = ", ".join(f"task {task}: {count}" for task, count in sorted(tasks.items()))
    print(f"{len(files)} files with {sum(tasks.values())} gaps ({gaps}) are in {args.folder}")


if __name__ == "__main__":
    main()
