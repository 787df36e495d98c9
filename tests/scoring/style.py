"""The style check that the score makes: pycodestyle, with the same answer on every Python.

    python tests/scoring/style.py --max-line-length 120 .

Since Python 3.12 pycodestyle also checks what is in the braces of f-strings, and since 3.10 it treats names like
`match` as keywords. Here it does neither.
"""
import io
import keyword
import re

import pycodestyle

# A comment, or the prefix of a string and the string
LITERAL = re.compile(r"""
    \#[^\r\n]* |
    (?<!\w) (?P<prefix>[A-Za-z]{0,2}) (?P<string>
        \"{3} (?:[^\\]|\\.)*? \"{3} | '{3} (?:[^\\]|\\.)*? '{3} |
        \" (?:[^\\"\r\n]|\\.)* \" | ' (?:[^\\'\r\n]|\\.)* ')
""", re.VERBOSE | re.DOTALL)
PLAIN = {"f": "u", "rf": "rb", "fr": "br"}              # prefixes of the same length


def without_f_strings(lines):
    """Make plain strings of all f-strings; nothing moves."""
    def make_plain(match):
        prefix = match["prefix"]
        return match[0] if prefix is None else PLAIN.get(prefix.lower(), prefix) + match["string"]

    return io.StringIO(LITERAL.sub(make_plain, "".join(lines)), newline="").readlines()


if __name__ == "__main__":
    read_lines = pycodestyle.readlines
    pycodestyle.readlines = lambda path: without_f_strings(read_lines(path))
    keyword.issoftkeyword = lambda word: False
    pycodestyle._main()
