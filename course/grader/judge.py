"""Judging one submission: what is wanted of it is laid out and its score is computed."""
import hashlib
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Sequence

from course import handout
from course.grader.layout import lay_out
from course.grader.results import Result
from tests.scoring.report import Results
from tests.scoring.score import score


def judge(request: Dict[str, Any], folder: Path, run: Callable[[Path, int, Sequence[str]], Results],
          printed: Dict[str, str]) -> Optional[Result]:
    """Return the result of a submission; None if nothing has changed since the fingerprint in the request.

    Args:
        request: name, path, seed, pristine and fingerprint; see `course.grader.pool.Pool.grade`.
        folder: an empty one, for scratch.
        run: runs the tests in a folder, with a seed.
        printed: what the code has printed, by test; `run` fills it.

    Raises:
        HandInError: it does not contain the exercise.
        RuntimeError, OSError: as for `lay_out` and `tests.scoring.score.score`.
    """
    pristine = Path(request["pristine"])
    laid_out = lay_out(Path(request["path"]), folder, pristine)
    fingerprint = fingerprint_of([pristine, laid_out.handed_in], request["seed"])
    if fingerprint == request["fingerprint"]:
        return None
    found = score(laid_out.folder, request["seed"], run=run)
    found = found._replace(edits=laid_out.edits, based_on=handout.base_edition(laid_out.handed_in, found.edition))
    return Result(request["name"], request["path"], found, "", fingerprint, laid_out.last_commit,
                  list(printed.items()))


def fingerprint_of(folders: Sequence[Path], seed: Optional[int]) -> str:
    """Return a checksum of all files in some folders, and of the seed."""
    digest = hashlib.sha256(repr(seed).encode())
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            digest.update(f"{path.relative_to(folder).as_posix()!r} {path.stat().st_size}\n".encode(errors="replace"))
            with open(str(path), "rb") as file:
                for block in iter(partial(file.read, 2 ** 20), b""):
                    digest.update(block)
    return digest.hexdigest()
