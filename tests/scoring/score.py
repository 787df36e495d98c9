"""The score: what each task earns, and for each failure the first thing to look at.

A task's points are shared equally by its tests; a test that runs with several inputs counts once for each.
"""
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from tests.scoring import edits, handed_in, python38
from tests.scoring.edition import CHANGELOG, Edition, read_edition
from tests.scoring.report import MISTAKE, NOT_ENDED, NOT_FILLED_IN, NOT_RUN, Results, in_one_line, read_report
from tests.scoring.tasks import TASKS, Task

ROOT = Path(__file__).resolve().parents[2]
START = 600                                         # seconds until the first test, for imports from a slow disk
TIMEOUT = 30                                       # and for one test, of which the slowest takes one
OPTIONAL = "not filled in (optional)"
SHORT_TIMEOUT = 10                                  # once a test has not ended


class Row(NamedTuple):
    """A task and what it earns; None where a person grades it. Failures are pairs of a test and what it says."""
    task: Task
    earned: Optional[Fraction]
    note: str
    failures: Sequence[Tuple[str, str]] = ()


class Score(NamedTuple):
    """The whole score. In words: edits outside the gaps, and what needs a Python newer than 3.8."""
    rows: List[Row]
    edits: List[str]
    seed: int
    newer: Sequence[str] = ()
    edition: Optional[Edition] = None  # of the tests
    based_on: str = ""  # the edition that a graded submission started from: "1", "before 2", or "" if unknown


def run_tests(folder: Path, seed: int) -> Results:
    """Run the tests in a process of their own. If the code ends that, or never ends, go on in another with the rest.

    Raises:
        RuntimeError: pytest does not start, or a test file cannot be imported.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["MPLBACKEND"] = "Agg"
    results: Results = {}
    left: List[str] = []
    patience = TIMEOUT
    with tempfile.TemporaryDirectory() as scratch:
        report, output = Path(scratch) / "report.jsonl", Path(scratch) / "output.txt"
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--seed={seed}", f"--report={report}"]
        while True:
            report.write_bytes(b"")
            with open(output, "wb") as file:
                process = subprocess.Popen(
                    command + ["-o", f"faulthandler_timeout={patience - 1}"] + left, cwd=str(folder), env=environment,
                    stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
                try:
                    ended = _wait(process, report, patience)
                finally:
                    _kill(process)
            results.update(read_report(report))
            said = output.read_text(encoding="utf-8", errors="replace")
            broken = [f"{test}: {words}" for test, (_, words) in results.items() if words and "::" not in test]
            if broken or not results:
                last = in_one_line(("\n".join(["no output", said] + broken[:1])).strip().splitlines()[-1])
                raise RuntimeError(f"the tests do not start: {last}. Was a file of tests/ changed?")
            if not ended:
                busy = f"Your code was still busy after {patience} seconds{_place(said)}: a loop without an end?"
                results.update({test: (task, busy) for test, (task, words) in results.items() if words == NOT_ENDED})
                patience = SHORT_TIMEOUT
            before, left = len(left), [test for test, (_, words) in results.items() if words == NOT_RUN]
            if not left or len(left) == before:
                return results


def _kill(process: subprocess.Popen) -> None:
    """End it, and where the system can tell them, all processes that it has started."""
    if hasattr(os, "killpg"):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.kill()
    process.wait()


def _wait(process: subprocess.Popen, report: Path, patience: float) -> bool:
    """Wait until the process has ended, which is True, or a test has taken too long."""
    size, since = 0, time.monotonic()
    while process.poll() is None:
        if time.monotonic() - since > (patience if size else START):
            return False
        time.sleep(0.05)
        if report.stat().st_size != size:
            size, since = report.stat().st_size, time.monotonic()
    return True


def _place(output: str) -> str:
    """Where in lib the code was busy, out of the traceback that Python's faulthandler has left."""
    found = re.search(r'File "[^"]*[/\\](lib[/\\]\w+\.py)", line (\d+) in (\S+)', output)
    return f" in {found[3]}, {found[1]}, line {found[2]}" if found else ""


