"""Side-by-side timings: python -m benchmarks vae --data_dir data"""
import argparse
import sys

from benchmarks import vae
from lib.script import run_script


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    vae.add_flags(commands.add_parser("vae", help=vae.__doc__.splitlines()[0]))
    args = parser.parse_args()
    args.function(args)


if __name__ == "__main__":
    sys.exit(run_script(main))
