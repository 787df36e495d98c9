"""The score: what each task earns, and for each failure the first thing to look at.

A task's points are divided equally among its tests; a parametrized test counts once for each of its inputs.
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
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from tests.scoring import edits, handed_in, python38
from tests.scoring.edition import CHANGELOG, Edition, read_edition
from tests.scoring.report import MISTAKE, NOT_ENDED, NOT_FILLED_IN, NOT_RUN, Results, in_one_line, read_report
from tests.scoring.tasks import TASKS, Task

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT = 600                                 # seconds until the first test, for imports from a slow disk
TIMEOUT = 30                                        # seconds for one test; the slowest takes about one
SHORT_TIMEOUT = 10                                  # seconds for one test, after another one has not ended
OPTIONAL = "not filled in (optional)"


class Row(NamedTuple):
    """A task and what it earns, None if a person grades it. Failures are pairs of a test and its message."""
    task: Task
    earned: Optional[Fraction]
    note: str
    failures: Sequence[Tuple[str, str]] = ()


class Score(NamedTuple):
    """The whole score, or that of some tasks."""
    rows: List[Row]
    edits: List[str]                                # outside the gaps, in words
    seed: int
    newer: Sequence[str] = ()                       # what needs a Python newer than 3.8, in words
    tasks: Sequence[str] = ()                       # the numbers of the chosen tasks, if not all
    edition: Optional[Edition] = None               # of the tests
    based_on: str = ""                              # the submission's edition: "1", "before 2", or "" if unknown


def run_tests(folder: Path, seed: int, tasks: Sequence[str] = ()) -> Results:
    """Run the tests in a new process. If the code terminates it or hangs, run the other tests in another process.

    Args:
        tasks: run only the tests of these tasks; all tests if empty.

    Raises:
        RuntimeError: pytest does not start, or a test file cannot be imported.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["MPLBACKEND"] = "Agg"
    results: Results = {}
    left: List[str] = []
    timeout = TIMEOUT
    with tempfile.TemporaryDirectory() as scratch:
        report, output = Path(scratch) / "report.jsonl", Path(scratch) / "output.txt"
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--seed={seed}", f"--report={report}",
                   *(f"--task={task}" for task in tasks)]
        while True:
            report.write_bytes(b"")
            with open(output, "wb") as file:
                process = subprocess.Popen(
                    command + ["-o", f"faulthandler_timeout={timeout - 1}"] + left, cwd=str(folder), env=environment,
                    stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
                try:
                    ended = _wait(process, report, timeout)
                finally:
                    _kill(process)
            results.update(read_report(report))
            said = output.read_text(encoding="utf-8", errors="replace")
            broken = [f"{test}: {words}" for test, (_, words) in results.items() if words and "::" not in test]
            if broken or not results:
                last = in_one_line(("\n".join(["no output", said] + broken[:1])).strip().splitlines()[-1])
                raise RuntimeError(f"the tests could not be started: {last}. Was a file in tests/ changed?")
            if not ended:
                busy = f"Your code was still running after {timeout} seconds{place_in_lib(said)}: an infinite loop?"
                results.update({test: (task, busy) for test, (task, words) in results.items() if words == NOT_ENDED})
                timeout = SHORT_TIMEOUT
            before, left = len(left), [test for test, (_, words) in results.items() if words == NOT_RUN]
            if not left or len(left) == before:
                return results


def _kill(process: subprocess.Popen) -> None:
    """Kill a process and, if the system supports process groups, all processes that it has started."""
    if hasattr(os, "killpg"):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.kill()
    process.wait()


def _wait(process: subprocess.Popen, report: Path, timeout: float) -> bool:
    """Wait for the process; return whether it has ended before a test has taken too long."""
    size, since = 0, time.monotonic()
    while process.poll() is None:
        if time.monotonic() - since > (timeout if size else START_TIMEOUT):
            return False
        time.sleep(0.05)
        if report.stat().st_size != size:
            size, since = report.stat().st_size, time.monotonic()
    return True


def place_in_lib(output: str) -> str:
    """Return where in lib the code was running, from the traceback of Python's faulthandler."""
    found = re.search(r'File "[^"]*[/\\](lib[/\\]\w+\.py)", line (\d+) in (\S+)', output)
    return f" in {found[3]}, {found[1]}, line {found[2]}" if found else ""


def row_of_tests(task: Task, results: Results) -> Row:
    """Return what a task that tests grade earns."""
    said = [(test, words) for test, (number, words) in results.items() if number == task.number]
    failures = [(test, words) for test, words in said if words]
    passed = len(said) - len(failures)
    note = f"{passed} of {len(said)} tests pass"
    if not said:
        note, failures = "its tests are missing", [("", "The folder tests/ has no tests for this task.")]
    elif all(NOT_FILLED_IN.match(words) for _, words in failures) and not passed:
        note = "not filled in" if task.points else OPTIONAL
    return Row(task, Fraction(task.points * passed, max(len(said), 1)), note, failures)


def row_of_bonus(task: Task, missing: List[str]) -> Row:
    """Return what a bonus task earns."""
    missing = [in_one_line(words) for words in missing]
    note = f"{len(missing)} problem{'s' * (len(missing) > 1)}" if missing else ""
    if len(missing) == 1 and len(missing[0]) < 40:
        note = missing[0]
    return Row(task, Fraction(0 if missing else task.points), note, [("", words) for words in missing])


def score(folder: Path = ROOT, seed: Optional[int] = None, tasks: Sequence[str] = (),
          run: Callable[[Path, int, Sequence[str]], Results] = run_tests) -> Score:
    """Grade a folder with its own tests.

    Args:
        seed: repeats the random inputs of an earlier run.
        tasks: the numbers of the tasks to grade, which have tests; all tasks if empty.
        run: runs the tests. It is the last thing that happens, as the code may change files.

    Raises:
        RuntimeError: as for `run_tests`.
        OSError: a file cannot be read or written.
    """
    seed = random.SystemRandom().randrange(10 ** 6) if seed is None else seed
    bonus = {"style": handed_in.style, "feedback": handed_in.feedback}
    missing = {task.number: bonus[task.number](folder) for task in TASKS if task.bonus and not tasks}
    pdf = handed_in.submission(folder)[1]
    originals = edits.handed_out(folder)
    if originals:
        found = edits.find_edits(folder, originals)
    else:
        is_reference = (folder / "course").is_dir()
        found = [] if is_reference else [f"{edits.HANDED_OUT} is missing or damaged, so edits cannot be found"]
    edition, newer = read_edition(edits.read(folder / CHANGELOG)), python38.find_newer(folder)
    results = run(folder, seed, tasks)
    rows = []
    for task in TASKS:
        if tasks and task.number not in tasks:
            continue
        if task.bonus:
            rows.append(row_of_bonus(task, missing[task.number]))
        elif task.graded_by == "tests":
            rows.append(row_of_tests(task, results))
        else:
            rows.append(Row(task, None, f"by {task.graded_by}; {pdf}"))
    return Score(rows, found, seed, newer, tasks, edition)


def to_do(row: Row) -> bool:
    """Return whether a row's tests fail; an optional task that is not started does not count."""
    return bool(row.failures) and row.note != OPTIONAL


def all_pass(rows: Sequence[Row]) -> bool:
    """Return whether all tests pass; bonus tasks do not count."""
    return not any(to_do(row) for row in rows if not row.task.bonus)


# In words

def points(number: Optional[Fraction]) -> str:
    return "" if number is None else f"{float(number):.2f}".rstrip("0").rstrip(".")


def table(rows: Sequence[Row], with_sum: bool = True) -> List[str]:
    """Return the tasks as a Markdown table that is readable as plain text."""
    cells = [("task", "points", "earned", "note")]
    for row in rows:
        number = f"{row.task.number} " if row.task.number[0].isdigit() else ""
        bonus = " (bonus)" if row.task.bonus else ""
        cells.append((number + row.task.title + bonus, str(row.task.points), points(row.earned),
                      row.note.replace("|", "/")))
    if with_sum:
        cells.append(row_of_sums(rows))
    widths = [max(len(row[column]) for row in cells) for column in range(3)]
    lines = ["| {:{}} | {:>{}} | {:>{}} | {} |".format(*(x for pair in zip(row, widths) for x in pair), row[3])
             for row in cells]
    return lines[:1] + ["| " + "-" * widths[0] + " | " + "-" * (widths[1] - 1) + ": | " + "-" * (widths[2] - 1)
                        + ": | --- |"] + lines[1:]


def row_of_sums(rows: Sequence[Row]) -> Tuple[str, str, str, str]:
    """Return the cells of the last row: the sum of the points, and who gives them."""
    full, extra = (sum(row.task.points for row in rows if row.task.bonus == bonus and row.earned is not None)
                   for bonus in (False, True))
    by_person = sum(row.task.points for row in rows if row.earned is None)
    earned = sum((row.earned for row in rows if row.earned is not None), Fraction(0))
    return ("sum", f"{full + by_person} + {extra}", points(earned),
            f"of {full} + {extra} scored here; {by_person} graded by hand")


def first_thing(message: str) -> str:
    """Return what to look at first: the mistake if it is a known one, otherwise what was found."""
    message = re.sub(r"^Task \S+: ", "", message)
    known = re.search(re.escape(MISTAKE) + "(.*)", message)
    return known[1] if known else message.split("\n")[0].rstrip(":.")


def in_a_line(message: str) -> str:
    """Return the first thing; if no mistake is known, also the exception, or what was expected and what came."""
    found = re.findall(r"^ +(?:expected|got): .*|^\w+(?:Error|Exception): .*", message, re.MULTILINE)
    if MISTAKE in message or not found:
        return first_thing(message)
    return f"{first_thing(message)}: {', '.join(' '.join(line.split()) for line in found)}"


def failures_in_words(row: Row) -> List[str]:
    """Return a task's failures: one message in full, preferably a known mistake, and a line for each other one."""
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
    """Return the score in Markdown that is readable in a terminal."""
    lines = ["# Score", "", *edition_in_words(score), *table(score.rows, with_sum=not score.tasks), "",
             "A task's points are divided equally among its tests.", ""]
    failed = [row for row in score.rows if to_do(row)]
    if failed:
        lines += ["## What to look at first", ""]
        for row in failed:
            lines += bonus_in_words(row) if row.task.bonus else failures_in_words(row)
    if score.edits:
        lines += ["## Edits outside the gaps", "",
                  "Only the gaps may be changed; please revert these edits. Put an import into the gap that needs it, "
                  "as its first line.", ""]
        lines += [f"    {edit}" for edit in score.edits] + [""]
    if score.newer:
        lines += ["## Newer than Python 3.8", "",
                  "The code must run on Python 3.8, even if a newer Python runs the tests here.", ""]
        lines += [f"    {words}" for words in score.newer] + [""]
    command = " ".join(["python -m tests", *score.tasks, f"--seed {score.seed}"])
    lines += [f"`{command}` repeats this run with the same random inputs.", ""]
    return "\n".join(lines)


def bonus_in_words(row: Row) -> List[str]:
    """Return what a bonus task lacks."""
    problems = [words for _, words in row.failures]
    more = [f"and {len(problems) - 5} more"] if len(problems) > 5 else []
    where = {"style": "`pycodestyle --max-line-length 120 .`", "feedback": "`feedback.md`"}[row.task.number]
    return [f"### {row.task.title}: {where}", ""] + [f"    {words}" for words in problems[:5] + more] + [""]
