"""Check that this Python has what requirements.txt lists; runtests.sh and runtests.bat use the exit status."""
import re
import sys
from pathlib import Path
from typing import List


def missing() -> List[str]:
    """Return the names of packages that are missing or too old."""
    if sys.version_info < (3, 8):
        return ["Python 3.8 or later"]
    from importlib.metadata import PackageNotFoundError, version
    path = Path(__file__).resolve().parents[2] / "requirements.txt"
    text = path.read_text() if path.is_file() else ""
    names = []
    for name, least in re.findall(r"^([\w-]+)>=([\d.]+)", text, re.MULTILINE):
        try:
            installed = [int(number) for number in re.findall(r"\d+", version(name))[:2]]
        except PackageNotFoundError:
            installed = []
        if installed < list(map(int, least.split("."))):
            names.append(f"{name}>={least}" if installed else name)
    return names


def problem() -> str:
    """Return what is missing and what to do about it, in one line; "" if nothing is missing."""
    names = ", ".join(missing())
    return names and (f"{sys.executable} lacks {names}: activate the environment, or run `python -m pip install -r "
                      "requirements.txt`")


if __name__ == "__main__":
    sys.exit(bool(missing()))
