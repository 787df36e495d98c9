"""What the scripts share before anything heavy is imported: flags and their types, and how a script ends."""
import argparse
import os
import re
import signal
import sys
from typing import Callable


class UserError(Exception):
    """Something that the user can mend in the command: one line, exit status 2."""


class RunError(Exception):
    """Something that failed on the way: one line, exit status 1."""


class Parser(argparse.ArgumentParser):
    """A parser of flags whose errors are one line; flags are written out, and the help shows a text as it stands."""

    def __init__(self, description: str) -> None:
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter,
                         allow_abbrev=False)

    def error(self, message: str) -> None:
        self.exit(2, f"{self.prog}: error: {message} (--help shows all flags)\n")


def integer(low: int, high: int = 2 ** 31 - 1) -> Callable[[str], int]:
    """An argparse type: a whole number from low to high."""
    return _in_range(int, lambda value: low <= value <= high, f"a whole number from {low} to {high}")


def number(low: float, high: float = 1e9, above: bool = False) -> Callable[[str], float]:
    """An argparse type: a number from low, or, if asked, above low, to high."""
    return _in_range(lambda text: float(text) + 0.0,                # -0.0 becomes 0.0
                     lambda value: low < value <= high if above else low <= value <= high,
                     f"a number {'above' if above else 'from'} {low:g}{' and' if above else ''} up to {high:g}")


def _in_range(convert: Callable, is_valid: Callable, meaning: str) -> Callable:
    def convert_and_check(text: str):
        try:
            value = convert(text)
            if is_valid(value):
                return value
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"{text!r} is not {meaning}")
    return convert_and_check


def add_run_flags(parser: argparse.ArgumentParser, output_dir: str) -> None:
    """Add the flags that every training script has. output_dir: the default folder, as the help shows it."""
    group = parser.add_argument_group("the run")
    group.add_argument("--output_dir", metavar="DIR", help=f"folder of the run (default: {output_dir})")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: %(default)s)")
    group.add_argument("--seed", type=integer(0, 2 ** 32 - 1), default=0,
                       help="the same seed gives the same run (default: %(default)s)")
    again = group.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on after the last finished epoch of a stopped run")
    again.add_argument("--overwrite", action="store_true", help="replace the run that the folder holds")


def run_script(main: Callable[[], None], if_stopped: str = "") -> int:
    """Run main and turn what may happen to it into one line on stderr and an exit status.

    0 done, 2 the user can mend it in the command, 1 it failed on the way, 130 Ctrl-C, 143 SIGTERM. Other exceptions are
    mistakes in the code, and keep their traceback.

    Args:
        main: the script; it imports what is heavy.
        if_stopped: what to tell a user who stops it.
    """
    name = os.path.basename(sys.argv[0])

    def stop(signum, frame):
        # At once, by no exception: an import may swallow that and go on half done (torch does, while it imports numpy).
        # There is nothing to tidy up, since a run may be killed anywhere.
        try:
            os.write(2, f"\n{name}: stopped. {if_stopped}\n".encode())
        finally:
            os._exit(128 + signum)

    for signum in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(signum) != signal.SIG_IGN:             # nohup and job control stay in force
            signal.signal(signum, stop)
    try:
        main()
        print(end="", flush=True)
        return 0
    except Exception as error:
        if isinstance(error, UserError):
            return _say(name, f"error: {error}", 2)
        if isinstance(error, BrokenPipeError):      # the reader of a pipe has gone, as in `... | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        if isinstance(error, (RunError, OSError, NotImplementedError)):
            return _say(name, f"error: {error}", 1)
        if isinstance(error, MemoryError) or re.search("out of memory|(allocate|enough) memory", str(error)):
            return _say(name, "error: not enough memory for these sizes; choose smaller ones", 1)
        raise


def _say(name: str, message: str, status: int) -> int:
    print(f"\n{name}: {message.strip()}", file=sys.stderr)
    return status
