"""The style check of the score: pycodestyle, with the same result on every Python.

    python tests/scoring/style.py --max-line-length 120 .

On Python 3.12 and later, pycodestyle also checks the code inside the braces of f-strings; on 3.10 and later, it treats
names like `match` as keywords. This check does neither. It also reports files that Python cannot compile, as E901.
"""
import io
import keyword
import re
import tokenize
import warnings
from typing import Any, Iterator, List, Sequence

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


class Checker(pycodestyle.Checker):  # type: ignore[misc]
    """Check one file. pycodestyle only splits it into words, so without this, a text in English may pass."""

    def generate_tokens(self) -> Iterator[Any]:
        """Yield the words of the file, after a check that Python can compile it."""
        try:
            with tokenize.open(self.filename) as file, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                compile(file.read(), self.filename, "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = min(getattr(error, "lineno", 0) or 1, len(self.lines) or 1)
            self.report_error(line, 0, "E901 Python cannot compile this file", self.generate_tokens)
        except OSError:
            pass                                        # pycodestyle reports it
        yield from super().generate_tokens()


if __name__ == "__main__":
    pycodestyle.Checker = Checker
    read_lines = pycodestyle.readlines
    pycodestyle.readlines = lambda path: without_f_strings(read_lines(path))
    keyword.issoftkeyword = lambda word: False
    pycodestyle._main()
