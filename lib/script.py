"""What the scripts share before anything heavy is imported: flags and their types, and how a script ends."""
import argparse
import errno
import logging
import os
import re
import signal
import sys
import warnings
from typing import Callable, Optional, Sequence, TextIO


class UserError(Exception):
    """Something that the user can mend in the command: one line, exit status 2."""


class RunError(Exception):
    """Something that failed on the way: one line, exit status 1."""


def in_one_line(text: str) -> str:
    """Return a text with the characters escaped that would break the line or command the terminal, as in a name."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def say(text: str) -> None:
    """Print a line that may hold names of the user's."""
    print(in_one_line(text), flush=True)


class Parser(argparse.ArgumentParser):
    """A parser of flags whose errors are one line; flags are written out, and the help shows a text as it stands."""

    def __init__(self, description: str) -> None:
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter,
                         allow_abbrev=False)

    def parse_args(self, args: Optional[Sequence[str]] = None, namespace=None) -> argparse.Namespace:
        for text in sys.argv[1:] if args is None else args:
            if re.fullmatch("--[^=]+=--", text):    # before Python 3.13, argparse makes an empty list of this value
                self.error(f"argument {text[:-3]}: -- is not a value")
        return super().parse_args(args, namespace)

    def error(self, message: str) -> None:
        sys.exit(_complain(self.prog, f"error: {message} (--help shows all flags)", 2))


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
            if is_valid(value) and text.isascii():
                return value
        except (ValueError, OverflowError):
            pass
        raise argparse.ArgumentTypeError(f"{_short(text)} is not {meaning}")
    return convert_and_check


def file_name(text: str) -> str:
    """An argparse type: the name of a file or folder."""
    if not text:
        raise argparse.ArgumentTypeError("the name is empty")
    parts = [len(os.fsencode(part)) for part in re.split(r"[/\\]" if os.name == "nt" else "/", text)]
    if max(parts) > 255 or sum(parts) + len(parts) > 4096:
        raise argparse.ArgumentTypeError(f"the name {_short(text)} is too long")
    return text


def folder_name(text: str) -> str:
    """An argparse type: the name of a folder to write to."""
    if os.path.dirname(os.path.abspath(file_name(text))) == os.path.abspath(text):
        raise argparse.ArgumentTypeError(f"{text} is the root of the file system: name a folder in it")
    return text


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def add_run_flags(parser: argparse.ArgumentParser, output_dir: str) -> None:
    """Add the flags that every training script has. output_dir: the default folder, as the help shows it."""
    group = parser.add_argument_group("the run")
    group.add_argument("--output_dir", type=folder_name, metavar="DIR",
                       help=f"folder of the run (default: {output_dir})")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: %(default)s)")
    group.add_argument("--seed", type=integer(0, 2 ** 32 - 1), default=0,
                       help="the same seed gives the same run, to the last bit on the same machine, with the same "
                            "versions and the same number of threads (default: %(default)s)")
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

    _prepare_surroundings()
    for signum in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(signum) != signal.SIG_IGN:             # nohup and job control stay in force
            signal.signal(signum, stop)
    try:
        return _run(main)
    except BrokenPipeError:                         # the reader of a pipe has gone, as in `... | head`
        return _complain(name, f"stopped, as nobody reads its output any more. {if_stopped}", 1)
    except UserError as error:
        return _complain(name, f"error: {error}", 2)
    except (RunError, OSError, NotImplementedError) as error:
        is_name = getattr(error, "errno", None) in (errno.ENAMETOOLONG, errno.ELOOP)
        return _complain(name, f"error: {error}", 2 if is_name else 1)
    except Exception as error:
        if isinstance(error, MemoryError) or re.search("out of memory|(allocate|enough) memory", str(error)):
            return _complain(name, "error: not enough memory for these sizes; choose smaller ones", 1)
        raise
    finally:
        _let_go(sys.stdout)


def _prepare_surroundings() -> None:
    """Make the script independent of closed or narrow streams, of a notebook's settings and of libraries' warnings."""
    for number in range(3):                         # a file opened later must not get the number of a closed stream
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")               # a name that it cannot encode
    os.environ.pop("MPLBACKEND", None)              # a notebook hands on its own, which may not be installed here
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


def _run(main: Callable[[], None]) -> int:
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UserError("the working directory does not exist any more: change to another one")
    status = 0
    try:
        main()
    except SystemExit as end:                       # of the parser: --help, or a flag that it refuses
        status = end.code
    sys.stdout.flush()
    return status


def _complain(name: str, message: str, status: int) -> int:
    try:
        print(f"\n{name}: {in_one_line(message.strip())}", file=sys.stderr, flush=True)
    except OSError:                                 # there is nobody to tell
        _let_go(sys.stderr)
    return status


def _let_go(stream: TextIO) -> None:
    """Drop what a broken stream still holds, which Python would try to write again at its end."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
