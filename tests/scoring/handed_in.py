"""What you hand in beside code: its style, feedback.md and submission.pdf."""
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
MEMBERS = 3                                         # of a team, at most
CHECK = Path(__file__).resolve().parent / "style.py"
UNFILLED = re.compile(r"^\s*raise NotImplementedError\(.Task \S+ is not filled in yet", re.MULTILINE)


def style(folder: Path) -> List[str]:
    """What speaks against the code's style: nothing, or that there is no code yet, or the complaints of pycodestyle."""
    texts = [read(path) for path in sorted((folder / "lib").glob("*.py"))]
    gaps = sum(len(gap_lines(text)) for text in texts)
    if gaps and gaps == sum(len(UNFILLED.findall(text)) for text in texts):
        return ["no gap is filled in yet"]
    done = subprocess.run([sys.executable, str(CHECK), "--max-line-length", "120", "."], cwd=str(folder),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    complaints = [in_one_line(line) for line in done.stdout.decode("utf-8", errors="replace").split("\n") if line]
    if done.returncode and not complaints:
        return ["pycodestyle failed"]
    no_python = {f"./{path}": f"./{path}:{line}: Python 3.8 does not understand this line"
                 for path, line in unreadable_files(folder)}  # of these, each Python tells something else
    return list(no_python.values()) + [line for line in complaints if line.split(":")[0] not in no_python]


def feedback(folder: Path) -> List[str]:
    """What is missing in feedback.md: nothing, if there is a word in each part, and hours as a list of numbers."""
    text = read(folder / "feedback.md")
    if text is None:
        return ["feedback.md is missing"]
    if text.count("<!--") != text.count("-->"):
        return ["a comment in feedback.md is not closed: <!-- needs its -->"]
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
            missing.append(f'there is nothing below "{part}" (a comment does not count)')
    return missing


def hours(text: str) -> List[str]:
    """What is wrong with the hours, as they stand in feedback.md."""
    found = re.search(r"\[.*?\]", text, flags=re.DOTALL)
    try:
        numbers = ast.literal_eval(found[0]) if found else []
        valid = all(type(number) in (int, float) and math.isfinite(number) and number >= 0 for number in numbers)
    except Exception:  # literal_eval has many
        numbers, valid = ["?"], False
    if not numbers:
        return ["the hours are missing, a number for each member in brackets, like hours: [10, 8.5]"]
    if not valid:
        return [f"the hours are no numbers, {' '.join(found[0].split())}; write them like hours: [10, 8.5]"]
    if len(numbers) > MEMBERS:
        return [f"there are the hours of {len(numbers)}, a team has {MEMBERS} at most (a decimal is 8.5, not 8,5)"]
    return []


def submission(folder: Path) -> Tuple[bool, str]:
    """Whether submission.pdf is there, and how it looks, in words."""
    files = {path.name: path for path in sorted(folder.glob("*")) if path.is_file()}
    if "submission.pdf" not in files:
        others = [name for name in files if name.lower().startswith("submission") or name.lower().endswith(".pdf")]
        return False, "no submission.pdf" + (f", but {in_one_line(others[0])}" if others else "")
    if not files["submission.pdf"].read_bytes()[:1024].lstrip().startswith(b"%PDF-"):
        return False, "submission.pdf is no PDF"
    return True, PDF_IS_THERE
