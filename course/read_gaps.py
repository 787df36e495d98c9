"""Print what submissions wrote into the gaps, for reading: python -m course.read_gaps SUBMISSION ...

For each gap, submissions with the same code are listed together and their code is printed once. A mark in front of a
line points at code that a solution does not need, such as the import of os. New modules in lib follow, and a table of
the submissions that share unusual code. The submissions' code is only read, never run.
"""
import ast
import hashlib
import io
import re
import sys
import tempfile
import textwrap
import tokenize
import unicodedata
from collections import defaultdict
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from course.gaps import Gap, cut, read_source, split
from course.grade import names_of
from course.hand_in import HandInError, collect
from course.handout import contents_of_gaps, fill, handout_path, student_files
from lib.script import Parser, run_script
from tests.scoring.edits import handed_out, outside_gaps, read, split_lines
from tests.scoring.report import in_one_line, printable

Place = Tuple[str, str, str]        # the task, file and function of a gap
Files = Dict[str, Tuple[str, List[Gap]]]  # for each file with gaps, its text in the handout and its gaps

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 160                         # columns of the output
LISTED, MARKED, CHECKED = 60, 20, 2000  # lines: listed, listed after these because they are marked, and checked at all
MODULES = 20                        # new modules of a submission that are listed
LARGEST = 20000                     # characters of code that are parsed; deeply nested code can crash the parser
LONG = 60                           # tokens of a gap that two solutions hardly share by chance
PAIRS = 30                          # pairs in the table

MARKS = [(word, re.compile(pattern)) for word, pattern in (
    ("tests", r"\b(_?pytest|unittest|mock|conftest|tests)\b"),
    ("system", r"\b(sys|gc|os|posix|nt|inspect|ctypes|subprocess|socket|importlib|_*builtins_*|atexit|signal|_?thread"
               r"|threading|multiprocessing|concurrent|asyncio|faulthandler|shutil|platform|pickle|marshal)\b"),
    ("frames", r"\b(_getframe|_current_frames|currentframe|[ft]b?_(back|locals|globals|code|frame)|gi_frame|settrace"
               r"|setprofile|globals|locals|vars)\b"),
    ("dunder", r"\b__(?!(init|name|len|call|getitem|iter|future)__)\w+__\b"),
    ("file", r"\b(open|io|Path|pathlib|tempfile|(read|write)_(text|bytes)|(torch|np|numpy|json)\.(load|save)\w*"
             r"|fromfile|tofile|memmap|genfromtxt|loadtxt|savetxt|from_file)\b"),
    ("exec", r"(?<![\w.])(exec|eval|compile|getattr|setattr|delattr)\b"),
    ("exit", r"\b(SystemExit|BaseException|KeyboardInterrupt|GeneratorExit)\b|(?<![\w.])(exit|quit)\b"
             r"|\bexcept\s*[:\\]"))]
