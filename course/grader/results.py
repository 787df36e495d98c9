"""Results: NAME.json holds one, NAME.md shows it as the team would see it, and scores.csv has a row for each."""
import json
import os
from fractions import Fraction
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence

from course.table import as_csv
from tests.scoring.edition import Edition
from tests.scoring.handed_in import PDF_IS_THERE
from tests.scoring.report import in_one_line
from tests.scoring.score import Row, Score, markdown, points
from tests.scoring.tasks import TASKS

SHOWN = 3                                           # tests whose output the report shows
MOST_FAILURES = 100                                 # of a task in NAME.json; the code style may have thousands
FORMAT = "a result of course.grade, 1"


class Result(NamedTuple):
    """A submission with its score, or the reason it has none. The other fields are plain texts and numbers."""
    name: str
    path: str
    score: Any                                      # Optional[Score]
    not_graded: str = ""
    fingerprint: str = ""                           # of all that decides the score
    last_commit: str = ""                           # its date, "2026-12-01T18:03:00+01:00"
    printed: Sequence[Sequence[str]] = ()           # pairs of a test, and what the code has printed in it


UNCHANGED = 3                                       # exit status of a judge that had nothing to do


def not_possible(request: Dict[str, Any], error: Exception) -> Result:
    """Return the result of a submission that cannot be graded."""
    return Result(request["name"], request["path"], None, in_one_line(str(error))[:300] or type(error).__name__)


def to_json(result: Result) -> str:
    """Return a result as JSON. Without a score, the keys of the score are missing."""
    content: Dict[str, Any] = {
        "format": FORMAT, "submission": result.name, "path": result.path, "not_graded": result.not_graded,
        "fingerprint": result.fingerprint, "last_commit": result.last_commit,
        "printed": [list(pair) for pair in result.printed]}
    score = result.score
    if score:
        content.update({
            "seed": score.seed, "edition": str(score.edition.number) if score.edition else "",
            "edition_date": score.edition.date if score.edition else "", "based_on": score.based_on,
            "pdf": has_pdf(score), "edits": list(score.edits), "newer": list(score.newer),
            "tasks": [{"number": row.task.number, "earned": None if row.earned is None else str(row.earned),
                       "note": row.note, "failures": [list(pair) for pair in row.failures[:MOST_FAILURES]]}
                      for row in score.rows]})
    return json.dumps(content, indent=1, ensure_ascii=True) + "\n"


def from_json(text: str) -> Result:
    """Return the result in a text.

    Raises:
        ValueError: it holds none.
    """
    try:
        content = json.loads(text)
        if content["format"] != FORMAT:
            raise ValueError("not a result")
        score = None
        if "tasks" in content:
            by_number = {task.number: task for task in TASKS}
            rows = [Row(by_number[row["number"]], None if row["earned"] is None else Fraction(row["earned"]),
                        row["note"], [(test, words) for test, words in row["failures"]]) for row in content["tasks"]]
            edition = Edition(int(content["edition"]), content["edition_date"]) if content["edition"] else None
            score = Score(rows, content["edits"], content["seed"], content["newer"], (), edition, content["based_on"])
        return Result(content["submission"], content["path"], score, content["not_graded"], content["fingerprint"],
                      content["last_commit"], content["printed"])
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not a result ({error})") from None


def has_pdf(score: Score) -> bool:
    return any(PDF_IS_THERE in row.note for row in score.rows if row.earned is None)


def report(result: Result) -> str:
    """Return a result in Markdown: the score as the team sees it, and the start of what its code has printed."""
    if not result.score:
        return f"# Score\n\nThis submission could not be graded: {result.not_graded}\n"
    lines = [markdown(result.score)]
    if result.printed:
        lines += ["## What your code printed", ""]
        for test, said in list(result.printed)[:SHOWN]:
            lines += [f"In {test.split('::')[-1]}:", "", *(f"    {line[:200]}" for line in said.split("\n")[:10]), ""]
    return "\n".join(lines)


def save(folder: Path, result: Result) -> None:
    """Write NAME.md, then NAME.json, each whole or not at all. Raises OSError."""
    write(folder / f"{result.name}.md", report(result))
    write(folder / f"{result.name}.json", to_json(result))


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all. Raises OSError."""
    part = path.with_name(f".{os.getpid()}.part")
    try:
        part.write_bytes(text.encode("utf-8", errors="replace"))
        os.replace(str(part), str(path))
    finally:
        if part.exists():
            part.unlink()


def load_all(folder: Path) -> List[Result]:
    """Return the results in a folder, sorted by name; other files are ignored."""
    results = []
    for path in sorted(folder.glob("*.json")):
        try:
            results.append(from_json(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            continue
    return sorted(results, key=lambda result: result.name)


def rows(results: Sequence[Result]) -> List[List[str]]:
    """Return a table with a header and a row for each submission."""
    here = [number for number, task in enumerate(TASKS) if task.bonus or task.graded_by == "tests"]
    header = ["submission"] + [TASKS[number].number for number in here]
    lines = [header + ["sum", "submission.pdf", "edits", "edition", "not graded"]]
    for result in results:
        score = result.score
        earned = [Fraction(score.rows[number].earned or 0) if score else Fraction(0) for number in here]
        cells = ["no", "0", ""]
        if score:
            cells = ["yes" if has_pdf(score) else "no", str(len(score.edits)), score.based_on]
        lines.append([result.name] + [points(number) for number in earned + [sum(earned, Fraction(0))]] + cells
                     + [result.not_graded])
    return lines


def save_table(folder: Path, first: Sequence[str] = ()) -> List[Result]:
    """Write scores.csv from all results in a folder, and return these.

    Args:
        first: names of submissions whose rows come first, in this order; the others follow by name.

    Raises:
        OSError: it cannot be written.
    """
    places = {name: place for place, name in enumerate(first)}
    results = sorted(load_all(folder), key=lambda result: places.get(result.name, len(places)))
    write(folder / "scores.csv", as_csv(rows(results)))
    return results


def one_line(result: Result) -> str:
    """Return a result for the terminal."""
    header, line = rows([result])
    return in_one_line(", ".join(f"{title} {cell}" for title, cell in zip(header, line) if cell))
