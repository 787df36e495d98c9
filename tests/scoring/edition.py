"""The edition of the exercise: its number and date, which CHANGELOG.md alone states."""
import re
from typing import NamedTuple, Optional

CHANGELOG = "CHANGELOG.md"
HEADING = re.compile(r"^## Edition (\d+) \((\d{4}-\d\d-\d\d)\)$", re.MULTILINE)


class Edition(NamedTuple):
    """A dated version of the handout."""
    number: int
    date: str  # "2026-11-28"


def read_edition(text: Optional[str]) -> Optional[Edition]:
    """Return the newest edition in the text of a changelog: the one of its first heading. None if there is none."""
    found = HEADING.search((text or "").replace("\r\n", "\n"))
    return Edition(int(found[1]), found[2]) if found else None