IGNORED = (tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER)
LAYOUT = (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
CANNOT_PARSE = (SyntaxError, ValueError, RecursionError, MemoryError, SystemError, tokenize.TokenError)


class Code(NamedTuple):
    """What a submission has in one place, normalised for comparison and ready for printing."""
    same: str                       # a checksum; equal if only comments and layout differ
    renamed: str                    # a checksum; equal if also the names of the student's own variables differ
    size: int                       # number of tokens, 0 if the gap is not filled in
    lines: Sequence[Tuple[str, str]] = ()  # a mark, "" if there is none, and a line


class Submission(NamedTuple):
    """The code of a submission: the contents of the gaps, and what else of lib counts."""
    name: str
    gaps: Dict[Place, Code]
    others: Dict[str, Code]         # by title


def read_code(lines: Sequence[str], first: int, end: int, indent: int = 0, given: str = "",
              wanted: Optional[Set[int]] = None) -> Code:
    """Normalise and mark some lines of a file.

    Args:
        lines: the whole file.
        first, end: the code is lines[first:end].
        indent: its indentation; code at a smaller one is marked.
        given: the handout's text of the file: its names are not renamed, and its comments are not shown.
        wanted: the numbers of the lines to show, if not all.
    """
    text, inside = "\n".join(lines) + "\n", lines[first:end]
    same = renamed = "\n".join(line.rstrip() for line in inside if line.strip())
    size = len(re.findall(r"\w+|[^\w\s]", same))
    comments: Dict[int, int] = {}   # the columns in which they begin
    patched: Set[int] = set()
    if len(same) <= LARGEST:
        try:
            tokens = []
            for token in tokenize.generate_tokens(io.StringIO(text).readline):
                if token.type == tokenize.COMMENT:
                    comments[token.start[0]] = token.start[1]
                elif first < token.start[0] <= end and token.type not in IGNORED:
                    tokens.append((token.type, "" if token.type in LAYOUT else token.string))
            size, same = sum(kind not in LAYOUT for kind, _ in tokens), repr(tokens)
            renamed = same
            tree = ast.parse(text)
            patched = _patched_lines(tree)
            renamed = _rename(tree, _variables(given))
        except CANNOT_PARSE:        # then it is compared and shown as it is
            pass
    hidden = {line.strip() for line in split_lines(given)}
    shown: List[Tuple[str, str]] = []
    for number, line in enumerate(inside[:CHECKED], first + 1):
        is_given = line.lstrip().startswith("#") and line.strip() in hidden
        if line.strip() and not is_given and (wanted is None or number in wanted):
            code = line[:comments.get(number, len(line))]
            shown.append(("patch" if number in patched else _mark(code, line, indent), line))
    rest = [("", line) for line in inside[CHECKED:]]
    return Code(_checksum(same), _checksum(renamed), size, shown + rest)


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()


def _mark(code: str, line: str, indent: int) -> str:
    """Return a word that says why a line deserves attention, "" if it does not."""
    plain = unicodedata.normalize("NFKC", code[:10 * LARGEST])
    for word, pattern in MARKS:
        if pattern.search(plain):
            return word
    wide = code.expandtabs()
    if wide.strip() and len(wide) - len(wide.lstrip()) < indent:
        return "indent"
    start = line[:WIDTH]
    if printable(start) != start:
        return "hidden"             # control characters, or characters that nobody sees
    return "long" if len(line) > WIDTH - 13 else ""


def _patched_lines(tree: ast.AST) -> Set[int]:
    """Return the lines that assign to an attribute of anything but self."""
    return {node.lineno for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load)
            and not (isinstance(node.value, ast.Name) and node.value.id == "self")}


VARIABLES = {(ast.Name, "id"), (ast.arg, "arg"), (ast.ExceptHandler, "name")}  # the fields that name a variable


def _rename(tree: ast.AST, given: Set[str]) -> str:
    """Describe code in which the student's own variables are numbered in the order in which they appear.

    A name that is given, or that also has another use (as a function or in a string), is kept.

    Raises:
        RecursionError: it is nested too deeply.
    """
    variables: List[Tuple[ast.AST, str, str]] = []
    keep, assigned = set(given), set()
    own: Dict[str, str] = {}
    for node in ast.walk(tree):
        for field, value in ast.iter_fields(node):
            texts = [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]
            if (type(node), field) in VARIABLES:
                variables += [(node, field, text) for text in texts]
                assigned.update([] if isinstance(getattr(node, "ctx", None), ast.Load) else texts)
            elif not isinstance(node, ast.Attribute):
                keep.update(texts)
    for node, field, name in variables:
        if name in assigned - keep:
            setattr(node, field, own.setdefault(name, f"variable {len(own)}"))
    return ast.dump(tree)


@lru_cache(maxsize=None)
def _variables(given: str) -> Set[str]:
    """Return the variables in a file of the handout."""
    return {getattr(node, field) for node in ast.walk(ast.parse(given)) for kind, field in VARIABLES
            if isinstance(node, kind)}


def gap_files(root: Path) -> Files:
    """Return for each file of the project with gaps its text in the handout, and its gaps."""
    files: Files = {}
    for name in student_files(root):
        if name.startswith("lib/") and name.endswith(".py"):
            source = read_source(root, name)
            files[name] = cut(name, source), [piece for piece in split(name, source) if isinstance(piece, Gap)]
    return {name: (text, gaps) for name, (text, gaps) in files.items() if gaps}


