"""Does this Python have what requirements.txt lists? Asked by runtests.sh and runtests.bat; the exit status answers."""
import re
import sys
from pathlib import Path


def missing():
    """The names of what is missing here or too old."""
    if sys.version_info < (3, 8):
        return ["Python 3.8 or later"]
    from importlib.metadata import PackageNotFoundError, version
    text = (Path(__file__).resolve().parents[2] / "requirements.txt").read_text()
    names = []
    for name, least in re.findall(r"^([\w-]+)>=([\d.]+)", text, re.MULTILINE):
        try:
            here = [int(number) for number in re.findall(r"\d+", version(name))[:2]]
        except PackageNotFoundError:
            here = []
        if here < list(map(int, least.split("."))):
            names.append(name)
    return names


if __name__ == "__main__":
    sys.exit(bool(missing()))