def row_of_tests(task: Task, results: Results) -> Row:
    """What a task earns that tests grade."""
    said = [(test, words) for test, (number, words) in results.items() if number == task.number]
    failures = [(test, words) for test, words in said if words]
    passed = len(said) - len(failures)
    note = f"{passed} of {len(said)} tests pass"
    if not said:
        note, failures = "its tests are missing", [("", "There are no tests of this task in tests/.")]
    elif all(NOT_FILLED_IN.match(words) for _, words in failures) and not passed:
        note = "not filled in" if task.points else OPTIONAL
    return Row(task, Fraction(task.points * passed, max(len(said), 1)), note, failures)


def row_of_bonus(task: Task, missing: List[str]) -> Row:
    """What a bonus task earns."""
    missing = [in_one_line(words) for words in missing]
    note = missing[0] if len(missing) == 1 and len(missing[0]) < 40 else f"{len(missing)} complaints" if missing else ""
    return Row(task, Fraction(0 if missing else task.points), note, [("", words) for words in missing])


def score(folder: Path = ROOT, seed: Optional[int] = None) -> Score:
    """Grade what is in a folder, with the tests that are in it.

    Args:
        seed: repeats the random inputs of an earlier run.

    Raises:
        RuntimeError: as for `run_tests`.
        OSError: a file cannot be read or written.
    """
    seed = random.SystemRandom().randrange(10 ** 6) if seed is None else seed
    results = run_tests(folder, seed)
    bonus = {"style": handed_in.style, "feedback": handed_in.feedback}
    rows = []
    for task in TASKS:
        if task.bonus:
            rows.append(row_of_bonus(task, bonus[task.number](folder)))
        elif task.graded_by == "tests":
            rows.append(row_of_tests(task, results))
        else:
            rows.append(Row(task, None, f"by {task.graded_by}; {handed_in.submission(folder)[1]}"))
    originals = edits.handed_out(folder)
    if originals:
        found = edits.find_edits(folder, originals)
    else:
        is_reference = (folder / "course").is_dir()
        found = [] if is_reference else [f"{edits.HANDED_OUT} is missing or damaged: no edits can be found without it"]
    return Score(rows, found, seed, python38.find_newer(folder), read_edition(edits.read(folder / CHANGELOG)))


def to_do(row: Row) -> bool:
    """Whether a row's tests fail; those of an optional task may wait until it is begun."""
    return bool(row.failures) and row.note != OPTIONAL


def all_pass(rows: Sequence[Row]) -> bool:
    """Whether there is nothing to do for the tests; bonus tasks do not count."""
    return not any(to_do(row) for row in rows if not row.task.bonus)


# In words

def points(number: Optional[Fraction]) -> str:
    return "" if number is None else f"{float(number):.2f}".rstrip("0").rstrip(".")


def table(rows: Sequence[Row]) -> List[str]:
    """The tasks as a table of Markdown, which is readable as it stands."""
    cells = [("task", "points", "earned", "note")]
    for row in rows:
        number = f"{row.task.number} " if row.task.number[0].isdigit() else ""
        bonus = " (bonus)" if row.task.bonus else ""
        cells.append((number + row.task.title + bonus, str(row.task.points), points(row.earned),
                      row.note.replace("|", "/")))
    here = [row for row in rows if row.earned is not None]
    full, extra = (sum(row.task.points for row in here if row.task.bonus == bonus) for bonus in (False, True))
    by_person = sum(row.task.points for row in rows if row.earned is None)
    cells.append(("sum", f"{full + by_person} + {extra}", points(sum(row.earned for row in here)),
                  f"of {full} + {extra} given here; {by_person} more by a person"))
    widths = [max(len(row[column]) for row in cells) for column in range(3)]
    lines = ["| {:{}} | {:>{}} | {:>{}} | {} |".format(*(x for pair in zip(row, widths) for x in pair), row[3])
             for row in cells]
    return lines[:1] + ["| " + "-" * widths[0] + " | " + "-" * (widths[1] - 1) + ": | " + "-" * (widths[2] - 1)
                        + ": | --- |"] + lines[1:]


