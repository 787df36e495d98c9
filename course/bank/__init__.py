"""The test of the tests: wrong and right submissions, and what the student tests say of each.

    python -m course.bank             prints a table; its exit status is 1 if a test is wrong about a submission
    python -m course.bank --seeds 60  tries each right submission with as many random inputs

One plain text file per task, 1.1.txt and so on, holds its cases one after the other, like

    === wrong: no ReLU in encode
    says: the encoder's hidden layer has no activation
    --- VAE.encode
    hidden = self.encoder_hidden(x.flatten(start_dim=1))
    return self.encoder_mu(hidden), self.encoder_logvar(hidden)

A case is `wrong` or `right` and has a title. Below `--- ` and the name of a gap (the function around it, as
course/gaps.py names it) stands the code that goes into it; the other gaps stay as the reference has them. The lines
`says: ` of a wrong case have words that must stand together in one message of the tests. What stands before the first
case is a comment.

A wrong case is in order when a test of its task fails, a message of its task has the words, and no test of another task
fails; a right one when all tests pass. The tests of other tasks run once for each case.
"""
import re
import textwrap
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

FOLDER = Path(__file__).resolve().parent


class Case(NamedTuple):
    """A submission."""
    task: str                   # "1.1"
    place: str                  # file and line of its title
    title: str
    is_wrong: bool
    says: Tuple[str, ...]       # what a message must contain
    gaps: Dict[str, str]        # code by name of the gap


class BankError(ValueError):
    """A case is not written as it must be; the message begins with file and line."""


def read_cases(path: Path) -> List[Case]:
    """The cases in a file that is named after its task."""
    cases: List[Case] = []
    code: List[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        place = f"{path.name}:{number}"
        title = re.fullmatch(r"=== (wrong|right): (.+)", line)
        if title:
            code = []
            cases.append(Case(path.stem, place, title[2], title[1] == "wrong", (), {}))
        elif line.startswith("==="):
            raise BankError(f"{place}: a case begins with `=== wrong: ` or `=== right: ` and a title")
        elif not cases:
            continue
        elif line.startswith("--- "):
            code = cases[-1].gaps.setdefault(line[4:].strip(), [])
            if code:
                raise BankError(f"{place}: this gap stands twice in the case")
        elif line.startswith("says: ") and not cases[-1].gaps:
            cases[-1] = cases[-1]._replace(says=cases[-1].says + (line[6:],))
        elif cases[-1].gaps:
            code.append(line)
        elif line.strip():
            raise BankError(f"{place}: neither `says: ` nor `--- ` and the name of a gap")
    cases = [case._replace(gaps={name: textwrap.dedent("\n".join(lines)).strip("\n")
                                 for name, lines in case.gaps.items()}) for case in cases]
    for case in cases:
        if not case.gaps or not all(case.gaps.values()):
            raise BankError(f"{case.place}: the case puts no code into a gap")
        if case.is_wrong != bool(case.says):
            raise BankError(f"{case.place}: a wrong case says what a message must contain, a right one does not")
    return cases


def all_cases() -> List[Case]:
    """The cases of all tasks."""
    return [case for path in sorted(FOLDER.glob("*.txt")) for case in read_cases(path)]
