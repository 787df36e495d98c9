"""Your score: python -m tests

Prints what each task earns, and for each failure the first thing to look at. A task's points are shared equally by its
tests. The exit status is 0 if all tests pass, but for those of optional tasks that are not begun.
"""
import argparse
import sys

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests", description=__doc__.split("\n\n", 1)[1])
    parser.add_argument("--seed", type=int, metavar="N", help="repeat the random inputs of an earlier run")
    seed = parser.parse_args().seed

    from tests.score import all_pass, markdown, score
    result = score(seed=seed)
    print(markdown(result), end="")
    sys.exit(not all_pass(result.rows))