def first_thing(message: str) -> str:
    """What to look at first: the mistake, if it is a known one, else what was found."""
    message = re.sub(r"^Task \S+: ", "", message)
    known = re.search(re.escape(MISTAKE) + "(.*)", message)
    return known[1] if known else message.split("\n")[0].rstrip(":.")


def in_a_line(message: str) -> str:
    """The first thing, and where no mistake is known, what was expected and what came, or the exception."""
    found = re.findall(r"^ +(?:expected|got): .*|^\w+(?:Error|Exception): .*", message, re.MULTILINE)
    if MISTAKE in message or not found:
        return first_thing(message)
    return f"{first_thing(message)}: {', '.join(' '.join(line.split()) for line in found)}"


def failures_in_words(row: Row) -> List[str]:
    """A task's failures: one message in full, if possible one that names the mistake; of the others the first thing."""
    messages = [message for _, message in row.failures]
    in_full = next((message for wanted in (rf"(?s)^(?!.*other tests say).*{MISTAKE}", "    expected: ", "")
                    for message in messages if re.search(wanted, message)))
    groups: Dict[str, List[Tuple[str, str]]] = {first_thing(in_full): []}
    for test, message in row.failures:
        groups.setdefault(first_thing(message), []).append((test.split("::")[-1], message))
    files = sorted({test.split("::")[0] for test, _ in row.failures if test})
    commands = ", ".join(f"`python -m {file[:-3].replace('/', '.')}`" for file in files)
    lines = ["### " + ": ".join(filter(None, [f"{row.task.number} {row.task.title}", commands])), ""]
    for number, tests in enumerate(groups.values()):
        lines += [f"    {tests[0][0]}" + (f" and {len(tests) - 1} more" if len(tests) > 1 else "")]
        lines += [f"        {line}" for line in (in_a_line(tests[0][1]) if number else in_full).split("\n")]
    return lines + [""]


def edition_in_words(score: Score) -> List[str]:
    """Return the edition of the tests and, if it is another one, that of a graded submission."""
    if score.edition is None:
        return []
    other = score.based_on not in ("", str(score.edition.number))
    return [f"Edition {score.edition.number} of {score.edition.date}"
            + (f" (the submission's edition: {score.based_on})" if other else ""), ""]


def markdown(score: Score) -> str:
    """The score in Markdown that can be read in a terminal."""
    lines = ["# Score", ""] + edition_in_words(score) + table(score.rows)
    lines += ["", "A task's points are shared equally by its tests.", ""]
    failed = [row for row in score.rows if to_do(row)]
    if failed:
        lines += ["## What to look at first", ""]
        for row in failed:
            lines += complaints_in_words(row) if row.task.bonus else failures_in_words(row)
    if score.edits:
        lines += ["## Edits outside the gaps", "",
                  "Only the gaps may be changed; please revert these edits. An import goes into the gap that needs it, "
                  "as its first line.", ""]
        lines += [f"    {edit}" for edit in score.edits] + [""]
    if score.newer:
        lines += ["## Newer than Python 3.8", "",
                  "The code must run on Python 3.8, whichever Python ran the tests here.", ""]
        lines += [f"    {words}" for words in score.newer] + [""]
    lines += [f"`python -m tests --seed {score.seed}` repeats this run with the same random inputs.", ""]
    return "\n".join(lines)


def complaints_in_words(row: Row) -> List[str]:
    """What a bonus task lacks."""
    complaints = [words for _, words in row.failures]
    more = [f"and {len(complaints) - 5} more"] if len(complaints) > 5 else []
    where = {"style": "`pycodestyle --max-line-length 120 .`", "feedback": "`feedback.md`"}[row.task.number]
    return [f"### {row.task.title}: {where}", ""] + [f"    {words}" for words in complaints[:5] + more] + [""]
