"""Edits outside the gaps: the differences between your code and the original code, kept in tests/handout.zip."""
import re
import zipfile
import zlib
from collections import Counter
from difflib import SequenceMatcher
from pathlib import Path
from typing import Dict, List, Optional, Set, Tuple, Union

from tests.scoring.report import in_one_line

HANDED_OUT = "tests/handout.zip"                    # course/handout.py writes it
CODE = (".py", ".cfg", ".ini", ".toml", ".sh", ".bat", ".yml", "requirements.txt", "page.html", ".css", ".js")
SHOWN = 5                                           # report at most this many edits of a file
LARGEST_RECORD = 4 * 2 ** 20                        # bytes of all texts in tests/handout.zip
MOST_FILES = 2000                                   # files in tests/handout.zip
MOST_PAIRS = 20000                                  # pairs of equal lines of two files; comparing more is slow
MARKER = re.compile(r"\s*# (START|END) TODO (\S+)")
NOT_GRADED = " (only .py files of lib are graded)"
READ_BY_PYTHON = ("conftest", "sitecustomize", "usercustomize")     # modules that run without being imported
LEFT_BY_TOOLS = re.compile(r"/(\.|__pycache__/)|\.(pyc|part|new|mine\d*)$")


def handed_out(folder: Union[str, Path]) -> Dict[str, str]:
    """Return the original code by path; nothing if the folder is not a handout."""
    try:
        return {name: data.decode("utf-8") for name, data in read_record(folder, CODE).items()}
    except ValueError:
        return {}


def read_record(folder: Union[str, Path], endings: Union[str, Tuple[str, ...]]) -> Dict[str, bytes]:
    """Return the files in tests/handout.zip that have these endings; nothing if it is missing, damaged or too large."""
    files: Dict[str, bytes] = {}
    left = LARGEST_RECORD
    try:
        with zipfile.ZipFile(str(Path(folder) / HANDED_OUT)) as archive:
            infos = archive.infolist()
            for info in infos if len(infos) <= MOST_FILES else ():
                if info.filename.endswith(endings):
                    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                        return {}                   # zipfile unpacks other formats in pieces of any size
                    with archive.open(info) as file:
                        files[info.filename] = file.read(left + 1)
                    left -= len(files[info.filename])
                    if left < 0:
                        return {}
    except (OSError, RuntimeError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):  # missing or damaged
        return {}
    return files


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


Lines = List[Tuple[int, str]]                       # lines with their numbers


def compare(path: str, original: str, text: str, today: Optional[str] = None) -> List[str]:
    """Describe the edits outside the gaps of one file.

    Args:
        path: the name of the file.
        original: the file as it was handed out.
        text: the file as it is now.
        today: the file in today's handout. Lines that are like there were corrected by a teacher and are no edits.
    """
    old, new, latest = ([line for line in outside_gaps(file) if line[1]]
                        for file in (original, text, original if today is None else today))
    counts = Counter(line for _, line in new)
    if any(sum(counts[line] for _, line in lines) > MOST_PAIRS for lines in (old, latest)):
        return [f"{path}: too many equal lines to compare"]
    others = _differences(latest, new)
    lacking = {line for before, _, _ in others for _, line in before}
    removals = {place for _, after, place in others if not after}
    added = {number for _, after, _ in others for number, _ in after}
    edits: List[str] = []
    for before, after, place in _differences(old, new):
        lost = [line.strip() for _, line in before if MARKER.match(line) and line not in [text for _, text in after]]
        theirs = [i for i, (number, _) in enumerate(after) if number in added]
        if not theirs:
            before = [line for line in before if line[1] in lacking] or (before if place in removals else [])
        elif len(before) == len(after):
            before = [before[i] for i in theirs]
        after = [after[i] for i in theirs]
        if not before and not after:
            continue
        number = (after or new[place:] or new[-1:] or [(1, "")])[0][0]
        if lost:
            edits.append(f"{path}, line {number}: the marker `{lost[0]}` was changed or removed, but the gap needs it")
        elif len(before) == len(after):
            edits += [f"{path}, line {line[0]}: {_quote([line])} instead of {_quote([before[i]])}"
                      for i, line in enumerate(after)]
        elif not before:
            edits.append(f"{path}, line {number}: {_quote(after)} added")
        elif not after:
            edits.append(f"{path}, line {number}: {_quote(before)} removed")
        else:
            edits.append(f"{path}, line {number}: {_quote(after)} instead of {_quote(before)}")
    return edits[:SHOWN] + [f"{path}: {len(edits) - SHOWN} more"] * (len(edits) > SHOWN)


