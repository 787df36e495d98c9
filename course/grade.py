"""Grade what students hand in: python -m course.grade DIR ...

Each DIR is a student's repository. What is in its gaps, what it adds to lib, its feedback.md and submission.pdf go into
a fresh handout, so that the tests and all that is given are those of today. A file with gaps that is changed outside
them is taken as a whole. Edits are listed. Their code runs on this machine: for work of people you do not know, take
one that may be lost.
"""
import argparse
import csv
import io
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from course import handout
from tests import edits
from tests.handed_in import submission
from tests.score import Score, markdown, points, score
from tests.tasks import TASKS

ROOT = Path(__file__).resolve().parent.parent


def exercise_in(folder: Path) -> Path:
    """The folder that has lib, which may be the only one in `folder`, as in GitHub's zip files. Raises FolderError."""
    if (folder / "lib").is_dir():
        return folder
    inside = list(folder.glob("*"))
    if len(inside) != 1 or not inside[0].is_dir():
        raise handout.FolderError(f"{folder} holds no exercise: there is no folder lib in it")
    return exercise_in(inside[0])


def grade(folder: Path, seed: Optional[int] = None) -> Score:
    """The score of a student's repository.

    Raises:
        handout.FolderError: there is no lib in the folder.
        MarkerError, RuntimeError, OSError: as for `handout.write` and `tests.score.score`.
    """
    folder = exercise_in(folder)
    with tempfile.TemporaryDirectory() as name:
        fresh = Path(name).resolve()
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
        new = {path.relative_to(folder).as_posix() for path in folder.glob("lib/**/*.py")} - set(given)
        for path in new | {"feedback.md", "submission.pdf"}:
            if (folder / path).is_file():
                (fresh / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(folder / path), str(fresh / path))
        if not (folder / "feedback.md").is_file():
            (fresh / "feedback.md").unlink()
        return score(fresh, seed)._replace(edits=find_edits(folder, fresh))


def find_edits(folder: Path, fresh: Path) -> List[str]:
    """The edits outside the gaps, against the edition that the student has: today's, or an earlier one."""
    today, theirs = edits.handed_out(fresh), edits.handed_out(folder)
    older = [f"{edits.HANDED_OUT} is not today's: an earlier edition, or changed"] if theirs and theirs != today else []
    return older + edits.find_edits(folder, theirs or today)


def rows(scores: Dict[str, Score], folders: Dict[str, Path]) -> List[List[str]]:
    """A table with a row for each submission, its head first."""
    here = [number for number, task in enumerate(TASKS) if task.bonus or task.graded_by == "tests"]
    lines = [["submission"] + [TASKS[number].number for number in here] + ["sum", "submission.pdf", "edits"]]
    for name, result in scores.items():
        earned = [result.rows[number].earned for number in here]
        lines.append([name] + [points(number) for number in earned + [sum(earned)]]
                     + ["yes" if submission(exercise_in(folders[name]))[0] else "no", str(len(result.edits))])
    return lines


def as_csv(lines: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m course.grade", description=__doc__.split("\n\n", 1)[1])
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="a student's repository")
    parser.add_argument("--output", type=Path, default=Path("scores"), metavar="DIR",
                        help="a new or empty folder for scores.csv, and for each DIR its score (default: %(default)s)")
    parser.add_argument("--seed", type=int, metavar="N", help="repeat the random inputs of an earlier run")
    args = parser.parse_args()
    folders = {folder.resolve().name: folder for folder in args.folders}
    if len(folders) < len(args.folders):
        parser.error("two folders have one name")
    if args.output.exists() and (not args.output.is_dir() or any(args.output.iterdir())):
        parser.error(f"--output: {args.output} is not empty")
    try:
        args.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--output: {args.output} cannot be made ({error.strerror})")
    scores: Dict[str, Score] = {}
    for name, folder in folders.items():
        try:
            scores[name] = grade(folder, args.seed)
        except Exception as error:  # of whatever they have handed in: the others want their scores
            print(f"grade: {name} could not be graded: {error}", file=sys.stderr)
            continue
        (args.output / f"{name}.md").write_bytes(markdown(scores[name]).encode("utf-8", errors="replace"))
        (args.output / "scores.csv").write_text(as_csv(rows(scores, folders)), encoding="utf-8")
        head, *_, line = rows(scores, folders)
        print(", ".join(f"{title} {cell}" for title, cell in zip(head, line)), flush=True)
    print(f"the scores of {len(scores)} of {len(folders)} are in {args.output}")
    sys.exit(len(scores) < len(folders))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
