"""Edits outside the gaps: the differences between your code and the original code, kept in tests/handout.zip."""
import re
import zipfile
import zlib
from difflib import SequenceMatcher
from pathlib import Path
from typing import Dict, List, Optional, Tuple, Union

from tests.scoring.report import in_one_line

HANDED_OUT = "tests/handout.zip"                    # course/handout.py writes it
CODE = (".py", ".cfg", ".ini", ".toml", ".sh", ".bat", ".yml", "requirements.txt")
SHOWN = 5                                           # report at most this many edits of a file
MARKER = re.compile(r"\s*# (START|END) TODO (\S+)")


def handed_out(folder: Union[str, Path]) -> Dict[str, str]:
    """Return the original code by path; nothing if the folder is not a handout."""
    try:
        with zipfile.ZipFile(str(Path(folder) / HANDED_OUT)) as file:
            return {name: file.read(name).decode("utf-8") for name in file.namelist() if name.endswith(CODE)}
    except (OSError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error):  # missing or damaged
        return {}


def split_lines(text: str) -> List[str]:
    """Split a text at the line ends of Python and git; str.splitlines() also splits at other characters."""
    return re.split(r"\r\n|\r|\n", text)


def gap_lines(text: str) -> List[Tuple[str, int, int]]:
    """Return (task, first, end) of each gap: split_lines(text)[first:end] is between its markers START and END TODO."""
    gaps: List[Tuple[str, int, int]] = []
    task, first = "", 0
    for number, line in enumerate(split_lines(text)):
        marker = MARKER.match(line)
        if marker and marker[1] == "START":
            task, first = marker[2], number + 1
        elif marker and marker[2] == task:
            gaps.append((task, first, number))
            task = ""
    return gaps


def outside_gaps(text: str) -> List[Tuple[int, str]]:
    """Return the lines that are not in a gap, with their numbers."""
    inside = {number for _, first, end in gap_lines(text) for number in range(first, end)}
    return [(number + 1, line.rstrip()) for number, line in enumerate(split_lines(text)) if number not in inside]


def compare(path: str, original: str, text: str) -> List[str]:
    """Describe the edits outside the gaps of one file."""
    old, new = outside_gaps(original), outside_gaps(text)
    edits: List[str] = []
    for kind, a, b, c, d in SequenceMatcher(None, [line for _, line in old], [line for _, line in new],
                                            autojunk=False).get_opcodes():
        before, after = ([line for _, line in lines if line] for lines in (old[a:b], new[c:d]))
        if kind == "equal" or not before and not after:     # only blank lines
            continue
        number = new[min(c, len(new) - 1)][0] if new else 1
        lost = [line.strip() for line in before if MARKER.match(line) and line not in after]
        if lost:
            edits.append(f"{path}, line {number}: the marker `{lost[0]}` was changed or removed, but the gap needs it")
        elif len(before) == len(after):
            edits += [f"{path}, line {number + i}: {_quote([line])} instead of {_quote([before[i]])}"
                      for i, line in enumerate(after)]
        elif not before:
            edits.append(f"{path}, line {number}: {_quote(after)} added")
        elif not after:
            edits.append(f"{path}, line {number}: {_quote(before)} removed")
        else:
            edits.append(f"{path}, line {number}: {_quote(after)} instead of {_quote(before)}")
    return edits[:SHOWN] + [f"{path}: {len(edits) - SHOWN} more"] * (len(edits) > SHOWN)


def _quote(lines: List[str]) -> str:
    """Quote the first line, and count the others."""
    first = lines[0].strip()
    first = f"`{first}`" if len(first) <= 60 else f"`{first[:57]}...`"
    return first + (f" and {len(lines) - 1} more" if len(lines) > 1 else "")


def read(path: Path) -> Optional[str]:
    """Return the text of a file, None if there is none."""
    return path.read_bytes().decode("utf-8-sig", errors="replace") if path.is_file() else None


def find_edits(folder: Union[str, Path], originals: Dict[str, str]) -> List[str]:
    """Describe what differs in a folder from the original code, except inside the gaps."""
    edits: List[str] = []
    for path, original in sorted(originals.items()):
        text = read(Path(folder) / path)
        edits += [f"{path} is missing"] if text is None else compare(path, original, text)
    new = (found.relative_to(folder).as_posix() for pattern in ("*", "lib/**/*", "tests/**/*")
           for found in Path(folder).glob(pattern) if found.name.endswith(CODE))
    edits += [f"{path} is new" for path in sorted(set(new) - set(originals))]
    return [in_one_line(edit) for edit in edits]
