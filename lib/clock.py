"""Measuring where the time of a run goes."""
import time
from contextlib import contextmanager
from typing import Dict, Iterator, List

from lib.script import START


class Clock:
    """Add up how long each part of a run takes, from the start of the script. What is not in any part, such as the
    imports, counts as `rest`; a part within another one only counts as itself.
    """

    def __init__(self, rest: str) -> None:
        self.seconds: Dict[str, float] = {rest: 0.0}
        self.parts: List[str] = [rest]              # the current part is the last one
        self.since = START

    def _count(self) -> None:
        now = time.perf_counter()
        self.seconds[self.parts[-1]] += now - self.since
        self.since = now

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time in the block as part `name`."""
        self._count()
        self.seconds.setdefault(name, 0.0)
        self.parts.append(name)
        try:
            yield
        finally:
            self._count()
            self.parts.pop()

    def summary(self) -> str:
        """Return the seconds so far: all of them, and those of each part."""
        self._count()
        parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in self.seconds.items())
        return f"{sum(self.seconds.values()):.1f} seconds: {parts}"
