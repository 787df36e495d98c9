"""Write the handout, the reference solution with its gaps cut out: python -m course.handout DIR

`python -m course.handout --update DIR ...` brings handouts that students have already started on to today's edition. It
keeps what they have written.
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
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple, Union

from course.gaps import Gap, MarkerError, cut, read_source, split
from tests.scoring.edition import CHANGELOG, Edition, read_edition
from tests.scoring.edits import CODE, HANDED_OUT, compare, gap_lines, handed_out, outside_gaps, read_record, split_lines
from tests.scoring.handed_in import UNFILLED

TEACHER_ONLY = ("course/", "benchmarks/", ".ci/", ".github/", "CONTRIBUTING.md", "conftest.py", "pyproject.toml")
FOR_STUDENTS = "course/student/"  # the exception: these files go into the handout, without this prefix
SUMS = "SHA256SUMS"  # in tests/handout.zip: the checksums of all files


class FolderError(ValueError):
    """The handout cannot be written to the given folder."""


def _tracked_files(root: Path) -> List[str]:
    try:
        git = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except FileNotFoundError:
        raise RuntimeError("git is not installed; it is needed to list the project's files") from None
    if git.returncode:
        reason = os.fsdecode(git.stderr).strip().split("\n")[0]
        raise RuntimeError(f"{root} is not a readable git checkout ({reason})")
    return sorted(set(os.fsdecode(git.stdout).split("\0")) - {""})


def student_files(root: Union[str, Path]) -> List[str]:
    """Return the tracked files that go into the handout, as posix paths relative to `root`.

    Raises:
        RuntimeError: git is missing, or tracks no such file.
    """
    files = [name for name in _tracked_files(Path(root))
             if name.startswith(FOR_STUDENTS) or not name.startswith(TEACHER_ONLY)]
    if not files:
        raise RuntimeError(f"git tracks no file in {root} that belongs in the handout")
    return files


def handout_path(name: str) -> str:
    """Return the path that a file of the project has in the handout."""
    return name[len(FOR_STUDENTS):] if name.startswith(FOR_STUDENTS) else name


def find_gaps(root: Union[str, Path]) -> List[Gap]:
    """Return all gaps of the project, file by file. Raises MarkerError and RuntimeError."""
    return [piece for name in student_files(root) if name.endswith(".py")
            for piece in split(name, read_source(root, name)) if isinstance(piece, Gap)]


def build(root: Union[str, Path], keep: Sequence[str] = ()) -> Dict[str, Tuple[int, bytes]]:
    """Return the handout's files: for each path, the bits of its executable permission and its bytes.

    Args:
        root: the project, a git checkout. The tracked files are used, as they are in the working tree.
        keep: numbers of tasks, like "1.1", whose gaps stay solved.

    Raises:
        MarkerError: the markers in a file do not form valid gaps.
        RuntimeError: git is not installed, or `root` is not a checkout.
        OSError: a file cannot be read.
    """
    root = Path(root)
    contents: Dict[str, Tuple[int, bytes]] = {}
    unfilled: Dict[str, bytes] = {}
    for name in student_files(root):
        path = handout_path(name)
        if path in contents:
            raise RuntimeError(f"{path} and {FOR_STUDENTS}{path} would become the same file in the handout")
        if name.endswith(".py"):
            text = read_source(root, name)
            data, unfilled[path] = cut(name, text, keep).encode(), cut(name, text).encode()
        else:
            data = unfilled[path] = (root / name).read_bytes()
        contents[path] = (root / name).stat().st_mode & 0o111, data
    contents[HANDED_OUT] = 0, _pack(unfilled)
    return contents


def _pack(files: Dict[str, bytes]) -> bytes:
    """Return the bytes of tests/handout.zip: the code as handed out, the changelog and the checksums of all files."""
    sums = "".join(f"{_sum(data)}  {name}\n" for name, data in files.items())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in {SUMS: sums.encode(), **files}.items():
            if name in (SUMS, CHANGELOG) or name.endswith(CODE):
                file.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)  # dated 1980, for identical bytes
    return buffer.getvalue()


def _sum(data: bytes) -> str:
    return hashlib.sha256(data.replace(b"\r\n", b"\n")).hexdigest()  # git may have converted the line endings


def write(root: Union[str, Path], folder: Union[str, Path], keep: Sequence[str] = ()) -> List[str]:
    """Write the handout, without history.

    All files are read and cut before the first one is written. If writing fails, the folder is removed again.

    Args:
        root, keep: as for `build`.
        folder: a new or empty folder.

    Returns:
        The paths of the files in the handout.

    Raises:
        FolderError: the folder is not empty, cannot be created or belongs to the project.
        MarkerError, RuntimeError, OSError: as for `build`, or a file cannot be written.
    """
    root, folder = Path(root), Path(folder)
    where = folder.resolve()
    if where.is_dir() and any(where.iterdir()):
        raise FolderError(f"{folder} is not empty; use a new or empty folder (to update a handout: --update)")
    if root.resolve() in where.parents:
        top = where.relative_to(root.resolve()).parts[0]
        if top in [".git"] + [name.split("/")[0] for name in _tracked_files(root)]:
            raise FolderError(f"{folder} is inside {top}/, which belongs to the project; use another folder")
    contents = build(root, keep)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FolderError(f"{folder} cannot be created ({error.strerror}); use another folder") from None
    if not os.access(str(folder), os.W_OK | os.X_OK):
        raise FolderError(f"{folder} is not writable; use another folder")
    try:
        for name, (executable, data) in contents.items():
            _write_file(folder / name, data, executable)
    except BaseException:
        shutil.rmtree(str(folder), ignore_errors=True)
        raise
    return list(contents)


def _write_file(path: Path, data: bytes, executable: int = 0) -> None:
    """Write a file completely or not at all: first under a temporary name, then rename it."""
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


GapKey = Tuple[str, str, int]  # its task, the function around it, its number among the gaps of that task and function
Gaps = Dict[GapKey, Tuple[int, int, List[str]]]  # its first line, its end and its lines, in the order of the file


def contents_of_gaps(text: str) -> Gaps:
    """Return the gaps of a student's file."""
    lines, functions, function = split_lines(text), {}, ""
    for number, line in outside_gaps(text):
        match = re.match(r"\s*def (\w+)", line)
        functions[number] = function = match[1] if match else function
    gaps: Gaps = {}
    times: Dict[Tuple[str, str], int] = Counter()
    for task, first, end in gap_lines(text):
        around = task, functions[first]  # the line of the marker
        times[around] += 1
        gaps[around + (times[around],)] = first, end, lines[first:end]
    return gaps


