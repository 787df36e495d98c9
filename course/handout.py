"""Cut the student edition out of the reference solution: python -m course.handout DIR

A gap in the reference looks like this; the cut puts one `raise NotImplementedError` in the place of the lines from
BEGIN SOLUTION to END SOLUTION, at their indent, and leaves every other byte as it is.

    # START TODO 1.1 ########################
    # What the student is to do.
    # BEGIN SOLUTION
    ...
    # END SOLUTION
    # END TODO 1.1 ########################
"""
import argparse
import ast
import io
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Tuple, Union

from tests.tasks import TASKS

ORDER = ("START TODO", "BEGIN SOLUTION", "END SOLUTION", "END TODO")
MARKER_WORDS = re.compile(r"#\s*(" + "|".join(ORDER) + r")\b")
MARKER = re.compile(r"([ \t]*)# (?:(START TODO|END TODO) (\S+)(?: #+)?|(BEGIN SOLUTION|END SOLUTION))\s*")
TEACHER_ONLY = ("course/", "benchmarks/", ".ci/", ".github/")
FOR_STUDENTS = "course/student/"  # the exception: goes into the handout, without this prefix


class Gap(NamedTuple):
    """One solution region of the reference."""
    task: str  # "1.1"
    path: str  # "lib/model_vae.py"
    line: int  # of BEGIN SOLUTION, counted from 1
    name: str  # the function around it, "VAE.encode"; a second gap in the same function is "VAE.encode#2"
    indent: str
    region: str  # the lines from BEGIN SOLUTION to END SOLUTION, both included


class MarkerError(ValueError):
    """The markers of a file do not make gaps; the message begins with file and line."""

    def __init__(self, path: str, line: int, message: str) -> None:
        super().__init__(f"{path}:{line}: {message}")


class FolderError(ValueError):
    """The handout cannot be written to the folder that was named."""


def _find_blocks(path: str, lines: Sequence[str]) -> List[Tuple[str, str, int, int]]:
    """(task, indent, line of BEGIN SOLUTION, line of END SOLUTION) of every TODO block."""
    blocks, seen, task, indent = [], [], "", ""  # seen: the lines of the open block's markers
    for number, line in enumerate(lines, 1):
        if not MARKER_WORDS.search(line):
            continue
        match = MARKER.fullmatch(line)
        if match is None:
            raise MarkerError(path, number, f"not written like the marker that it seems to be: {line.strip()}")
        kind, due = match[2] or match[4], ORDER[len(seen)]
        if kind != due:
            after = f", after {ORDER[len(seen) - 1]} in line {seen[-1]}" if seen else ""
            raise MarkerError(path, number, f"{kind} where {due} is due{after}")
        seen.append(number)
        if kind == "START TODO":
            indent, task = match[1], match[3]
        if task not in [row.number for row in TASKS]:
            raise MarkerError(path, number, f"task {task} has no points: it is not in tests/tasks.py")
        if match[1] != indent:
            raise MarkerError(path, number, f"{kind} is not indented like START TODO in line {seen[0]}")
        if kind == "END TODO":
            if match[3] != task:
                raise MarkerError(path, number, f"END TODO {match[3]} closes START TODO {task} in line {seen[0]}")
            blocks.append((task, indent, seen[1], seen[2]))
            seen = []
    if seen:
        raise MarkerError(path, seen[-1], f"{ORDER[len(seen) - 1]} with no {ORDER[len(seen)]} after it")
    return blocks


def _check_solution(path: str, begin: int, indent: str, solution: Sequence[str]) -> None:
    code = [(number, line) for number, line in enumerate(solution, begin + 1) if line.strip()]
    if all(line.lstrip().startswith("#") for _, line in code):
        raise MarkerError(path, begin, "the solution is empty")
    for number, line in code:
        if not line.startswith(indent) or (number == code[0][0] and line[len(indent)].isspace()):
            raise MarkerError(path, number, f"the solution is not indented like BEGIN SOLUTION in line {begin}")


def _raise_line(gap: Gap) -> str:
    line_end = "\r\n" if gap.region.endswith("\r\n") else "\n"
    return f'{gap.indent}raise NotImplementedError("Task {gap.task} is not filled in yet"){line_end}'


