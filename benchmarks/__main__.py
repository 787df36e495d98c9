"""Time the project and textbook code side by side: python -m benchmarks vae --data_dir data; also diffusion and gan"""
import argparse
import sys

from benchmarks import diffusion, gan, vae
from lib.script import run_script


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, module in (("vae", vae), ("diffusion", diffusion), ("gan", gan)):
        module.add_flags(commands.add_parser(name, help=module.__doc__.splitlines()[0]))
    args = parser.parse_args()
    args.function(args)


if __name__ == "__main__":
    sys.exit(run_script(main))