def _with_keys_of(places: Gaps, gaps: Gaps) -> Gaps:
    """Return `gaps` with the keys that they have in `places`.

    Where a function has another name there, the order of the gaps in their task decides, if they are as many.
    """
    lost, free = (sorted((key for key in one if key not in other), key=lambda key: key[0])
                  for one, other in ((gaps, places), (places, gaps)))
    if [task for task, _, _ in lost] != [task for task, _, _ in free]:
        return gaps
    names = dict(zip(lost, free))
    return {names.get(key, key): gap for key, gap in gaps.items()}


def fill(new: str, mine: str, old: str = "") -> Optional[str]:
    """Return a file of the new edition with the gaps as the student has filled them.

    Args:
        new: the file as it is handed out now.
        mine: the student's file.
        old: the file as the student received it; a gap that is unchanged since then is replaced by the new one.

    Returns:
        The text. None if the new file has no place for one of the student's gaps, or the student's file lacks one.
    """
    lines, places = split_lines(new), contents_of_gaps(new)
    theirs, untouched = (_with_keys_of(places, contents_of_gaps(text)) for text in (mine, old))
    filled = {key: gap for key, (_, _, gap) in theirs.items() if key not in untouched or gap != untouched[key][2]}
    if not set(filled) <= set(places) or len(theirs) < len(places):
        return None
    for key, (first, end, _) in sorted(places.items(), key=lambda item: -item[1][0]):  # from the end up
        if key in filled:
            lines[first:end] = filled[key]
    return "\n".join(lines)


def new_instructions(new: str, mine: str, old: str) -> List[str]:
    """Return the functions with a gap whose text the new edition has changed, but which the student has filled.

    Args:
        new, mine, old: as for `fill`.
    """
    places = contents_of_gaps(new)
    theirs, originals = (_with_keys_of(places, contents_of_gaps(text)) for text in (mine, old))
    functions: List[str] = []
    for key, (_, _, lines) in places.items():
        if key in theirs and key in originals and theirs[key][2] != originals[key][2]:
            text, before, now = (_instructions(gap) for gap in (lines, originals[key][2], theirs[key][2]))
            if text != before and not set(text) <= set(now):
                functions.append(key[1])
    return sorted(set(functions), key=functions.index)


def _instructions(gap: Sequence[str]) -> List[str]:
    """Return the lines of a gap without the `raise` that marks it as unfilled."""
    return [line.strip() for line in gap if line.strip() and not UNFILLED.match(line)]


