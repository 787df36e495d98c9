"""The tests: `python -m tests`, `python -m tests.test_vae` or `python -m pytest`."""
import sys

from tests.scoring.environment import problem

if sys.argv[0] == "-m" and problem():               # Python is starting one of the first two commands
    print(f"tests: {problem()}", file=sys.stderr)
    sys.exit(2)
