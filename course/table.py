"""Read and write tables as CSV files, which people edit with spreadsheets."""
import csv
import io
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

from lib.script import UserError
from tests.scoring.report import in_one_line

FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")        # the last four are full-width characters


def as_csv(lines: Sequence[Sequence[str]]) -> str:
    """Return a table as CSV in which no cell contains a line break or looks like a formula to a spreadsheet."""
    cells = [[in_one_line(cell) for cell in line] for line in lines]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(
        [f"'{cell}" if cell.startswith(FORMULA) else cell for cell in line] for line in cells)
    return text.getvalue()


def read_csv(path: Path, columns: Sequence[str]) -> List[Tuple[str, Dict[str, str]]]:
    """Read some columns of a CSV file, with commas or semicolons, in UTF-8.

    Empty rows are skipped. The apostrophe that `as_csv` puts before a formula is removed again.

    Returns:
        For each row its place ("teams.csv:2") and its cells by column.

    Raises:
        UserError: the file cannot be read, lacks a column, or a row has a different number of cells.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8: save it as \"CSV UTF-8\"") from None
    first = text.split("\n", 1)[0]
    separator = ";" if first.count(";") > first.count(",") else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    header: List[str] = []
    rows: List[Tuple[str, Dict[str, str]]] = []
    try:
        for line in reader:
            place, cells = f"{path}:{reader.line_num}", [_plain(cell) for cell in line]
            if not any(cells):
                continue
            if not header:
                header = cells
                for column in columns:
                    if header.count(column) != 1:
                        found = "more than one column" if column in header else "no column"
                        raise UserError(f"{place}: {found} {column} (found: {', '.join(header)})")
                continue
            if len(cells) < len(header) or any(cells[len(header):]):
                raise UserError(f"{place}: {len(cells)} cells for {len(header)} columns; quote a cell that contains "
                                f"the separator {separator}")
            rows.append((place, {column: cells[header.index(column)] for column in columns}))
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: not CSV ({error})") from None
    if not header:
        raise UserError(f"{path} is empty")
    return rows


def _plain(cell: str) -> str:
    cell = in_one_line(cell)
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA) else cell