def update(root: Union[str, Path], folder: Union[str, Path]) -> List[str]:
    """Bring a handout in progress to today's edition. The contents of its gaps and feedback.md are kept.

    If the student has changed a given file and today's is new too, theirs is kept as NAME.mine. If that file has gaps,
    theirs stays in place and the new one is saved as NAME.new, as it is if the instructions in a gap have changed that
    the student has filled. An interrupted update can be repeated.

    Returns:
        What was done: a line for each file, and a summary.

    Raises:
        FolderError: the folder contains no handout.
        MarkerError, RuntimeError, OSError: as for `write`.
    """
    folder = Path(folder)
    originals, sums = handed_out(folder), checksums(folder)
    if not originals or not sums:
        raise FolderError(f"{folder} contains no handout (no readable {HANDED_OUT} in it)")
    contents = build(root)
    done: List[str] = []
    for name, (executable, data) in contents.items():
        path = folder / name
        mine = path.read_bytes() if path.is_file() else None
        if name == HANDED_OUT or mine is not None and _sum(mine) == _sum(data):
            continue
        if mine is None:
            done.append(f"{name} is new")
        elif _sum(mine) == sums.get(name):
            done.append(f"{name} is updated")
        elif _sum(data) == sums.get(name) or name == "feedback.md":
            continue  # only the student's version has changed
        elif name.endswith(".py") and gap_lines(data.decode()):
            new, original = data.decode(), originals.get(name, "")
            my_text = mine.decode("utf-8-sig", errors="surrogateescape")
            filled = fill(new, my_text, original)
            if filled is None or compare(name, original, my_text, new):
                _write_file(path.with_name(path.name + ".new"), data, executable)
                done.append(f"{name} was changed outside its gaps and is left alone; the new version is {name}.new")
                continue
            functions = new_instructions(new, my_text, original)
            if functions:
                _write_file(path.with_name(path.name + ".new"), data, executable)
            data = filled.encode("utf-8", errors="surrogateescape")
            if _sum(mine) == _sum(data) and not functions:
                continue
            more = f"; instructions in a gap of {', '.join(functions)} have changed: read them in {name}.new"
            done.append(f"{name} is updated" + (more if functions else ""))
        else:
            kept = next(place for place in (path.with_name(f"{path.name}.mine{number or ''}") for number in count())
                        if not place.exists())
            _write_file(kept, mine)
            done.append(f"{name} is updated; your changed version is kept as {kept.name}")
        _write_file(path, data, executable)
    for name in sorted(set(sums) - set(contents)):
        if (folder / name).is_file() and _sum((folder / name).read_bytes()) == sums[name]:
            (folder / name).unlink()
            done.append(f"{name} is removed")
    today = read_edition(contents[CHANGELOG][1].decode()) if CHANGELOG in contents else None
    summary = f"{len(done)} files changed in {folder}{_from_to(base_edition(folder, today), today)}"
    _write_file(folder / HANDED_OUT, contents[HANDED_OUT][1])  # last: until then an interrupted update can be repeated
    return done + [summary + "; the contents of the gaps are kept"]


def base_edition(folder: Path, today: Optional[Edition]) -> str:
    """Return the edition that a student's folder was cut from, like "1".

    It is "before 2" if that handout did not record its edition and today's is 2, and "" if it is unknown.
    """
    recorded = read_edition(_read_record(folder, CHANGELOG))
    if recorded:
        return str(recorded.number)
    return f"before {today.number}" if today and checksums(folder) else ""


def _from_to(base: str, today: Optional[Edition]) -> str:
    if today is None:
        return ""
    if base == str(today.number):
        return f", which already has edition {base}"
    return f", from {'edition' if base.isdigit() else 'an edition'} {base} to {today.number}"


def _read_record(folder: Path, name: str) -> str:
    """Return a text file of tests/handout.zip, "" if it cannot be read."""
    return read_record(folder, name).get(name, b"").decode("utf-8", errors="replace")


def checksums(folder: Path) -> Dict[str, str]:
    """Return the checksum of each file as it was handed out; empty if they cannot be read."""
    lines = (line.partition("  ") for line in _read_record(folder, SUMS).splitlines())
    return {name: checksum for checksum, _, name in lines}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m course.handout", description="Write the handout.")
    parser.add_argument("folders", nargs="+", metavar="DIR",
                        help="a new or empty folder, or with --update the folders of one or more teams")
    parser.add_argument("--update", action="store_true",
                        help="update each DIR, a handout that students have started on, to the current edition; the "
                             "contents of the gaps and feedback.md are kept")
    args = parser.parse_args()
    root = Path(__file__).resolve().parent.parent
    if args.update:
        sys.exit(not all([_update_one(root, folder) for folder in args.folders]))
    if len(args.folders) > 1:
        parser.error("give one DIR; only --update accepts several")
    folder, = args.folders
    try:
        files = write(root, folder)
        tasks = Counter(gap.task for gap in find_gaps(root))
    except (FolderError, MarkerError, RuntimeError, OSError) as error:
        print(f"handout: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, FolderError) else 1)
    gaps = ", ".join(f"task {task}: {count}" for task, count in sorted(tasks.items()))
    edition = base_edition(Path(folder), None)
    what = f"edition {edition}" if edition else "an edition without a number"
    print(f"wrote {what} to {folder}: {len(files)} files with "
          f"{sum(tasks.values())} gaps ({gaps})")


def _update_one(root: Path, folder: str) -> bool:
    """Update a folder and print what was done, or why not; return whether it was updated."""
    try:
        print("\n".join(update(root, folder)), flush=True)
    except FolderError as error:
        print(f"handout: {error}", file=sys.stderr, flush=True)
        return False
    except (MarkerError, RuntimeError, OSError) as error:
        print(f"handout: {folder} could not be updated: {error}", file=sys.stderr, flush=True)
        return False
    return True


if __name__ == "__main__":
    main()
