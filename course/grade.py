"""Grade what students hand in: python -m course.grade SUBMISSION ...

Each SUBMISSION is a student's repository, as a folder, a zip or a tar file. What is in its gaps, what it adds to lib,
its feedback.md and submission.pdf go into a fresh handout, so that the tests and all that is given are those of today.
A file with gaps that is changed outside them is taken as a whole. Edits are listed. Their code runs on this machine:
for work of people you do not know, take one that may be lost.
"""
import argparse
import csv
import io
import os
import shutil
import sys
import tempfile
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence

from course import handout
from course.hand_in import collect
from tests.scoring import edits
from tests.scoring.handed_in import PDF_IS_THERE
from tests.scoring.report import in_one_line
from tests.scoring.score import Score, markdown, points, score
from tests.scoring.tasks import TASKS

ROOT = Path(__file__).resolve().parent.parent
FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")        # also as East Asian keyboards write them


class Result(NamedTuple):
    """A submission with its score, or the reason why it has none."""
    name: str
    score: Optional[Score]
    reason: str = ""


def grade(path: Path, seed: Optional[int] = None) -> Score:
    """Return the score of what a student has handed in: a folder or an archive.

    Raises:
        HandInError: there is no exercise in it.
        MarkerError, RuntimeError, OSError: as for `handout.write` and `tests.scoring.score.score`.
    """
    with tempfile.TemporaryDirectory() as name:
        fresh = Path(name).resolve() / "fresh"
        folder, left_out = collect(path, Path(name).resolve() / "handed_in")
        given = handout.write(ROOT, fresh)
        theirs = edits.handed_out(folder)
        for path in given:
            today, mine = edits.read(fresh / path), edits.read(folder / path)
            if mine is not None and path.startswith("lib/") and edits.gap_lines(today):
                filled = handout.fill(today, mine)
                if filled is None or edits.compare(path, theirs.get(path, today), mine):
                    shutil.copyfile(str(folder / path), str(fresh / path))
                else:
                    (fresh / path).write_bytes(filled.encode("utf-8", errors="replace"))
        (fresh / "feedback.md").unlink()
        new = {path.relative_to(folder).as_posix() for path in folder.glob("lib/**/*.py")} - set(given)
        for path in sorted(new | {"feedback.md", "submission.pdf"}):
            left_out += add(folder / path, fresh / path, path)
        return score(fresh, seed)._replace(edits=find_edits(folder, fresh) + left_out)


def add(path: Path, to: Path, name: str) -> List[str]:
    """Copy a file, if there is one, and say in words if that is impossible."""
    if path.is_file():
        try:
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(path), str(to))
        except OSError:                             # a folder has the name of a given file
            return [in_one_line(f"{name} stands in the way of a given file")]
    return []


def find_edits(folder: Path, fresh: Path) -> List[str]:
    """The edits outside the gaps, against the edition that the student has: today's, or an earlier one."""
    today, theirs = edits.handed_out(fresh), edits.handed_out(folder)
    older = [f"{edits.HANDED_OUT} is not today's: an earlier edition, or changed"] if theirs and theirs != today else []
    return older + edits.find_edits(folder, theirs or today)


def rows(results: Sequence[Result]) -> List[List[str]]:
    """Return a table with a row for each submission, its head first."""
    here = [number for number, task in enumerate(TASKS) if task.bonus or task.graded_by == "tests"]
    head = ["submission"] + [TASKS[number].number for number in here] + ["sum", "submission.pdf", "edits", "not graded"]
    lines = [head]
    for name, result, reason in results:
        earned = [result.rows[number].earned if result else Fraction(0) for number in here]
        with_pdf = result and any(PDF_IS_THERE in row.note for row in result.rows if row.earned is None)
        lines.append([name] + [points(number) for number in earned + [sum(earned)]]
                     + ["yes" if with_pdf else "no", str(len(result.edits)) if result else "0", reason])
    return lines


def as_csv(lines: Sequence[Sequence[str]]) -> str:
    """Return a table as CSV, in which no cell is a formula to a spreadsheet or has a line end."""
    cells = [[in_one_line(cell) for cell in line] for line in lines]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(
        [f"'{cell}" if cell.startswith(FORMULA) else cell for cell in line] for line in cells)
    return text.getvalue()


def names_of(paths: Sequence[Path]) -> List[str]:
    """Return a name for each submission that is also the name of a file, and no other's."""
    names: List[str] = []
    for path in paths:
        name = first = in_one_line(os.path.basename(os.path.abspath(str(path))))[:80].strip() or "submission"
        for number in count(2):
            if name.lower() not in [other.lower() for other in names]:
                break
            name = f"{first} ({number})"
        names.append(name)
    return names


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m course.grade", description=__doc__.split("\n\n", 1)[1])
    parser.add_argument("submissions", nargs="+", type=Path, metavar="SUBMISSION",
                        help="a student's repository: a folder, a zip or a tar file")
    parser.add_argument("--output", type=Path, default=Path("scores"), metavar="DIR",
                        help="a new or empty folder for scores.csv and the score of each submission "
                             "(default: %(default)s)")
    parser.add_argument("--seed", type=int, metavar="N", help="repeat the random inputs of an earlier run")
    args = parser.parse_args()
    if args.output.exists() and (not args.output.is_dir() or any(args.output.iterdir())):
        parser.error(f"--output: {args.output} is not empty")
    try:
        args.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--output: {args.output} cannot be made ({error.strerror})")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")        # a character that this terminal does not have
    results: List[Result] = []
    for name, path in zip(names_of(args.submissions), args.submissions):
        try:
            results.append(Result(name, grade(path, args.seed)))
            text = markdown(results[-1].score)
        except Exception as error:                  # of whatever they have handed in: the others want their scores
            results.append(Result(name, None, in_one_line(str(error)) or type(error).__name__))
            text = f"# Score\n\nThis submission could not be graded: {results[-1].reason}\n"
        (args.output / f"{name}.md").write_bytes(text.encode("utf-8", errors="replace"))
        (args.output / "scores.csv").write_text(as_csv(rows(results)), encoding="utf-8")
        head, *_, line = rows(results)
        print(", ".join(f"{title} {cell}" for title, cell in zip(head, line) if cell), flush=True)
    not_graded = [result for result in results if not result.score]
    print(f"the scores of {len(results) - len(not_graded)} of {len(results)} are in {args.output}", flush=True)
    for result in not_graded:
        print(f"grade: {result.name} could not be graded: {result.reason}", file=sys.stderr)
    sys.exit(bool(not_graded))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        print(f"grade: {error}", file=sys.stderr)
        sys.exit(1)
