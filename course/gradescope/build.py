"""Build Gradescope's archive: python -m course.gradescope.build autograder.zip

It holds the handout and the grader, and nothing that must not be where students' code runs: no solution, no answers, no
bank of submissions.
"""
import argparse
import sys
import zipfile
from pathlib import Path
from typing import Dict, Tuple

from course import handout
from course.gaps import MarkerError

ROOT = Path(__file__).resolve().parents[2]
GRADER = ("course/__init__.py", "course/archives.py", "course/gaps.py", "course/grade.py", "course/hand_in.py",
          "course/handout.py", "course/history.py", "course/table.py", "course/grader/*.py", "course/gradescope/*.py")
SCRIPTS = ("setup.sh", "run_autograder")            # Gradescope expects them at the top


def build(root: Path) -> Dict[str, Tuple[int, bytes]]:
    """Return the files of the archive: for each path, the bits of its executable permission and its bytes.

    Raises:
        MarkerError, RuntimeError, OSError: as for `course.handout.build`.
    """
    files = handout.build(root)
    for pattern in GRADER:
        files.update({path.relative_to(root).as_posix(): (0, path.read_bytes()) for path in sorted(root.glob(pattern))})
    files.update({name: (0o111, (root / "course" / "gradescope" / name).read_bytes()) for name in SCRIPTS})
    return files


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m course.gradescope.build", description=__doc__.split("\n\n")[1])
    parser.add_argument("archive", type=Path, help="the zip file to write")
    args = parser.parse_args()
    try:
        files = build(ROOT)
        with zipfile.ZipFile(str(args.archive), "w") as archive:
            for name, (executable, data) in sorted(files.items()):
                info = zipfile.ZipInfo(name)
                info.external_attr = (0o100644 | executable) << 16
                archive.writestr(info, data, zipfile.ZIP_DEFLATED)
    except (MarkerError, RuntimeError, OSError) as error:
        print(f"build: {error}", file=sys.stderr)
        sys.exit(1)
    print(f"wrote {args.archive}: {len(files)} files")


if __name__ == "__main__":
    main()
