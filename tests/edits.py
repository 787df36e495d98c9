"""What was changed outside the gaps: your code beside the code as it was handed out, which tests/handout.zip keeps."""
import re
import zipfile
from difflib import SequenceMatcher
from pathlib import Path
from typing import Dict, List, Optional, Tuple, Union

HANDED_OUT = "tests/handout.zip"                    # course/handout.py writes it
CODE = (".py", ".cfg", ".ini", ".toml", ".sh", ".bat", ".yml", "requirements.txt")
MARKER = re.compile(r"\s*# (START|END) TODO (\S+)")


def handed_out(folder: Union[str, Path]) -> Dict[str, str]:
    """The code as it was handed out, by path; without any where the folder is no handout."""
    try:
        with zipfile.ZipFile(str(Path(folder) / HANDED_OUT)) as file:
            return {name: file.read(name).decode("utf-8") for name in file.namelist() if name.endswith(CODE)}
    except (OSError, zipfile.BadZipFile):
        return {}


def gap_lines(text: str) -> List[Tuple[str, int, int]]:
    """(task, first, end) of each gap: lines[first:end] are those between its markers START and END TODO."""
    gaps, task, first = [], None, 0
    for number, line in enumerate(text.splitlines()):
        marker = MARKER.match(line)
        if marker and marker[1] == "START":
            task, first = marker[2], number + 1
        elif marker and marker[2] == task:
            gaps.append((task, first, number))
            task = None
    return gaps


def outside_gaps(text: str) -> List[Tuple[int, str]]:
    """The lines that are not in a gap, with their numbers."""
    inside = {number for _, first, end in gap_lines(text) for number in range(first, end)}
    return [(number + 1, line.rstrip()) for number, line in enumerate(text.splitlines()) if number not in inside]


def compare(path: str, original: str, text: str) -> List[str]:
    """The edits outside the gaps of one file, in words."""
    old, new = outside_gaps(original), outside_gaps(text)
    edits = []
    for kind, a, b, c, d in SequenceMatcher(None, [line for _, line in old], [line for _, line in new],
                                            autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        before, after = ([line.strip() for _, line in lines if line.strip()] for lines in (old[a:b], new[c:d]))
        number = new[min(c, len(new) - 1)][0] if new else 1
        if before or after:                         # more than blank lines
            edits.append(f"{path}, line {number}: {_quote(after)} in place of {_quote(before)}")
    return edits


def _quote(lines: List[str]) -> str:
    if not lines:
        return "nothing"
    return f"`{lines[0]}`" + (f" and {len(lines) - 1} more lines" if len(lines) > 1 else "")


def read(path: Path) -> Optional[str]:
    """The text of a file, None where there is none."""
    return path.read_bytes().decode("utf-8-sig", errors="replace") if path.is_file() else None


def find_edits(folder: Union[str, Path], originals: Dict[str, str]) -> List[str]:
    """What in a folder differs, in words, from the code that was handed out, but for what is in the gaps."""
    edits = []
    for path, original in sorted(originals.items()):
        text = read(Path(folder) / path)
        edits += [f"{path} is gone"] if text is None else compare(path, original, text)
    new = (found.relative_to(folder).as_posix() for place in ("", "lib", "tests")
           for found in Path(folder, place).glob("*") if found.name.endswith(CODE))
    return edits + [f"{path} is new" for path in sorted(set(new) - set(originals))]
