"""The command that run_autograder calls: grade one submission and write results.json."""
import argparse
import json
from pathlib import Path

from course.grade import grade
from course.gradescope import results
from tests.scoring.report import in_one_line

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m course.gradescope", description="Write Gradescope's results.json.")
    parser.add_argument("submission", type=Path, help="a folder or an archive")
    parser.add_argument("results", type=Path, help="the file to write")
    args = parser.parse_args()
    try:
        content = results(grade(args.submission))
    except Exception as error:  # show the reason to the student; Gradescope needs a score
        content = {"score": 0, "output": f"This submission could not be graded: {in_one_line(str(error))}"}
    args.results.write_text(json.dumps(content, indent=2))  # ASCII only
