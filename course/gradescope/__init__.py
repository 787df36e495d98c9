"""Gradescope's autograder: python -m course.gradescope SUBMISSION RESULTS

Turns the score of a submission into Gradescope's results.json, whose format is published at
https://gradescope-autograders.readthedocs.io/en/latest/specs/. course/running.md says how to set it up.
"""
from typing import Any, Dict

from tests.scoring.score import OPTIONAL, Score, markdown


def results(score: Score) -> Dict[str, Any]:
    """A score as the content of results.json: an entry for each task that is graded here.

    A bonus task has no max_score, so that its point comes on top.
    """
    tests = []
    for row in score.rows:
        if row.earned is None:
            continue
        full = row.earned == row.task.points and not row.failures
        said = "\n\n".join(f"{test.split('::')[-1]}\n{words}" for test, words in row.failures)
        test = {"number": row.task.number, "name": row.task.title + (" (bonus)" if row.task.bonus else ""),
                "score": round(float(row.earned), 2), "output": "\n\n".join(filter(None, [row.note, said])),
                "output_format": "text", "visibility": "visible"}
        if row.note != OPTIONAL:
            test["status"] = "passed" if full else "failed"
        tests.append(test if row.task.bonus else dict(test, max_score=float(row.task.points)))
    return {"output": markdown(score), "output_format": "md", "visibility": "visible", "tests": tests}
