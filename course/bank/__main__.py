"""python -m course.bank: what the student tests say of wrong and of right submissions, as a table."""
import argparse
import random
import sys
from typing import Sequence

from course.bank import BankError, all_cases
from course.bank.trial import SEEDS_OF_WRONG, Verdict, try_cases
from course.gaps import MarkerError


def table(verdicts: Sequence[Verdict]) -> str:
    """A row per task, then what is not in order."""
    lines = [f"{'task':6}{'wrong':>8}{'caught':>8}{'named':>8}{'right':>8}{'accepted':>10}"]
    for task in sorted({verdict.case.task for verdict in verdicts}):
        wrong = [verdict for verdict in verdicts if verdict.case.task == task and verdict.case.is_wrong]
        right = [verdict for verdict in verdicts if verdict.case.task == task and not verdict.case.is_wrong]
        lines.append(f"{task:6}{len(wrong):8}{sum(verdict.caught for verdict in wrong):8}"
                     f"{sum(verdict.named for verdict in wrong):8}{len(right):8}"
                     f"{sum(not verdict.flaw for verdict in right):10}")
    for case, _, _, flaw in verdicts:
        if flaw:
            lines.append(f"\n{case.place}: {'wrong' if case.is_wrong else 'right'}: {case.title}: {flaw}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m course.bank", description=__doc__.split(": ")[1])
    parser.add_argument("--seeds", type=int, default=20, metavar="N",
                        help=f"random inputs for each right case (default: 20); a wrong one gets {SEEDS_OF_WRONG}")
    seeds = parser.parse_args().seeds
    if seeds < 1:
        parser.error("argument --seeds: at least 1")
    try:
        verdicts = try_cases(all_cases(), random.sample(range(10 ** 6), seeds))
    except (BankError, MarkerError) as error:
        print(f"bank: {error}", file=sys.stderr)
        sys.exit(1)
    print(table(verdicts))
    sys.exit(any(verdict.flaw for verdict in verdicts))


if __name__ == "__main__":
    main()
