"""Command-line code of all scripts, free of heavy imports: flags and their types, errors and exit statuses."""
import argparse
import errno
import logging
import os
import re
import signal
import sys
import time
import warnings
from typing import Any, Callable, NoReturn, Optional, Sequence, TextIO

START = time.perf_counter()                         # scripts import this module first, before the heavy ones
PACKAGES = ("PIL", "imageio_ffmpeg", "matplotlib", "numpy", "scipy", "sklearn", "torch", "torchvision", "tqdm")


class UserError(Exception):
    """An error the user can fix on the command line: printed as one line, exit status 2."""


class RunError(Exception):
    """An error during the run: printed as one line, exit status 1."""


def in_one_line(text: str) -> str:
    """Escape line breaks and control characters, which file names may contain."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def say(text: str) -> None:
    """Print a line that may contain names of files."""
    print(in_one_line(text), flush=True)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser with one-line errors, no abbreviated flags, and a description that is printed verbatim."""

    def __init__(self, description: str, prog: Optional[str] = None) -> None:
        super().__init__(prog=prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter,
                         allow_abbrev=False)

    def parse_args(self, args: Optional[Sequence[str]] = None,  # type: ignore[override]
                   namespace: Any = None) -> argparse.Namespace:
        for text in sys.argv[1:] if args is None else args:
            if re.fullmatch("--[^=]+=--", text):    # before Python 3.13, argparse turns this into []
                self.error(f"argument {text[:-3]}: -- is not a value")
        return super().parse_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        sys.exit(_print_error(self.prog, f"error: {message} (--help shows all flags)", 2))


def integer(low: int, high: int = 2 ** 31 - 1) -> Callable[[str], int]:
    """Return an argparse type: an integer from low to high."""
    return _in_range(int, lambda value: low <= value <= high, f"an integer from {low} to {high}")


def number(low: float, high: float = 1e9, above: bool = False) -> Callable[[str], float]:
    """Return an argparse type: a number from low to high, or, with `above`, greater than low."""
    return _in_range(lambda text: float(text) + 0.0,                # -0.0 becomes 0.0
                     lambda value: low < value <= high if above else low <= value <= high,
                     f"a number {'above' if above else 'from'} {low:g} {'and up to' if above else 'to'} {high:g}")


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
    """Check the name of a file or folder, as an argparse type."""
    if not text:
        raise argparse.ArgumentTypeError("the name is empty")
    parts = [len(os.fsencode(part)) for part in re.split(r"[/\\]" if os.name == "nt" else "/", text)]
    if max(parts) > 255 or sum(parts) + len(parts) > 4096:
        raise argparse.ArgumentTypeError(f"the name {_short(text)} is too long")
    return text


def folder_name(text: str) -> str:
    """Check the name of a folder to write to, as an argparse type."""
    if os.path.dirname(os.path.abspath(file_name(text))) == os.path.abspath(text):
        raise argparse.ArgumentTypeError(f"{text} is the root of the file system: choose a folder in it")
    return text


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def add_run_flags(parser: argparse.ArgumentParser, output_dir: str) -> None:
    """Add the flags of every training script. output_dir: the default folder, as the help shows it."""
    group = parser.add_argument_group("the run")
    group.add_argument("--output_dir", type=folder_name, metavar="DIR",
                       help=f"folder for the run (default: {output_dir})")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (default: %(default)s)")
    group.add_argument("--seed", type=integer(0, 2 ** 32 - 1), default=0,
                       help="random seed; the same seed gives the same results, bit for bit on the same machine with "
                            "the same versions and number of threads (default: %(default)s)")
    again = group.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="continue after the last finished epoch of a stopped run")
    again.add_argument("--overwrite", action="store_true", help="replace the run in the folder")


def run_script(main: Callable[[], None], if_stopped: str = "") -> int:
    """Run a script, and turn expected errors into one line on stderr and an exit status.

    Exit statuses: 0 success, 1 an error during the run, 2 an error the user can fix on the command line, 130 Ctrl-C,
    143 SIGTERM. Any other exception is a bug, and keeps its traceback.

    Args:
        main: the script; it imports the heavy packages.
        if_stopped: what to tell the user who stops it.
    """
    folder, name = os.path.split(sys.argv[0])
    if name == "__main__.py":                       # python -m PACKAGE
        name = os.path.basename(folder)

    def stop(signum, frame):
        # Exit immediately instead of raising: an exception inside an import may be swallowed and leave a half-imported
        # module (torch does that while it imports numpy). There is nothing to clean up: a run may be killed anywhere.
        try:
            os.write(2, f"\n{name}: stopped. {if_stopped}\n".encode())
        finally:
            os._exit(128 + signum)

    _prepare_process()
    for signum in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(signum) != signal.SIG_IGN:             # respect nohup and job control
            signal.signal(signum, stop)
    try:
        return _run(main)
    except BrokenPipeError:                         # the reader of a pipe has exited, as in `... | head`
        return _print_error(name, f"stopped, because nothing is reading its output any more. {if_stopped}", 1)
    except UserError as error:
        return _print_error(name, f"error: {error}", 2)
    except ModuleNotFoundError as error:
        if error.name not in PACKAGES:              # a module that a student's code imports
            raise
        return _print_error(name, f"error: {sys.executable} has no {error.name}: activate the environment, or run "
                                  "`python -m pip install -r requirements.txt`", 1)
    except (RunError, OSError, NotImplementedError) as error:
        is_name = getattr(error, "errno", None) in (errno.ENAMETOOLONG, errno.ELOOP)
        return _print_error(name, f"error: {error}", 2 if is_name else 1)
    except Exception as error:
        if isinstance(error, MemoryError) or re.search("out of memory|(allocate|enough) memory", str(error)):
            return _print_error(name, "error: not enough memory for these sizes: choose smaller ones", 1)
        raise
    finally:
        _discard_buffer(sys.stdout)


def _prepare_process() -> None:
    """Protect the script from closed streams, narrow encodings, a notebook's settings and libraries' warnings."""
    for number in range(3):                         # no later file may get the number of a closed stream
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # for names that it cannot encode
    os.environ.pop("MPLBACKEND", None)              # a notebook's own may not be installed here
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


def _run(main: Callable[[], None]) -> int:
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UserError("the working directory no longer exists: change to another one") from None
    status: Any = 0
    try:
        main()
    except SystemExit as end:                       # by the parser: --help, or an invalid flag
        status = end.code
    sys.stdout.flush()
    return status


def _print_error(name: str, message: str, status: int) -> int:
    try:
        print(f"\n{name}: {in_one_line(message.strip())}", file=sys.stderr, flush=True)
    except OSError:                                 # stderr is closed
        _discard_buffer(sys.stderr)
    return status


def _discard_buffer(stream: TextIO) -> None:
    """Discard the buffer of a broken stream, which Python would otherwise try to write again at exit."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