def _function_around(tree: ast.AST, gap: Gap) -> str:
    """The qualified name of the function in which the gap's `raise` is a statement."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    around = [node for node in ast.walk(tree) if isinstance(node, kinds) and node.lineno < gap.line <= node.end_lineno]
    is_statement = any(isinstance(node, ast.Raise) and node.lineno == gap.line for node in ast.walk(tree))
    if not is_statement or not around or isinstance(around[-1], ast.ClassDef):
        raise MarkerError(gap.path, gap.line, "a gap stands in a function, so that the file can be imported unfilled")
    return ".".join(node.name for node in around)


def split(path: str, text: str) -> List[Union[str, Gap]]:
    """A file's text in pieces: what students get as it is, and the gaps. Strings and regions joined are the text again.

    Raises:
        MarkerError: the markers do not make gaps, each in a function, that leave Python behind when cut.
    """
    lines = list(io.StringIO(text, newline=""))
    cut_lines = list(lines)  # the handout, with blank lines for what is missing, so that line numbers stay
    pieces: List[Union[str, Gap]] = []
    done = 0
    for task, indent, begin, end in _find_blocks(path, lines):
        _check_solution(path, begin, indent, lines[begin:end - 1])
        gap = Gap(task, path, begin, "", indent, "".join(lines[begin - 1:end]))
        pieces += ["".join(lines[done:begin - 1]), gap]
        cut_lines[begin - 1:end] = [_raise_line(gap)] + ["\n"] * (end - begin)
        done = end
    pieces.append("".join(lines[done:]))
    try:
        tree = ast.parse("".join(cut_lines) if done else "")
    except SyntaxError as error:
        raise MarkerError(path, error.lineno or 1, f"with its gaps cut, the file is no Python: {error.msg}") from None
    times: Dict[str, int] = Counter()
    for place, gap in enumerate(pieces):
        if isinstance(gap, Gap):
            name = _function_around(tree, gap)
            times[name] += 1
            pieces[place] = gap._replace(name=name if times[name] == 1 else f"{name}#{times[name]}")
    return pieces


def cut(path: str, text: str, keep: Sequence[str] = ()) -> str:
    """The student's text of a file; the gaps of the tasks in `keep` stay solved. Raises MarkerError."""
    return "".join(piece if isinstance(piece, str) else piece.region if piece.task in keep else _raise_line(piece)
                   for piece in split(path, text))


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


def read_source(root: Union[str, Path], name: str) -> str:
    """A Python file's text, line ends as they are. Raises MarkerError where it is not UTF-8."""
    data = (Path(root) / name).read_bytes()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MarkerError(name, data[:error.start].count(b"\n") + 1, "not UTF-8") from None


def find_gaps(root: Union[str, Path]) -> List[Gap]:
    """All gaps of the project, file by file. Raises MarkerError and RuntimeError."""
    return [piece for name in student_files(root) if name.endswith(".py")
            for piece in split(name, read_source(root, name)) if isinstance(piece, Gap)]


def write(root: Union[str, Path], folder: Union[str, Path], keep: Sequence[str] = ()) -> List[str]:
    """Write the student edition, without history; the gaps of the tasks in `keep` stay solved.

    All files are read and cut before the first is written; a handout that cannot be finished is removed again.

    Args:
        root: the project, a git checkout: what is tracked counts, as it is in the working tree.
        folder: where to; a new or empty folder.
        keep: numbers of tasks, like "1.1".

    Returns:
        The files' paths in the handout.

    Raises:
        FolderError: the folder is not empty, cannot be made or belongs to the project.
        MarkerError: the markers of a file do not make gaps.
        RuntimeError: there is no git or no checkout.
        OSError: a file cannot be read or written.
    """
    root, folder = Path(root), Path(folder)
    where = folder.resolve()
    if where.is_dir() and any(where.iterdir()):
        raise FolderError(f"{folder} is not empty; name a folder that is new or empty")
    if root.resolve() in where.parents:
        top = where.relative_to(root.resolve()).parts[0]
        if top in [".git"] + [name.split("/")[0] for name in _tracked_files(root)]:
            raise FolderError(f"{folder} is in {top}/, which belongs to the project; name a folder elsewhere")
    contents: Dict[str, Tuple[int, bytes]] = {}
    for name in student_files(root):
        if handout_path(name) in contents:
            raise RuntimeError(f"{handout_path(name)} and {FOR_STUDENTS}{handout_path(name)} would be one file")
        data = cut(name, read_source(root, name), keep).encode() if name.endswith(".py") else (root / name).read_bytes()
        contents[handout_path(name)] = (root / name).stat().st_mode & 0o111, data
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FolderError(f"{folder} cannot be made ({error.strerror}); name another folder") from None
    if not os.access(str(folder), os.W_OK | os.X_OK):
        raise FolderError(f"{folder} cannot be written to; name another folder")
    try:
        for name, (executable, data) in contents.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            target.chmod(target.stat().st_mode | executable)
    except BaseException:
        shutil.rmtree(str(folder), ignore_errors=True)
        raise
    return list(contents)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m course.handout", description="Write the student edition.")
    parser.add_argument("folder", metavar="DIR", help="where to; a new or empty folder")
    folder = parser.parse_args().folder
    root = Path(__file__).resolve().parent.parent
    try:
        files = write(root, folder)
        tasks = Counter(gap.task for gap in find_gaps(root))
    except (FolderError, MarkerError, RuntimeError, OSError) as error:
        print(f"handout: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, FolderError) else 1)
    gaps = ", ".join(f"task {task}: {count}" for task, count in sorted(tasks.items()))
    print(f"{len(files)} files with {sum(tasks.values())} gaps ({gaps}) are in {folder}")


if __name__ == "__main__":
    main()
