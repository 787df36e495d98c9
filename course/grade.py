"""Grade what students hand in: python -m course.grade SUBMISSION ...

Each SUBMISSION is a student's repository: a folder, a zip file or a tar file. The contents of its gaps, the files it
adds to lib, its feedback.md and submission.pdf are copied into a fresh handout, so today's tests and given code apply.
A file that was changed outside its gaps is copied as a whole. Edits outside the gaps are listed. The code runs on this
machine: for submissions from people you don't know, use a disposable machine or container.
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
FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")        # the last four are full-width characters


class Result(NamedTuple):
    """A submission with its score, or the reason it has none."""
    name: str
    score: Optional[Score]
    reason: str = ""


def grade(path: Path, seed: Optional[int] = None) -> Score:
    """Return the score of a submission, which is a folder or an archive.

    Raises:
        HandInError: it does not contain the exercise.
        MarkerError, RuntimeError, OSError: as for `handout.write` and `tests.scoring.score.score`.
    """
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch).resolve() / "fresh"
        folder, left_out = collect(path, Path(scratch).resolve() / "handed_in")
        given = handout.write(ROOT, fresh)
        theirs = edits.handed_out(folder)
        for name in given:
            today, mine = edits.read(fresh / name) or "", edits.read(folder / name)
            if mine is not None and name.startswith("lib/") and edits.gap_lines(today):
                filled = handout.fill(today, mine)
                if filled is None or edits.compare(name, theirs.get(name, today), mine):
                    shutil.copyfile(str(folder / name), str(fresh / name))
                else:
                    (fresh / name).write_bytes(filled.encode("utf-8", errors="replace"))
        (fresh / "feedback.md").unlink()
        new = {found.relative_to(folder).as_posix() for found in folder.glob("lib/**/*.py")} - set(given)
        for name in sorted(new | {"feedback.md", "submission.pdf"}):
            left_out += add(folder / name, fresh / name, name)
        result = score(fresh, seed)
        return result._replace(edits=find_edits(folder, fresh) + left_out,
                               based_on=handout.base_edition(folder, result.edition))


def add(path: Path, to: Path, name: str) -> List[str]:
    """Copy a file if it exists; return a message if that is impossible."""
    if path.is_file():
        try:
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(path), str(to))
        except OSError:                             # a folder has the name of a given file, or the reverse
            return [in_one_line(f"{name} has the same name as a given file or folder")]
    return []


def find_edits(folder: Path, fresh: Path) -> List[str]:
    """Return the edits outside the gaps, compared with the edition that the student received."""
    today, theirs = edits.handed_out(fresh), edits.handed_out(folder)
    other = theirs and theirs != today
    older = [f"{edits.HANDED_OUT} is from an earlier handout, or has been changed"] if other else []
    return older + edits.find_edits(folder, theirs or today, today)


def rows(results: Sequence[Result]) -> List[List[str]]:
    """Return a table with a header and a row for each submission."""
    here = [number for number, task in enumerate(TASKS) if task.bonus or task.graded_by == "tests"]
    header = ["submission"] + [TASKS[number].number for number in here]
    lines = [header + ["sum", "submission.pdf", "edits", "edition", "not graded"]]
    for name, result, reason in results:
        earned = [Fraction(result.rows[number].earned or 0) if result else Fraction(0) for number in here]
        cells = ["no", "0", ""]
        if result:
            has_pdf = any(PDF_IS_THERE in row.note for row in result.rows if row.earned is None)
            cells = ["yes" if has_pdf else "no", str(len(result.edits)), result.based_on]
        lines.append([name] + [points(number) for number in earned + [sum(earned, Fraction(0))]] + cells + [reason])
    return lines


def as_csv(lines: Sequence[Sequence[str]]) -> str:
    """Return a table as CSV in which no cell contains a line break or looks like a formula to a spreadsheet."""
    cells = [[in_one_line(cell) for cell in line] for line in lines]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(
        [f"'{cell}" if cell.startswith(FORMULA) else cell for cell in line] for line in cells)
    return text.getvalue()


def names_of(paths: Sequence[Path]) -> List[str]:
    """Return for each submission a unique name that can also be a file name."""
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
    parser = argparse.ArgumentParser(prog="python -m course.grade", description=(__doc__ or "").split("\n\n", 1)[-1])
    parser.add_argument("submissions", nargs="+", type=Path, metavar="SUBMISSION",
                        help="a student's repository: a folder, a zip file or a tar file")
    parser.add_argument("--output", type=Path, default=Path("scores"), metavar="DIR",
                        help="a new or empty folder for scores.csv and a score file for each submission "
                             "(default: %(default)s)")
    parser.add_argument("--seed", type=int, metavar="N", help="repeat the random inputs of an earlier run")
    args = parser.parse_args()
    if args.output.exists() and (not args.output.is_dir() or any(args.output.iterdir())):
        parser.error(f"--output: {args.output} is not empty")
    try:
        args.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--output: {args.output} cannot be created ({error.strerror})")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")    # characters that this terminal cannot show
    results: List[Result] = []
    for name, path in zip(names_of(args.submissions), args.submissions):
        try:
            graded = grade(path, args.seed)
            results.append(Result(name, graded))
            text = markdown(graded)
        except Exception as error:                  # whatever this submission causes, the others are graded
            results.append(Result(name, None, in_one_line(str(error)) or type(error).__name__))
            text = f"# Score\n\nThis submission could not be graded: {results[-1].reason}\n"
        (args.output / f"{name}.md").write_bytes(text.encode("utf-8", errors="replace"))
        (args.output / "scores.csv").write_text(as_csv(rows(results)), encoding="utf-8")
        header, *_, line = rows(results)
        print(", ".join(f"{title} {cell}" for title, cell in zip(header, line) if cell), flush=True)
    not_graded = [result for result in results if not result.score]
    print(f"graded {len(results) - len(not_graded)} of {len(results)}; the scores are in {args.output}", flush=True)
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
