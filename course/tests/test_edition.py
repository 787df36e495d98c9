"""CHANGELOG.md names the edition, in one form."""
import datetime
import re

import pytest

from course import handout
from course.tests.support import ROOT
from tests.scoring.edition import CHANGELOG, Edition, read_edition

TEXT = (ROOT / CHANGELOG).read_text(encoding="utf-8")


def test_every_heading_is_an_edition_and_the_newest_comes_first():
    headings = re.findall("^## .*", TEXT, re.MULTILINE)
    editions = [read_edition(heading) for heading in headings]
    assert headings and None not in editions, f"write the headings of {CHANGELOG} as: ## Edition 2 (2026-11-28)"
    assert [edition.number for edition in editions] == list(range(len(editions), 0, -1))
    dates = [datetime.date(*map(int, edition.date.split("-"))) for edition in editions]
    assert dates == sorted(dates, reverse=True)
    assert editions[0] == read_edition(TEXT)


def test_the_handout_contains_the_changelog():
    assert CHANGELOG in handout.student_files(ROOT)


@pytest.mark.parametrize("text, edition", [
    (None, None), ("", None), ("# Changelog\n\nEdition 3 (2026-01-02)\n", None), ("## Edition 3 of 2026-01-02\n", None),
    ("## Edition 3 (2026-01-02)\n\n## Edition 2 (2025-01-02)\n", Edition(3, "2026-01-02")),
    ("# Changelog\r\n\r\n## Edition 12 (2026-01-02)\r\n", Edition(12, "2026-01-02"))])
def test_the_first_heading_is_the_edition(text, edition):
    assert read_edition(text) == edition
