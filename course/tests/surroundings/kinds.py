"""All kinds of cases."""
from pathlib import Path
from typing import List

from course.tests.surroundings import Case, checkpoints, environments, flags, images, mnist, names, taken

KINDS = {"flags": flags, "names": names, "environments": environments, "checkpoints": checkpoints, "images": images,
         "mnist": mnist, "taken": taken}


def cases_of(kind: str, stock: Path) -> List[Case]:
    """stock: of the Bench; the damaged checkpoints are made from those in it."""
    cases = list(KINDS[kind].cases(stock) if kind == "checkpoints" else KINDS[kind].cases())
    assert len({case.name for case in cases}) == len(cases), "two cases of one name"
    return cases
