"""The gaps of the reference solution, and how they are cut out.

A gap in the reference looks like this; the cut puts one `raise NotImplementedError` in the place of the lines from
BEGIN SOLUTION to END SOLUTION, at their indent, and leaves every other byte as it is.

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
            raise MarkerError(path, number, f"task {task} has no points: it is not in tests/scoring/tasks.py")
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


def read_source(root: Union[str, Path], name: str) -> str:
    """A Python file's text, line ends as they are. Raises MarkerError where it is not UTF-8."""
    data = (Path(root) / name).read_bytes()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MarkerError(name, data[:error.start].count(b"\n") + 1, "not UTF-8") from None