def read_submission(name: str, folder: Path, files: Files, given: Set[str]) -> Submission:
    """Read the code of a submission that counts in grading.

    Args:
        folder: what `collect` returns.
        files: what `gap_files` returns.
        given: the paths of the handout.
    """
    gaps: Dict[Place, Code] = {}
    others: Dict[str, Code] = {}
    theirs = handed_out(folder)
    for path, (today, gaps_of_file) in files.items():
        mine = read(folder / path)
        if mine is None:
            continue
        contents, lines = contents_of_gaps(mine), split_lines(today)
        for gap, (key, (first, end, _)) in zip(gaps_of_file, contents_of_gaps(today).items()):
            if key in contents:
                inside = contents[key][2]
                code = read_code(lines[:first] + inside + lines[end:], first, first + len(inside), len(gap.indent),
                                 today)
                unfilled = code.same == read_code(lines, first, end).same
                gaps[gap.task, path, gap.name] = code._replace(size=0) if unfilled else code
        before = {line for _, line in outside_gaps(today)}
        new = {number for number, line in outside_gaps(mine) if line and line not in before}
        if new and (fill(today, mine) is None or _outside(mine) != _outside(theirs.get(path, today))):
            lines = split_lines(mine)
            others[f"{path}, lines that were changed outside the gaps"] = read_code(lines, 0, len(lines), wanted=new)
    modules = sorted(found.relative_to(folder).as_posix() for found in folder.glob("lib/**/*.py") if found.is_file())
    modules = [path for path in modules if path not in given]
    for path in modules[:MODULES]:
        lines = split_lines(read(folder / path) or "")
        others[f"{path} (new)"] = read_code(lines, 0, len(lines))
    if len(modules) > MODULES:
        others[f"{len(modules) - MODULES} more new modules in lib of {name}"] = Code("", "", 0)
    return Submission(name, gaps, others)


def _outside(text: str) -> List[str]:
    return [line for _, line in outside_gaps(text) if line]


def _listing(title: str, codes: Dict[str, Code], notes: Sequence[str] = ()) -> Iterator[str]:
    """Yield the lines that show one place: groups of submissions, and the code of each group."""
    yield _cut(f"== {in_one_line(title)}")
    for note in notes:
        yield from _wrap(note, "   ")
    groups: Dict[str, List[str]] = defaultdict(list)
    for name, code in codes.items():
        groups[code.renamed].append(name)
    for names in sorted(groups.values(), key=lambda names: (-len(names), names)):
        first = codes[names[0]]
        exact = [name for name in names if codes[name].same == first.same]
        renamed = [name for name in names if name not in exact]
        said = ", ".join(exact) + (f"; the same with other names or notation: {', '.join(renamed)}" if renamed else "")
        yield ""
        yield from _wrap(f"{len(names)}: {said}")
        yield from _code_lines(first.lines)
    yield ""


def _code_lines(lines: Sequence[Tuple[str, str]]) -> Iterator[str]:
    rest = lines[LISTED:]
    marked = [line for line in rest if line[0]][:MARKED]
    for place, (mark, line) in enumerate([*lines[:LISTED], *marked]):
        if place == LISTED:
            yield f"{'':9}| ... and, of {len(rest)} more lines, those with marks:"
        shown = printable(line[:10 * WIDTH].expandtabs(4)).replace("\n", " ")
        yield _cut(f"{'! ' + mark if mark else '':9}| {shown}")
    if rest:
        more = len(rest) - len(marked)
        unchecked = f"; lines after {CHECKED} are not checked for marks" if len(lines) > CHECKED else ""
        yield f"{'':9}| ... and {more} more lines{unchecked}"


def _wrap(text: str, indent: str = "") -> List[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent="   ", break_on_hyphens=False)


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else line[:WIDTH - 3] + "..."


