"""Laying out a submission: its gaps and its own modules on a pristine copy of everything else."""
import shutil
from pathlib import Path
from typing import List, NamedTuple

from course import handout, history
from course.hand_in import collect
from tests.scoring import edits
from tests.scoring.report import in_one_line

ROOT = Path(__file__).resolve().parents[2]


class LaidOut(NamedTuple):
    """A submission on a pristine copy, and what else it has changed, in words."""
    folder: Path
    handed_in: Path
    edits: List[str]
    last_commit: str                                # its date, "" if unknown


def make_pristine(folder: Path) -> None:
    """Write the handout without its images and pages, or copy this project if it is a handout itself.

    Raises:
        MarkerError, RuntimeError, OSError: as for `handout.write`.
    """
    if (ROOT / edits.HANDED_OUT).exists():          # on Gradescope, where the solution must not be
        for name in handout.checksums(ROOT):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(ROOT / name), str(folder / name))
        shutil.copyfile(str(ROOT / edits.HANDED_OUT), str(folder / edits.HANDED_OUT))
    else:
        handout.write(ROOT, folder)
    for name in ("dataset_flowers_64px", "docs"):
        shutil.rmtree(str(folder / name), ignore_errors=True)


def lay_out(path: Path, scratch: Path, pristine: Path) -> LaidOut:
    """Copy the contents of a submission's gaps, its own modules, feedback.md and submission.pdf into a fresh handout.

    A file that was changed outside its gaps is copied as a whole, so that the score is the one that the team saw: its
    code runs confined in any case. The edits are listed.

    Args:
        path: a folder or an archive.
        scratch: a folder to work in.
        pristine: see `make_pristine`.

    Raises:
        HandInError: it does not contain the exercise.
        OSError: a file cannot be written.
    """
    fresh = scratch / "fresh"
    folder, left_out = collect(path, scratch / "handed_in")
    shutil.copytree(str(pristine), str(fresh))
    given = {found.relative_to(fresh).as_posix() for found in fresh.rglob("*") if found.is_file()}
    theirs = edits.handed_out(folder)
    for name in sorted(given):
        today, mine = edits.read(fresh / name) or "", edits.read(folder / name)
        if mine is not None and name.startswith("lib/") and edits.gap_lines(today):
            filled = handout.fill(today, mine)
            if filled is None or edits.compare(name, theirs.get(name, today), mine, today):
                shutil.copyfile(str(folder / name), str(fresh / name))
            else:
                (fresh / name).write_bytes(filled.encode("utf-8", errors="replace"))
    (fresh / "feedback.md").unlink()
    new = {found.relative_to(folder).as_posix() for found in folder.glob("lib/**/*.py")} - given
    for name in sorted(new | {"feedback.md", "submission.pdf"}):
        left_out += add(folder / name, fresh / name, name)
    notes = [words for words in (history.unmerged(path),) if words]
    return LaidOut(fresh, folder, find_edits(folder, fresh) + left_out + notes, history.last_commit(path) or "")


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
