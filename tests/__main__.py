"""Your score: python -m tests

Prints what each task earns, and for each failure the first thing to look at. A task's points are shared equally by its
tests. The exit status is 0 if all tests pass, but for those of optional tasks that are not begun. For the tests of one
module alone: python -m tests.test_vae
"""
import argparse
import sys

from tests.scoring.environment import missing
from tests.scoring.score import TIMEOUT, all_pass, markdown, score

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests", description=__doc__.split("\n\n", 1)[1])
    parser.add_argument("--seed", type=int, metavar="N", help="repeat the random inputs of an earlier run")
    seed = parser.parse_args().seed
    if missing():
        print(f"tests: {sys.executable} lacks {', '.join(missing())}; is the environment active, and `python -m pip "
              "install -r requirements.txt` done?", file=sys.stderr)
        sys.exit(2)
    if sys.stderr.isatty():
        print(f"running the tests ... (one that takes more than {TIMEOUT} seconds is given up)", file=sys.stderr)
    try:
        result = score(seed=seed)
    except KeyboardInterrupt:
        sys.exit(130)
    except (RuntimeError, OSError) as error:
        print(f"tests: {error}", file=sys.stderr)
        sys.exit(1)
    sys.stdout.reconfigure(errors="replace")  # a character that this terminal does not have
    print(markdown(result), end="")
    sys.exit(not all_pass(result.rows))
