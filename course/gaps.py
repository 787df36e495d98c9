"""Find the gaps of the reference solution and cut them out.

A gap in the reference looks like this. The cut replaces the lines from BEGIN SOLUTION to END SOLUTION by one
`raise NotImplementedError` at the same indentation, and leaves every other byte unchanged.

    # START TODO 1.1 ########################
    # What the student is to do.
    # BEGIN SOLUTION
    ...
    # END SOLUTION
    # END TODO 1.1 ########################
"""
import ast
import io
import re
from collections import Counter
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Tuple, Union

from tests.scoring.tasks import TASKS

ORDER = ("START TODO", "BEGIN SOLUTION", "END SOLUTION", "END TODO")
MARKER_WORDS = re.compile(r"#\s*(" + "|".join(ORDER) + r")\b")
MARKER = re.compile(r"([ \t]*)# (?:(START TODO|END TODO) (\S+)(?: #+)?|(BEGIN SOLUTION|END SOLUTION))\s*")


class Gap(NamedTuple):
    """One gap of the reference, with its solution."""
    task: str  # "1.1"
    path: str  # "lib/model_vae.py"
    line: int  # the line of BEGIN SOLUTION, counted from 1
    name: str  # the function around it, "VAE.encode"; a second gap in the same function is "VAE.encode#2"
    indent: str
    region: str  # the lines from BEGIN SOLUTION to END SOLUTION inclusive


class MarkerError(ValueError):
    """The markers in a file do not form valid gaps. The message starts with the file and line."""

    def __init__(self, path: str, line: int, message: str) -> None:
        super().__init__(f"{path}:{line}: {message}")


def _find_blocks(path: str, lines: Sequence[str]) -> List[Tuple[str, str, int, int]]:
    """Return (task, indent, line of BEGIN SOLUTION, line of END SOLUTION) for every TODO block."""
    blocks: List[Tuple[str, str, int, int]] = []
    seen: List[int] = []  # the lines of the open block's markers
    task = indent = ""
    for number, line in enumerate(lines, 1):
        if not MARKER_WORDS.search(line):
            continue
        match = MARKER.fullmatch(line)
        if match is None:
            raise MarkerError(path, number, f"this marker is misspelled: {line.strip()}")
        kind, due = match[2] or match[4], ORDER[len(seen)]
        if kind != due:
            after = f", after {ORDER[len(seen) - 1]} on line {seen[-1]}" if seen else ""
            raise MarkerError(path, number, f"found {kind} where {due} was expected{after}")
        seen.append(number)
        if kind == "START TODO":
            indent, task = match[1], match[3]
        if task not in [row.number for row in TASKS]:
            raise MarkerError(path, number, f"unknown task {task}: add it to tests/scoring/tasks.py")
        if match[1] != indent:
            raise MarkerError(path, number, f"{kind} is not indented like START TODO on line {seen[0]}")
        if kind == "END TODO":
            if match[3] != task:
                raise MarkerError(path, number, f"END TODO {match[3]} closes START TODO {task} on line {seen[0]}")
            blocks.append((task, indent, seen[1], seen[2]))
            seen = []
    if seen:
        raise MarkerError(path, seen[-1], f"{ORDER[len(seen) - 1]} without {ORDER[len(seen)]} after it")
    return blocks


def _check_solution(path: str, begin: int, indent: str, solution: Sequence[str]) -> None:
    code = [(number, line) for number, line in enumerate(solution, begin + 1) if line.strip()]
    if all(line.lstrip().startswith("#") for _, line in code):
        raise MarkerError(path, begin, "the solution is empty")
    for number, line in code:
        if not line.startswith(indent) or (number == code[0][0] and line[len(indent)].isspace()):
            raise MarkerError(path, number, f"the solution is not indented like BEGIN SOLUTION on line {begin}")


def _raise_line(gap: Gap) -> str:
    line_end = "\r\n" if gap.region.endswith("\r\n") else "\n"
    return f'{gap.indent}raise NotImplementedError("Task {gap.task} is not filled in yet"){line_end}'


def _function_around(tree: ast.AST, gap: Gap) -> str:
    """Return the qualified name of the function in which the gap's `raise` is a statement."""
    around = [node for node in ast.walk(tree)
              if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
              and node.lineno < gap.line <= (node.end_lineno or 0)]
    is_statement = any(isinstance(node, ast.Raise) and node.lineno == gap.line for node in ast.walk(tree))
    if not is_statement or not around or isinstance(around[-1], ast.ClassDef):
        raise MarkerError(gap.path, gap.line,
                          "a gap must be inside a function, so that the unfilled file can be imported")
    return ".".join(node.name for node in around)


def split(path: str, text: str) -> List[Union[str, Gap]]:
    """Split a file's text into what students get unchanged and the gaps; strings and regions joined are the text.

    Raises:
        MarkerError: the markers do not form valid gaps inside functions, or the cut file is not valid Python.
    """
    lines = list(io.StringIO(text, newline=""))
    cut_lines = list(lines)  # the handout, padded with blank lines to keep the line numbers
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
        raise MarkerError(path, error.lineno or 1,
                          f"the file is not valid Python once its gaps are cut: {error.msg}") from None
    times: Dict[str, int] = Counter()
    for place, piece in enumerate(pieces):
        if isinstance(piece, Gap):
            name = _function_around(tree, piece)
            times[name] += 1
            pieces[place] = piece._replace(name=name if times[name] == 1 else f"{name}#{times[name]}")
    return pieces


def cut(path: str, text: str, keep: Sequence[str] = ()) -> str:
    """Return the student's version of a file; the gaps of the tasks in `keep` stay solved. Raises MarkerError."""
    def student_text(piece: Union[str, Gap]) -> str:
        if isinstance(piece, str):
            return piece
        return piece.region if piece.task in keep else _raise_line(piece)

    return "".join(map(student_text, split(path, text)))


def read_source(root: Union[str, Path], name: str) -> str:
    """Return a Python file's text with its line endings unchanged. Raises MarkerError if it is not UTF-8."""
    data = (Path(root) / name).read_bytes()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MarkerError(name, data[:error.start].count(b"\n") + 1, "not UTF-8") from None
