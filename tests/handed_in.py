"""What you hand in beside code: its style, feedback.md and submission.pdf."""
import ast
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import List, Tuple

from tests.edits import gap_lines, read

PARTS = "Major problems", "Helpful?", "Hours", "Other feedback"
MEMBERS = 3                                         # of a team, at most
UNFILLED = re.compile(r"^\s*raise NotImplementedError\(.Task \S+ is not filled in yet", re.MULTILINE)


def style(folder: Path) -> List[str]:
    """What speaks against the code's style: nothing, or that there is no code yet, or the complaints of pycodestyle."""
    texts = [read(path) for path in sorted((folder / "lib").glob("*.py"))]
    gaps = sum(len(gap_lines(text)) for text in texts)
    if gaps and gaps == sum(len(UNFILLED.findall(text)) for text in texts):
        return ["no gap is filled in yet: there is no code of yours"]
    done = subprocess.run([sys.executable, "-m", "pycodestyle", "--max-line-length", "120", "."], cwd=str(folder),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    complaints = done.stdout.splitlines()
    return complaints or ([done.stderr.strip().split("\n")[-1]] if done.returncode else [])


def feedback(folder: Path) -> List[str]:
    """What is missing in feedback.md: nothing, if there is a word in each part, and hours as a list of numbers."""
    text = read(folder / "feedback.md")
    if text is None:
        return ["feedback.md is missing"]
    text = re.sub(r"<!--.*?(-->|\Z)", "", text, flags=re.DOTALL)
    title, *parts = re.split(r"^##[ \t]+", text, flags=re.MULTILINE)
    written = {}
    for part in parts:
        heading, _, below = part.partition("\n")
        written[heading.strip()] = below.strip()
    missing = [f'feedback.md has nothing below "{part}"' for part in PARTS if not written.get(part)]
    return missing or hours(written["Hours"])


def hours(text: str) -> List[str]:
    """What is wrong with the hours, as they stand in feedback.md."""
    meant = "as a list with a number for each member of the team, hours: [10, 8.5]"
    found = re.search(r"^hours:\s*(\[.*?\])", text, flags=re.MULTILINE | re.IGNORECASE | re.DOTALL)
    try:
        numbers = ast.literal_eval(found[1]) if found else []
    except (ValueError, SyntaxError):
        numbers = ["?"]
    if not numbers:
        return [f'feedback.md needs the hours below "Hours", {meant}']
    if not all(type(number) in (int, float) and math.isfinite(number) and number >= 0 for number in numbers):
        return [f"feedback.md has hours that are no numbers, {found[1]}: write them {meant}"]
    if len(numbers) > MEMBERS:
        return [f"feedback.md has the hours of {len(numbers)}, a team has {MEMBERS} members at most: 8.5 takes a point"]
    return []


def submission(folder: Path) -> Tuple[bool, str]:
    """Whether submission.pdf is there, and how it looks, in words."""
    path = folder / "submission.pdf"
    if not path.is_file():
        others = [found.name for found in folder.glob("*") if found.name.lower() == "submission.pdf"]
        return False, "submission.pdf is missing" + (f", {others[0]} must be spelled so" if others else "")
    if not path.read_bytes()[:1024].lstrip().startswith(b"%PDF-"):
        return False, "submission.pdf is there, but is no PDF"
    return True, "submission.pdf is there"
