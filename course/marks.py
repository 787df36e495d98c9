"""Make the table of marks from the scores: python -m course.marks SCORES --teams teams.csv

It reads every NAME.json that `python -m course.grade` wrote to the folder SCORES, and writes SCORES/marks.csv, with one
row per student, for upload to a learning platform.
"""
import argparse
import json
import re
import sys
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from course.table import as_csv, read_csv
from lib.script import Parser, UserError, run_script, say
from tests.scoring.report import in_one_line
from tests.scoring.score import points
from tests.scoring.tasks import TASKS

BY_PERSON = [task.number for task in TASKS if task.graded_by == "a person"]
POINTS = {task.number: task.points for task in TASKS}
BONUS = [task.number for task in TASKS if task.bonus]
TEAM_COLUMNS = ("submission", "name", "number")
HEADER = ["number", "name", "submission", *POINTS, "bonus", "total", "late days", "remark"]
Points = Dict[str, Optional[Fraction]]  # by task, None if a person has not marked it yet


class Submission(NamedTuple):
    """What a NAME.json says about a submission."""
    name: str
    not_graded: str
    pdf: bool
    last_commit: Optional[datetime]
    earned: Points


def read_time(text: str) -> datetime:
    """Return a time such as 2026-12-01T23:59 or 2026-12-01T23:59:00+01:00; without a zone, it is local time.

    Raises:
        ValueError: it is not a time.
    """
    if not re.fullmatch(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?", text):
        raise ValueError(f"{text!r} is not a time like 2026-12-01T23:59")
    time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    try:
        return time.astimezone()
    except OverflowError:  # the year 1 or 9999
        raise ValueError(f"{text!r} is out of range") from None


def read_score(path: Path) -> Submission:
    """Read a NAME.json. Raises UserError if it is damaged."""
    try:
        content = json.loads(path.read_bytes().decode("utf-8"))
        name, not_graded, pdf, commit = (_get(content, key, kind) for key, kind in (
            ("submission", str), ("not_graded", str), ("pdf", bool), ("last_commit", str)))
        found = {_get(task, "number", str): task.get("earned") for task in _get(content, "tasks", list)}
        earned: Points = {number: None if number in BY_PERSON else Fraction(0) for number in POINTS}
        for number in [] if not_graded else POINTS:
            if number not in found:
                raise ValueError(f"task {number} is missing")
            if number not in BY_PERSON and found[number] is not None:
                earned[number] = _points(found[number], number)
        return Submission(in_one_line(name), not_graded, pdf, read_time(commit) if commit else None, earned)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged, or is not a score ({error}); grade the submission again") from None


def _get(content: Any, key: str, kind: type) -> Any:
    if not isinstance(content, dict) or not isinstance(content.get(key), kind):
        raise ValueError(f"no valid {key}")
    return content[key]


def _points(text: Any, number: str) -> Fraction:
    """Return a task's points, like "4", "3/2" or "0.5". Raises ValueError."""
    match = re.fullmatch(r"\d{1,6}(/0*[1-9]\d{0,5}|[.,]\d{1,6})?", text) if isinstance(text, str) else None
    value = Fraction(text.replace(",", ".")) if match else None
    if value is None or value > POINTS[number]:
        raise ValueError(f"task {number}: {text!r} is not a number from 0 to {POINTS[number]}")
    return value


def read_scores(folder: Path) -> Dict[str, Submission]:
    """Read every NAME.json of a folder; return the submissions by name. Raises UserError."""
    scores: Dict[str, Submission] = {}
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder")
    for path in sorted(folder.glob("*.json")):
        score = read_score(path)
        if score.name in scores:
            raise UserError(f"{path}: another file is about {score.name} too")
        scores[score.name] = score
    if not scores:
        raise UserError(f"{folder} contains no score (NAME.json): write some with python -m course.grade")
    return scores


def read_teams(path: Path) -> List[Dict[str, str]]:
    """Return a row for each student, with the columns submission, name and number. Raises UserError."""
    students: List[Dict[str, str]] = []
    for place, row in read_csv(path, TEAM_COLUMNS):
        if not row["number"]:
            raise UserError(f"{place}: the number is missing")
        if row["number"] in [student["number"] for student in students]:
            raise UserError(f"{place}: number {row['number']} is already in another row")
        students.append(row)
    if not students:
        raise UserError(f"{path} contains no students")
    return students


def add_written(scores: Dict[str, Submission], path: Path) -> None:
    """Add the points that a person gave to the submissions. Raises UserError."""
    seen: List[str] = []
    for place, row in read_csv(path, ["submission", *BY_PERSON]):
        name = row["submission"]
        if name not in scores:
            raise UserError(f"{place}: there is no score for a submission called {name!r}")
        if name in seen:
            raise UserError(f"{place}: {name} is already in another row")
        seen.append(name)
        for number in BY_PERSON:
            try:
                scores[name].earned[number] = _points(row[number], number) if row[number] else None
            except ValueError as error:
                raise UserError(f"{place}: {error}") from None


def late_days(due: datetime, commit: datetime) -> int:
    """Return how many days have begun between the due time and the last commit."""
    return max(0, -((due - commit) // timedelta(days=1)))


def rows(students: Sequence[Dict[str, str]], scores: Dict[str, Submission],
         due: Optional[datetime]) -> List[List[str]]:
    """Return the table of marks: a header, and a row for each student."""
    lines = [HEADER]
    for student in students:
        score, late = scores.get(student["submission"]), ""
        if score is None:
            earned: Points = {number: Fraction(0) for number in POINTS}
            remarks = ["nothing handed in"]
        else:
            earned = score.earned
            remarks = [f"not graded: {score.not_graded}"] if score.not_graded else []
            remarks += [] if score.pdf else ["no submission.pdf"]
            unmarked = [number for number, value in earned.items() if value is None]
            remarks += [f"not marked yet: {', '.join(unmarked)}"] if unmarked else []
            late = str(late_days(due, score.last_commit)) if due and score.last_commit else ""
        values = [value for value in earned.values() if value is not None]
        total = points(sum(values, Fraction(0))) if len(values) == len(earned) else ""
        bonus = points(sum((earned[number] or Fraction(0) for number in BONUS), Fraction(0)))
        lines.append([student["number"], student["name"], student["submission"], *map(points, earned.values()), bonus,
                      total, late, "; ".join(remarks)])
    return lines


def _due(text: str) -> datetime:
    try:
        return read_time(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _write(path: Path, lines: Sequence[Sequence[str]], mode: str) -> None:
    try:
        with open(str(path), mode) as file:
            file.write(as_csv(lines).encode("utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror})") from None


def main() -> None:
    parser = Parser((__doc__ or "").split("\n\n", 1)[-1], prog="python -m course.marks")
    parser.add_argument("scores", metavar="SCORES", type=Path, help="the folder that python -m course.grade wrote")
    parser.add_argument("--teams", metavar="FILE", type=Path, required=True,
                        help="a CSV file with the columns submission, name and number, and a row for each student")
    parser.add_argument("--due", metavar="TIME", type=_due,
                        help="when the submissions were due, such as 2026-12-01T23:59 (local time) or "
                             "2026-12-01T23:59+01:00; the column \"late days\" counts the days begun since then")
    parser.add_argument("--written", metavar="FILE", type=Path,
                        help=f"a CSV file with the columns submission, {' and '.join(BY_PERSON)}: the points for the "
                             "written tasks. If it does not exist, a template is written")
    args = parser.parse_args()
    scores, students = read_scores(args.scores), read_teams(args.teams)
    if args.written and args.written.exists():
        add_written(scores, args.written)
    elif args.written:
        empty = [""] * len(BY_PERSON)
        _write(args.written, [["submission", *BY_PERSON]] + [[name, *empty] for name in scores], "xb")
        say(f"wrote a template to {args.written}: fill in the points and run the command again")
    _write(args.scores / "marks.csv", rows(students, scores, args.due), "wb")
    say(f"wrote {len(students)} students to {args.scores / 'marks.csv'}")
    named = {student["submission"] for student in students}
    nobody = [name for name in scores if name not in named]
    for name in nobody:
        print(f"marks: no row of {args.teams} names the submission {name}", file=sys.stderr)
    sys.exit(bool(nobody))


if __name__ == "__main__":
    sys.exit(run_script(main))
