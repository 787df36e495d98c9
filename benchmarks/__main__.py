"""Time the project, side by side with textbook code: python -m benchmarks vae --data_dir data

Also diffusion, gan, grade and explorer.
"""
import argparse
import sys
from importlib import import_module
from pathlib import Path

from lib.script import run_script


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for path in sorted(Path(__file__).parent.glob("[a-z]*.py")):
        module = import_module(f"benchmarks.{path.stem}")
        module.add_flags(commands.add_parser(path.stem, help=str(module.__doc__).splitlines()[0]))
    args = parser.parse_args()
    args.function(args)


if __name__ == "__main__":
    sys.exit(run_script(main))
