"""An adapter for Gradescope's autograder: python -m course.gradescope SUBMISSION RESULTS

It converts the score of a submission to Gradescope's results.json, whose format is published at
https://gradescope-autograders.readthedocs.io/en/latest/specs/. See course/running.md for the set-up.
"""
from typing import Any, Dict

from tests.scoring.score import OPTIONAL, Score, markdown


def results(score: Score) -> Dict[str, Any]:
    """Return the content of results.json: an entry for each task that the tests grade.

    A bonus task has no max_score, so its point is added on top.
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
