"""Your score: python -m tests

Prints what each task earns, and for each failure the first thing to look at. A task's points are shared equally by its
tests. `python -m tests 2.2` runs one task; `python -m tests.test_vae` runs the tests of one module. The exit status is
0 if all tests pass; tests of optional tasks you have not started are ignored.
"""
import argparse
import io
import sys

from tests.scoring.score import TIMEOUT, all_pass, markdown, score
from tests.scoring.tasks import TASKS

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests", description=str(__doc__).split("\n\n", 1)[1])
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="run only the tests of these tasks, for example 2.2")
    parser.add_argument("--seed", type=int, metavar="N", help="repeat the random inputs of an earlier run")
    args = parser.parse_args()
    choices = [task.number for task in TASKS if task.graded_by == "tests"]
    unknown = [task for task in args.tasks if task not in choices]
    if unknown:
        print(f"tests: there are no tests of task {unknown[0]}; choose from {', '.join(choices)}", file=sys.stderr)
        sys.exit(2)
    if sys.stderr.isatty():
        print(f"running the tests ... (a test that takes more than {TIMEOUT} seconds is stopped)", file=sys.stderr)
    try:
        result = score(seed=args.seed, tasks=args.tasks)
    except KeyboardInterrupt:
        sys.exit(130)
    except (RuntimeError, OSError) as error:
        print(f"tests: {error}", file=sys.stderr)
        sys.exit(1)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")    # for characters that this terminal lacks
    print(markdown(result), end="")
    sys.exit(not all_pass(result.rows))