def _differences(old: Lines, new: Lines) -> List[Tuple[Lines, Lines, int]]:
    """Return the lines before and after each change, and the place of the change in `new`."""
    matcher = SequenceMatcher(None, [line for _, line in old], [line for _, line in new], autojunk=False)
    return [(old[a:b], new[c:d], c) for kind, a, b, c, d in matcher.get_opcodes() if kind != "equal"]


def _quote(lines: Lines) -> str:
    """Quote the first line, and count the others."""
    first = lines[0][1].strip()
    first = f"`{first}`" if len(first) <= 60 else f"`{first[:57]}...`"
    return first + (f" and {len(lines) - 1} more" if len(lines) > 1 else "")


def read(path: Path) -> Optional[str]:
    """Return the text of a file, None if there is none."""
    return path.read_bytes().decode("utf-8-sig", errors="replace") if path.is_file() else None


def find_edits(folder: Union[str, Path], originals: Dict[str, str], today: Optional[Dict[str, str]] = None
               ) -> List[str]:
    """Describe what differs in a folder from the original code, except inside the gaps.

    Args:
        folder: the repository of a team.
        originals: the code that the team received, by path.
        today: the code of today's handout, if it may be another one. What is like there is no edit.
    """
    latest = originals if today is None else today
    edits: List[str] = []
    for path in sorted(set(originals) | set(latest)):
        text = read(Path(folder) / path)
        if text is not None:
            edits += compare(path, originals.get(path, latest.get(path, "")), text, latest.get(path))
        elif path in originals and path in latest:
            edits.append(f"{path} is missing")
    new = (found.relative_to(folder).as_posix() for pattern in ("*", "lib/**/*", "tests/**/*")
           for found in Path(folder).glob(pattern) if found.name.endswith(CODE) and not _is_own_script(found, folder))
    edits += [f"{path} is new" + (NOT_GRADED if re.match(r"lib/.*(?<!\.py)$", path) else "")
              for path in sorted(set(new) - set(originals) - set(latest))]
    return [in_one_line(edit) for edit in edits + _no_code(Path(folder))]


def _is_own_script(path: Path, folder: Union[str, Path]) -> bool:
    """Return whether a new file is a student's own script in the root, which none of the code uses."""
    if path.parent != Path(folder) or path.suffix in (".cfg", ".ini", ".toml"):
        return False
    return path.stem not in READ_BY_PYTHON and path.stem not in _imported(Path(folder))


def _imported(folder: Path) -> Set[str]:
    """Return the names of the modules that lib imports, also those that are not its own."""
    names: Set[str] = set()
    for path in folder.glob("lib/**/*.py"):
        for kind, rest in re.findall(r"^[ \t]*(from|import)[ \t]+(.*)", read(path) or "", re.MULTILINE):
            names.update(re.findall(r"^\w+" if kind == "from" else r"(?:^|,)[ \t]*(\w+)", rest))
    return names


def _no_code(folder: Path) -> List[str]:
    """Describe the files in lib that are not code, such as data, which grading leaves out."""
    names = sorted(found.relative_to(folder).as_posix() for found in folder.glob("lib/**/*")
                   if not found.name.endswith(CODE) and found.is_file())
    names = [name for name in names if not LEFT_BY_TOOLS.search(name)]
    return [f"{name} is new{NOT_GRADED}" for name in names[:SHOWN]] + [
        f"lib: {len(names) - SHOWN} more files that are not graded"] * (len(names) > SHOWN)