def shared(submissions: Sequence[Submission], places: Sequence[Place]) -> Dict[Tuple[str, str], List[str]]:
    """Return for each pair of submissions the long gaps in which few others have the same code."""
    pairs: Dict[Tuple[str, str], List[str]] = defaultdict(list)
    for place in places:
        groups: Dict[str, List[str]] = defaultdict(list)
        for submission in submissions:
            code = submission.gaps.get(place)
            if code and code.size >= LONG:
                groups[code.renamed].append(submission.name)
        for names in groups.values():
            if len(names) <= _rare(submissions):
                for pair in combinations(names, 2):
                    pairs[pair].append(f"{place[0]} {place[2]}")
    return pairs


def _rare(submissions: Sequence[Submission]) -> int:
    """Return how many submissions may have the same code if it is to count as rare."""
    return max(2, len(submissions) // 10)


def _table(submissions: Sequence[Submission], places: Sequence[Place]) -> Iterator[str]:
    """Yield the lines of the table of pairs."""
    pairs = sorted(shared(submissions, places).items(), key=lambda item: (-len(item[1]), item[0]))
    yield "== Pairs of submissions that share unusual code"
    yield from _wrap(
        f"A gap counts if its code has at least {LONG} tokens (words, numbers and signs) and at most "
        f"{_rare(submissions)} of the {len(submissions)} submissions have the same code, apart from comments, layout "
        "and names of variables. Shorter gaps do not count: most have only a few sensible solutions, so teams that "
        "never talked to each other write the same code. A longer gap can agree by chance too. If a pair shares "
        "several, read both and ask the teams; this table proves nothing.", "   ")
    yield ""
    for (one, other), gaps in pairs[:PAIRS]:
        yield from _wrap(f"{len(gaps)}: {one} and {other}: {', '.join(gaps)}")
    if len(pairs) > PAIRS:
        yield f"... and {len(pairs) - PAIRS} more pairs"
    if not pairs:
        yield "none"


def listing(submissions: Sequence[Submission], files: Files, task: str = "") -> Iterator[str]:
    """Yield the lines of the whole output.

    Args:
        submissions: what `read_submission` returns, for each submission.
        files: what `gap_files` returns.
        task: show only the gaps of this task, and no other code.
    """
    places = sorted([(gap.task, path, gap.name) for path, (_, gaps) in files.items() for gap in gaps
                     if task in ("", gap.task)], key=lambda place: place[0])
    for place in places:
        codes = {submission.name: submission.gaps[place] for submission in submissions if place in submission.gaps}
        filled = {name: code for name, code in codes.items() if code.size}
        missing = [submission.name for submission in submissions if submission.name not in codes]
        yield from _listing(f"{place[0]} {place[2]} ({place[1]})", filled, [
            f"not filled in: {len(codes) - len(filled)} of {len(submissions)}" if len(filled) < len(codes) else "",
            f"file or markers missing: {', '.join(missing)}" if missing else ""])
    if not task:
        for title in dict.fromkeys(title for submission in submissions for title in submission.others):
            codes = {submission.name: submission.others[title] for submission in submissions
                     if title in submission.others}
            yield from _listing(title, codes)
    yield from _table(submissions, places)


def main() -> None:
    files = gap_files(ROOT)
    parser = Parser((__doc__ or "").split("\n\n", 1)[-1], prog="python -m course.read_gaps")
    parser.add_argument("submissions", nargs="+", type=Path, metavar="SUBMISSION",
                        help="a student's repository: a folder, a zip file or a tar file")
    parser.add_argument("--task", choices=sorted({gap.task for _, gaps in files.values() for gap in gaps}),
                        help="show only the gaps of this task")
    args = parser.parse_args()
    given = {handout_path(name) for name in student_files(ROOT)}
    submissions: List[Submission] = []
    for name, path in zip(names_of(args.submissions, {}), args.submissions):
        try:
            with tempfile.TemporaryDirectory() as scratch:
                folder, _ = collect(path, Path(scratch).resolve() / "handed_in")
                submissions.append(read_submission(name, folder, files, given))
        except (HandInError, OSError) as error:
            print(f"read_gaps: {name} cannot be read: {in_one_line(str(error))}", file=sys.stderr)
    if submissions:
        for line in listing(submissions, files, args.task or ""):
            print(line)
    sys.exit(len(submissions) < len(args.submissions))


if __name__ == "__main__":
    sys.exit(run_script(main))
