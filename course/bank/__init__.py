"""The test of the tests: wrong and right submissions, and what the student tests must say about each.

    python -m course.bank              prints a table; the exit status is 1 if a test is wrong about a submission
    python -m course.bank --seeds 60   tries each right submission with 60 random inputs
    python -m course.bank 1.2          runs the cases of task 1.2
    python -m course.bank 1.2 "words"  runs those whose title contains the words

Each task has a plain text file, 1.1.txt and so on, with cases like

    === wrong: no ReLU in encode
    says: expected a ReLU in the encoder's hidden layer, but there is no activation
    --- VAE.encode
    hidden = self.encoder_hidden(x.flatten(start_dim=1))
    return self.encoder_mu(hidden), self.encoder_logvar(hidden)

A case is `wrong` or `right` and has a title. A line `--- ` names a gap (the function around it, see course/gaps.py);
the lines below it are the code for that gap. The other gaps keep the reference solution. The `says: ` lines of a wrong
case contain words that must occur together in one message of the tests. Text before the first case is a comment.

For a wrong case, a test of its task must fail with a message that has the words, and no test of another task may fail.
For a right case, all tests must pass. The tests of other tasks run once for each case.
"""
import re
import textwrap
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

FOLDER = Path(__file__).resolve().parent


class Case(NamedTuple):
    """A submission."""
    task: str                   # "1.1"
    place: str                  # file and line of the title
    title: str
    is_wrong: bool
    says: Tuple[str, ...]       # what a message must contain
    gaps: Dict[str, str]        # code by gap name


class BankError(ValueError):
    """A case is malformed, or no case is selected; the message says where or why."""


def read_cases(path: Path) -> List[Case]:
    """Read the cases in a file named after its task.

    Raises:
        BankError: a case is malformed; the message begins with file and line.
    """
    cases: List[Case] = []
    gap = ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        place = f"{path.name}:{number}"
        title = re.fullmatch(r"=== (wrong|right): (.+)", line)
        if title:
            gap = ""
            cases.append(Case(path.stem, place, title[2], title[1] == "wrong", (), {}))
        elif line.startswith("==="):
            raise BankError(f"{place}: a case must begin with `=== wrong: ` or `=== right: ` and a title")
        elif not cases:
            continue
        elif line.startswith("--- "):
            gap = line[4:].strip()
            if gap in cases[-1].gaps:
                raise BankError(f"{place}: the case fills this gap twice")
            cases[-1].gaps[gap] = ""
        elif line.startswith("says: ") and not gap:
            cases[-1] = cases[-1]._replace(says=cases[-1].says + (line[6:],))
        elif gap:
            cases[-1].gaps[gap] += line + "\n"
        elif line.strip():
            raise BankError(f"{place}: expected `says: `, or `--- ` and the name of a gap")
    cases = [case._replace(gaps={name: textwrap.dedent(code).strip("\n") for name, code in case.gaps.items()})
             for case in cases]
    for case in cases:
        if not case.gaps or not all(case.gaps.values()):
            raise BankError(f"{case.place}: the case has no code for a gap")
        if case.is_wrong != bool(case.says):
            raise BankError(f"{case.place}: a wrong case needs a `says: ` line, a right one must not have any")
    return cases


def all_cases() -> List[Case]:
    """Read the cases of all tasks."""
    return [case for path in sorted(FOLDER.glob("*.txt")) for case in read_cases(path)]
