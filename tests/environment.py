"""Does this Python have what requirements.txt lists? Asked by runtests.sh and runtests.bat; the exit status answers."""
import re
import sys
from pathlib import Path


def has_requirements() -> bool:
    if sys.version_info < (3, 8):
        return False
    from importlib.metadata import PackageNotFoundError, version
    text = (Path(__file__).resolve().parent.parent / "requirements.txt").read_text()
    try:
        return all([int(number) for number in re.findall(r"\d+", version(name))[:2]] >= list(map(int, least.split(".")))
                   for name, least in re.findall(r"^([\w-]+)>=([\d.]+)", text, re.MULTILINE))
    except PackageNotFoundError:
        return False


if __name__ == "__main__":
    sys.exit(not has_requirements())
