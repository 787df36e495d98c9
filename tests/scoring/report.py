"""The report from which the score is computed: python -m pytest --report FILE"""
import json
import re
import unicodedata
from pathlib import Path
from typing import Any, Dict, List, Tuple

Results = Dict[str, Tuple[str, str]]                # for each test its task and its message, "" if it passes

NOT_RUN = "This test did not run."
NOT_ENDED = "Your code terminated Python during this test. Does it call exit()?"
NOT_FILLED_IN = re.compile(r"Task \S+ is not filled in yet")   # begins the message of an unfilled gap
MISTAKE = "This looks like a known mistake: "                  # begins a line of a message
# Control sequences of terminals: CSI ("ESC [" up to a letter), those with a text (titles, links), and short ones
SEQUENCE = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?|(?:\x1b[P\]X^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*"
                      r"(?:\x07|\x1b\\|\x9c)?|\x1b[ -/]*[0-~]?")


def printable(text: str) -> str:
    """Remove control sequences, control characters and invisible characters, but keep tabs and line ends.

    Invisible characters can reverse the direction of the text that follows.
    """
    text = re.sub(r"\r\n?", "\n", SEQUENCE.sub("", text))

    def shown(char: str) -> str:
        if "\ud800" <= char <= "\udfff":            # half of a surrogate pair
            return "\ufffd"
        return char if char in "\t\n" else {"C": "", "Z": " "}.get(unicodedata.category(char)[0], char)

    return "".join(map(shown, text))


def in_one_line(text: str) -> str:
    """Return a printable text with spaces instead of tabs and line ends."""
    return re.sub(r"[\t\n]", " ", printable(text)).strip()


class Report:
    """A pytest plugin that writes each test's task and message at once, in case the code terminates Python.

    A line of JSON about a test replaces the earlier lines about it.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.tasks: Dict[str, str] = {}

    def note(self, test: str, said: str) -> None:
        said = printable(said)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps([test, self.tasks.get(test, ""), said]) + "\n")

    def pytest_collection_modifyitems(self, items: List[Any]) -> None:
        self.tasks = {item.nodeid: marker.args[0] for item in items for marker in item.iter_markers("task")}
        for item in items:
            self.note(item.nodeid, NOT_RUN)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.note(report.nodeid, report.longreprtext)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.note(nodeid, NOT_ENDED)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed or report.when == "call":
            self.note(report.nodeid, "" if report.passed else report.longreprtext)


def read_report(path: Path) -> Results:
    """Return the results in a report; ignore lines that are incomplete or malformed."""
    results: Results = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            test, task, said = map(printable, json.loads(line))
        except (TypeError, ValueError):
            continue
        results[test] = task, said
    return results
