"""What run_autograder calls."""
import argparse
import json
from pathlib import Path

from course.grade import grade
from course.gradescope import results
from tests.scoring.report import in_one_line

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m course.gradescope", description="Write Gradescope's results.json.")
    parser.add_argument("submission", type=Path, help="the submission")
    parser.add_argument("results", type=Path, help="the file to write")
    args = parser.parse_args()
    try:
        content = results(grade(args.submission))
    except Exception as error:  # the student must see something, and Gradescope wants a score
        content = {"score": 0, "output": f"It could not be graded: {in_one_line(str(error))}"}
    args.results.write_text(json.dumps(content, indent=2))  # as ASCII
