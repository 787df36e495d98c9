"""The score: what each task earns, and for each failure the first thing to look at.

A task's points are shared equally by its tests; a test that runs with several inputs counts once for each.
"""
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from tests import edits, handed_in
from tests.report import MISTAKE, NOT_FILLED_IN, NOT_RUN, Results, read_report
from tests.tasks import TASKS, Task

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 60                                       # seconds for one test, of which the slowest takes one
START = 600                                         # and until the first one, for imports from a slow disk


class Row(NamedTuple):
    """A task and what it earns; None where a person grades it. Failures are pairs of a test and what it says."""
    task: Task
    earned: Optional[Fraction]
    note: str
    failures: Sequence[Tuple[str, str]] = ()


class Score(NamedTuple):
    """The whole score. edits is None where the folder does not know how it was handed out."""
    rows: List[Row]
    edits: Optional[List[str]]
    seed: int


def run_tests(folder: Path, seed: int) -> Results:
    """Run the tests in a process of their own. If the code ends that, or never ends, go on in another with the rest.

    Raises:
        RuntimeError: pytest does not start.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    results: Results = {}
    left: List[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        while True:
            report = Path(scratch) / f"{len(left)}.jsonl"
            command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--seed={seed}", f"--report={report}"]
            output = Path(scratch) / "output.txt"
            with open(output, "wb") as file:
                process = subprocess.Popen(command + left, cwd=str(folder), env=environment, stdin=subprocess.DEVNULL,
                                           stdout=file, stderr=subprocess.STDOUT)
                try:
                    _wait(process, report)
                finally:
                    process.kill()
                    process.wait()
            results.update(read_report(report))
            if not results:
                *_, last = ["no output"] + output.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
                raise RuntimeError(f"pytest does not start ({last.strip()}): are the requirements installed?")
            before, left = len(left), [test for test, (_, said) in results.items() if said == NOT_RUN]
            if not left or len(left) == before:
                return results


def _wait(process: subprocess.Popen, report: Path) -> None:
    """Until the process has ended, or a test has taken too long."""
    size, since = 0, time.monotonic()
    while process.poll() is None and time.monotonic() - since < (PATIENCE if size else START):
        time.sleep(0.05)
        if report.exists() and report.stat().st_size != size:
            size, since = report.stat().st_size, time.monotonic()


def row_of_tests(task: Task, results: Results) -> Row:
    """What a task earns that tests grade."""
    said = [(test, words) for test, (number, words) in results.items() if number == task.number]
    failures = [(test, words) for test, words in said if words]
    passed = len(said) - len(failures)
    note = f"{passed} of {len(said)} tests pass"
    if not said:
        broken = [words for number, words in results.values() if words and not number]  # files that are no tests
        note, failures = "its tests are missing", [("tests", "\n".join(["There are no tests of it."] + broken[:1]))]
    elif all(NOT_FILLED_IN.match(words) for _, words in failures) and not passed:
        note = "not filled in" + (" (optional)" if not task.points else "")
    return Row(task, Fraction(task.points * passed, max(len(said), 1)), note, failures)


def row_of_bonus(task: Task, missing: List[str]) -> Row:
    """What a bonus task earns."""
    more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
    return Row(task, Fraction(0 if missing else task.points), (missing[0] + more) if missing else "")


def score(folder: Path = ROOT, seed: Optional[int] = None) -> Score:
    """Grade what is in a folder, with the tests that are in it.

    Args:
        seed: repeats the random inputs of an earlier run.

    Raises:
        RuntimeError: pytest does not start.
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
            rows.append(Row(task, None, f"{task.graded_by} grades it; {handed_in.submission(folder)[1]}"))
    originals = edits.handed_out(folder)
    return Score(rows, edits.find_edits(folder, originals) if originals else None, seed)


def all_pass(rows: Sequence[Row]) -> bool:
    """Whether all tests pass; those of an optional task may wait until it is begun."""
    return not any(row.failures and row.note != "not filled in (optional)" for row in rows)


# In words

def points(number: Optional[Fraction]) -> str:
    return "" if number is None else f"{float(number):.2f}".rstrip("0").rstrip(".")


def table(rows: Sequence[Row]) -> List[str]:
    """The tasks as a table of Markdown, which is readable as it stands."""
    cells = [("task", "points", "earned", "note")]
    for row in rows:
        number = f"{row.task.number} " if row.task.number[0].isdigit() else ""
        bonus = " (bonus)" if row.task.bonus else ""
        cells.append((number + row.task.title + bonus, str(row.task.points), points(row.earned), row.note))
    here = [row for row in rows if row.earned is not None]
    full, extra = (sum(row.task.points for row in here if row.task.bonus == bonus) for bonus in (False, True))
    by_person = sum(row.task.points for row in rows if row.earned is None)
    cells.append(("sum", f"{full + by_person} + {extra}", points(sum(row.earned for row in here)),
                  f"of {full} + {extra} that are graded here; a person gives the other {by_person}"))
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
    in_full = next((message for _, message in row.failures if MISTAKE in message), row.failures[0][1])
    groups: Dict[str, List[Tuple[str, str]]] = {first_thing(in_full): []}
    for test, message in row.failures:
        groups.setdefault(first_thing(message), []).append((test.split("::")[-1], message))
    files = sorted({test.split("::")[0] for test, _ in row.failures})
    commands = ", ".join(f"`python -m {file[:-3].replace('/', '.')}`" for file in files if file.endswith(".py"))
    lines = [f"### {row.task.number} {row.task.title}: {commands}", ""]
    for number, tests in enumerate(groups.values()):
        lines += [f"    {tests[0][0]}" + (f" and {len(tests) - 1} more" if len(tests) > 1 else "")]
        lines += [f"        {line}" for line in (in_a_line(tests[0][1]) if number else in_full).split("\n")]
    return lines + [""]


def markdown(score: Score) -> str:
    """The score in Markdown that can be read in a terminal."""
    lines = ["# Score", ""] + table(score.rows) + ["", "A task's points are shared equally by its tests.", ""]
    failed = [row for row in score.rows if row.failures]
    if failed:
        lines += ["## What to look at first", ""]
        for row in failed:
            lines += failures_in_words(row)
        lines += [f"`python -m tests --seed {score.seed}` repeats this run with the same random inputs.", ""]
    if score.edits:
        lines += ["## Edits outside the gaps", "", "Only gaps are to be changed.", ""]
        lines += [f"    {edit}" for edit in score.edits] + [""]
    return "\n".join(lines)
