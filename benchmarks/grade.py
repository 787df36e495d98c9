"""Time course.grade on submissions made from the bank, whose grades are known."""
import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict, List, Set, Tuple

from course import handout
from course.bank import Case, all_cases
from course.bank.trial import fill_gaps, modules_with_tests
from course.grader.results import Result, load_all
from lib.script import RunError
from tests.scoring.tasks import TASKS

ROOT = Path(__file__).resolve().parent.parent


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--number", type=int, default=100, metavar="N", help="default: %(default)s")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help="default: %(default)s")
    parser.add_argument("--small", action="store_true", help="grade four submissions; the times then mean nothing")
    parser.set_defaults(function=run)


def choose(number: int) -> List[Case]:
    """Return cases of the bank at even distances, so that all tasks and both kinds occur."""
    cases = all_cases()
    return [cases[place * len(cases) // number] for place in range(number)]


def write_submission(folder: Path, files: Dict[str, Tuple[int, bytes]], case: Case) -> None:
    """Write a case as a student would hand it in: the handout, its other gaps filled as in the reference solution."""
    for name, (_, data) in files.items():
        if not name.startswith(("dataset_flowers_64px", "docs")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    for name in modules_with_tests():
        (folder / name).write_text(fill_gaps(name, case.gaps), encoding="utf-8")


def memory(root: int) -> float:
    """Return the memory of a process and all that descend from it, in MB; shared pages count once (Linux)."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    family: Set[int] = {root}
    while True:
        more = {child for child, parent in parents.items() if parent in family} - family
        if not more:
            break
        family |= more
    total = 0
    for process in family:
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        except OSError:
            continue
    return total / 1e3


def run(args: argparse.Namespace) -> None:
    """Grade the submissions; compare the grades with the known ones.

    Raises:
        RunError: a grade is wrong.
    """
    cases = choose(4 if args.small else args.number)
    with tempfile.TemporaryDirectory() as name:
        folder, files = Path(name), handout.build(ROOT)
        for number, case in enumerate(cases):
            write_submission(folder / f"team-{number:03d}", files, case)
        command = [sys.executable, "-m", "course.grade", "--output", str(folder / "scores"), "--jobs", str(args.jobs),
                   *(str(folder / f"team-{number:03d}") for number in range(len(cases)))]
        start, most = time.perf_counter(), 0.0
        process = subprocess.Popen(command, cwd=str(ROOT), stdout=subprocess.DEVNULL)
        while process.poll() is None:
            most = max(most, memory(process.pid))
            time.sleep(2)                           # looking takes time, too
        seconds = time.perf_counter() - start
        wrong = [result.name + ": " + words for result, case in zip(load_all(folder / "scores"), cases)
                 for words in differences(result, case)]
    if wrong or process.returncode:
        raise RunError("; ".join(wrong[:3]) or "the grading failed")
    print(f"{len(cases)} submissions, {args.jobs} at a time: {seconds:.0f} s, {seconds / len(cases):.1f} s each; "
          f"{most:.0f} MB at most; all grades are right")


def differences(result: Result, case: Case) -> List[str]:
    """Return what is wrong with the grade of a case: only a wrong case's own task loses points or fails a test."""
    if not result.score:
        return [result.not_graded]
    failing = {row.task.number for row in result.score.rows if row.failures and not row.task.bonus}
    full = {task.number: task.points for task in TASKS if task.graded_by == "tests"}
    lost = {row.task.number for row in result.score.rows if row.task.number in full and row.earned != row.task.points}
    expected = {case.task} if case.is_wrong else set()
    found = [f"tests of {sorted(failing)} fail"] if failing != expected else []
    return found + ([f"{sorted(lost)} lose points"] if lost != {task for task in expected if full[task]} else [])
