"""What was changed outside the gaps: your code beside the code as it was handed out, which tests/handout.zip keeps."""
import re
import zipfile
import zlib
from difflib import SequenceMatcher
from pathlib import Path
from typing import Dict, List, Optional, Tuple, Union

from tests.scoring.report import in_one_line

HANDED_OUT = "tests/handout.zip"                    # course/handout.py writes it
CODE = (".py", ".cfg", ".ini", ".toml", ".sh", ".bat", ".yml", "requirements.txt")
SHOWN = 5                                           # edits of a file, at most
MARKER = re.compile(r"\s*# (START|END) TODO (\S+)")


def handed_out(folder: Union[str, Path]) -> Dict[str, str]:
    """The code as it was handed out, by path; without any where the folder is no handout."""
    try:
        with zipfile.ZipFile(str(Path(folder) / HANDED_OUT)) as file:
            return {name: file.read(name).decode("utf-8") for name in file.namelist() if name.endswith(CODE)}
    except (OSError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error):  # missing or damaged
        return {}


def split_lines(text: str) -> List[str]:
    """The lines as Python sees them, and as git may leave them; str.splitlines() would split inside of some."""
    return re.split(r"\r\n|\r|\n", text)


def gap_lines(text: str) -> List[Tuple[str, int, int]]:
    """(task, first, end) of each gap: split_lines(text)[first:end] are those between its markers START and END TODO."""
    gaps, task, first = [], None, 0
    for number, line in enumerate(split_lines(text)):
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
    return [(number + 1, line.rstrip()) for number, line in enumerate(split_lines(text)) if number not in inside]


def compare(path: str, original: str, text: str) -> List[str]:
    """The edits outside the gaps of one file, in words."""
    old, new = outside_gaps(original), outside_gaps(text)
    edits = []
    for kind, a, b, c, d in SequenceMatcher(None, [line for _, line in old], [line for _, line in new],
                                            autojunk=False).get_opcodes():
        before, after = ([line for _, line in lines if line] for lines in (old[a:b], new[c:d]))
        if kind == "equal" or not before and not after:     # nothing, or blank lines
            continue
        number = new[min(c, len(new) - 1)][0] if new else 1
        lost = [line.strip() for line in before if MARKER.match(line) and line not in after]
        pairs = list(zip(before, after)) if len(before) == len(after) else [(before, after)]
        if lost:
            edits.append(f"{path}, line {number}: the marker `{lost[0]}` is not as it was; the gap is found by it")
            continue
        for one, other in pairs:
            edits.append(f"{path}, line {number}: {_quote(other)} in place of {_quote(one)}")
            number += 1
    return edits[:SHOWN] + [f"{path}: {len(edits) - SHOWN} more"] * (len(edits) > SHOWN)


def _quote(lines: Union[str, List[str]]) -> str:
    """The first line."""
    lines = [lines] if isinstance(lines, str) else lines
    if not lines:
        return "nothing"
    first = lines[0].strip()
    first = f"`{first}`" if len(first) <= 60 else f"`{first[:57]}...`"
    return first + (f" and {len(lines) - 1} more" if len(lines) > 1 else "")


def read(path: Path) -> Optional[str]:
    """The text of a file, None where there is none."""
    return path.read_bytes().decode("utf-8-sig", errors="replace") if path.is_file() else None


def find_edits(folder: Union[str, Path], originals: Dict[str, str]) -> List[str]:
    """What in a folder differs, in words, from the code that was handed out, but for what is in the gaps."""
    edits = []
    for path, original in sorted(originals.items()):
        text = read(Path(folder) / path)
        edits += [f"{path} is gone"] if text is None else compare(path, original, text)
    new = (found.relative_to(folder).as_posix() for pattern in ("*", "lib/**/*", "tests/**/*")
           for found in Path(folder).glob(pattern) if found.name.endswith(CODE))
    edits += [f"{path} is new" for path in sorted(set(new) - set(originals))]
    return [in_one_line(edit) for edit in edits]
