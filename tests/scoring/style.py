"""The style check of the score: pycodestyle, with the same result on every Python.

    python tests/scoring/style.py --max-line-length 120 .

On Python 3.12 and later, pycodestyle also checks the code inside the braces of f-strings; on 3.10 and later, it treats
names like `match` as keywords. This check does neither.
"""
import io
import keyword
import re
from typing import List, Sequence

import pycodestyle

# A comment, or the prefix of a string and the string
LITERAL = re.compile(r"""
    \#[^\r\n]* |
    (?<!\w) (?P<prefix>[A-Za-z]{0,2}) (?P<string>
        \"{3} (?:[^\\]|\\.)*? \"{3} | '{3} (?:[^\\]|\\.)*? '{3} |
        \" (?:[^\\"\r\n]|\\.)* \" | ' (?:[^\\'\r\n]|\\.)* ')
""", re.VERBOSE | re.DOTALL)
PLAIN = {"f": "u", "rf": "rb", "fr": "br"}              # prefixes of the same length


def without_f_strings(lines: Sequence[str]) -> List[str]:
    """Turn all f-strings into plain strings of the same length."""
    def make_plain(match: "re.Match[str]") -> str:
        prefix = match["prefix"]
        return match[0] if prefix is None else PLAIN.get(prefix.lower(), prefix) + match["string"]

    return io.StringIO(LITERAL.sub(make_plain, "".join(lines)), newline="").readlines()


if __name__ == "__main__":
    read_lines = pycodestyle.readlines
    pycodestyle.readlines = lambda path: without_f_strings(read_lines(path))
    keyword.issoftkeyword = lambda word: False
    pycodestyle._main()
