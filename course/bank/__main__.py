"""Run the student tests on wrong and on right submissions, and print the results as a table.

    python -m course.bank              all cases
    python -m course.bank 1.2          the cases of task 1.2
    python -m course.bank 1.2 "words"  those whose title contains the words

The exit status is 0 if the tests are right about every case, 1 if not, and 2 for a mistake in the command.
"""
import argparse
import random
import sys
from typing import List, Sequence

from course.bank import BankError, Case, all_cases
from course.bank.trial import SEEDS_OF_WRONG, Verdict, try_cases
from course.gaps import MarkerError


def select(cases: Sequence[Case], texts: Sequence[str]) -> List[Case]:
    """Return the cases that match all texts: the number of a task, or words of a title.

    Raises:
        BankError: there is no such task, or no case matches.
    """
    tasks = sorted({case.task for case in cases})
    for text in texts:
        if text.replace(".", "").isdigit() and text not in tasks:
            raise BankError(f"there are no cases of task {text}; choose from {', '.join(tasks)}")
    selected = [case for case in cases
                if all(case.task == text if text in tasks else text.lower() in case.title.lower() for text in texts)]
    if not selected:
        raise BankError(f"no case matches {' and '.join(map(repr, texts))}")
    return selected


def table(verdicts: Sequence[Verdict]) -> str:
    """Return a row for each task, then the cases with a problem."""
    lines = [f"{'task':6}{'wrong':>8}{'caught':>8}{'named':>8}{'right':>8}{'accepted':>10}"]
    for task in sorted({verdict.case.task for verdict in verdicts}):
        wrong = [verdict for verdict in verdicts if verdict.case.task == task and verdict.case.is_wrong]
        right = [verdict for verdict in verdicts if verdict.case.task == task and not verdict.case.is_wrong]
        lines.append(f"{task:6}{len(wrong):8}{sum(verdict.caught for verdict in wrong):8}"
                     f"{sum(verdict.named for verdict in wrong):8}{len(right):8}"
                     f"{sum(not verdict.problem for verdict in right):10}")
    for case, _, _, problem in verdicts:
        if problem:
            lines.append(f"\n{case.place}: {'wrong' if case.is_wrong else 'right'}: {case.title}: {problem}")
    return "\n".join(lines)


def main() -> None:
    usage, description = str(__doc__).split("\n\n", 1)
    parser = argparse.ArgumentParser(prog="python -m course.bank", description=f"{usage}\n\n{description}",
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="*", metavar="TASK or WORDS", help="run only the cases that match all of these")
    parser.add_argument("--seeds", type=int, default=20, metavar="N",
                        help=f"try each right case with N random inputs (default: 20), and each wrong one with up to "
                             f"{SEEDS_OF_WRONG}")
    args = parser.parse_args()
    if args.seeds < 1:
        parser.error("argument --seeds: must be at least 1")
    try:
        cases = all_cases()
    except (BankError, OSError) as error:
        print(f"bank: {error}", file=sys.stderr)
        sys.exit(1)
    try:
        cases = select(cases, args.texts)
    except BankError as error:
        print(f"bank: {error}", file=sys.stderr)
        sys.exit(2)
    try:
        verdicts = try_cases(cases, random.sample(range(10 ** 6), args.seeds))
    except (BankError, MarkerError) as error:
        print(f"bank: {error}", file=sys.stderr)
        sys.exit(1)
    print(table(verdicts))
    sys.exit(any(verdict.problem for verdict in verdicts))


if __name__ == "__main__":
    main()
