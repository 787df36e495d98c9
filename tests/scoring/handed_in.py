"""The code style, feedback.md and submission.pdf."""
import ast
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import List, Tuple

from tests.scoring.edits import gap_lines, read
from tests.scoring.python38 import unreadable_files
from tests.scoring.report import in_one_line

PARTS = "Major problems", "Helpful?", "Hours", "Other feedback"
PDF_IS_THERE = "submission.pdf is there"
LONGEST_FEEDBACK = 50000                            # characters; the expressions below are slow on more
MEMBERS = 3                                         # a team has at most this many
STYLE_TIMEOUT = 60                                  # seconds; pycodestyle takes less than one
CHECK = Path(__file__).resolve().parent / "style.py"
UNFILLED = re.compile(r"^\s*raise NotImplementedError\(.Task \S+ is not filled in yet", re.MULTILINE)


def style(folder: Path) -> List[str]:
    """Return what is wrong with the code style: pycodestyle's messages, or that no gap is filled in yet."""
    texts = [read(path) or "" for path in sorted((folder / "lib").glob("*.py"))]
    gaps = sum(len(gap_lines(text)) for text in texts)
    if gaps and gaps == len(UNFILLED.findall("\n".join(texts))):
        return ["none of the gaps has been filled in yet"]
    try:
        done = subprocess.run([sys.executable, str(CHECK), "--max-line-length", "120", "."], cwd=str(folder),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=STYLE_TIMEOUT)
    except subprocess.TimeoutExpired:
        return ["pycodestyle took too long"]
    messages = [in_one_line(line) for line in done.stdout.decode("utf-8", errors="replace").split("\n") if line]
    if done.returncode and not messages:
        return ["pycodestyle failed"]
    unreadable = {f"./{path}": f"./{path}:{line}: Python 3.8 does not understand this line"
                  for path, line in unreadable_files(folder)}  # about these files, every Python says something else
    return list(unreadable.values()) + [line for line in messages if line.split(":")[0] not in unreadable]


def feedback(folder: Path) -> List[str]:
    """Return what is missing in feedback.md: each part needs text, and the hours a list of numbers."""
    text = read(folder / "feedback.md")
    if text is None:
        return ["feedback.md is missing"]
    if len(text) > LONGEST_FEEDBACK:
        return [f"feedback.md is longer than {LONGEST_FEEDBACK} characters"]
    if text.count("<!--") != text.count("-->"):
        return ["a comment in feedback.md is not closed: <!-- needs -->"]
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    heading = "|".join(re.escape(part.rstrip("?")) for part in PARTS)
    pieces = re.split(rf"^#+[ \t]*({heading})\b.*$", text, flags=re.MULTILINE | re.IGNORECASE)
    written = {name.lower(): below.strip() for name, below in zip(pieces[1::2], pieces[2::2])}
    missing = []
    for part in PARTS:
        below = written.get(part.rstrip("?").lower())
        if below is None:
            missing.append(f'the heading "## {part}" is missing')
        elif part == "Hours":
            missing += hours(below)
        elif not below:
            missing.append(f'there is nothing below "{part}" (comments do not count)')
    return missing


def hours(text: str) -> List[str]:
    """Return what is wrong with the hours, given the text below their heading."""
    found = re.search(r"\[.*?\]", text, flags=re.DOTALL)
    try:
        numbers = ast.literal_eval(found[0]) if found else []
        valid = all(type(number) in (int, float) and math.isfinite(number) and number >= 0 for number in numbers)
    except Exception:  # literal_eval raises many kinds
        numbers, valid = ["?"], False
    if not found or not numbers:
        return ["the hours are missing: write a number for each member in brackets, like hours: [10, 8.5]"]
    if not valid:
        return [f"the hours are not numbers: {' '.join(found[0].split())}; write them like hours: [10, 8.5]"]
    if len(numbers) > MEMBERS:
        return [f"hours are given for {len(numbers)} people, but a team has at most {MEMBERS} (write decimals as 8.5, "
                "not 8,5)"]
    return []


def submission(folder: Path) -> Tuple[bool, str]:
    """Return whether submission.pdf is there, and a note about it."""
    files = {path.name: path for path in sorted(folder.glob("*")) if path.is_file()}
    if "submission.pdf" not in files:
        others = [name for name in files if name.lower().startswith("submission") or name.lower().endswith(".pdf")]
        return False, "no submission.pdf" + (f", but {in_one_line(others[0])}" if others else "")
    with open(str(files["submission.pdf"]), "rb") as file:
        if not file.read(1024).lstrip().startswith(b"%PDF-"):
            return False, "submission.pdf is not a PDF"
    return True, PDF_IS_THERE
