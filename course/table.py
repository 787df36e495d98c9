"""Tables for spreadsheets."""
import csv
import io
from typing import Sequence

from tests.scoring.report import in_one_line

FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")        # the last four are full-width characters


def as_csv(lines: Sequence[Sequence[str]]) -> str:
    """Return a table as CSV in which no cell contains a line break or looks like a formula to a spreadsheet."""
    cells = [[in_one_line(cell) for cell in line] for line in lines]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(
        [f"'{cell}" if cell.startswith(FORMULA) else cell for cell in line] for line in cells)
    return text.getvalue()
