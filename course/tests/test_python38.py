"""The score finds code that Python 3.8 cannot run, and checks the style, with the same result on every Python.

Each Python on this machine is tried.
"""
import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from course.tests.support import ROOT
from tests.scoring import handed_in, python38
from tests.scoring.score import Score, markdown, row_of_bonus
from tests.scoring.tasks import TASKS

# Code, and the line that Python 3.8 does not understand
NEWER_SYNTAX = [
    ("match x:\n    case 1:\n        pass\n", 1),
    ("y = 1\nmatch (x, y):\n    case (1, _):\n        z = 1\n    case _:\n        z = 2\n", 2),
    ("try:\n    pass\nexcept* ValueError:\n    pass\n", 3),
    ("with (open('a') as f, open('b') as g):\n    pass\n", 1),
    ("with (\n    open('a') as f,\n    open('b') as g,\n):\n    pass\n", 2),
    ("def f[T](x: T) -> T:\n    return x\n", 1),
    ("class A[T]:\n    pass\n", 1),
    ("x = 1\ntype X = int\n", 2),
    ("@a.b[0]\ndef f():\n    pass\n", 1),
    ("@(lambda f: f)\nclass A:\n    pass\n", 1),
    ("@a().b\ndef f():\n    pass\n", 1),
    ("def f(*args: *Ts):\n    pass\n", 1),
    ("x = a[*b]\n", 1),
    ("x = a[0, *b]\n", 1),
    ("x = a[y := 1]\n", 1),
    ("x = {y := 1, 2}\n", 1),
    ("for x in *a, 1:\n    pass\n", 1),
    ("x = 1\ny = f\"{d[\"a\"]}\"\n", 2),
    ("y = f'{f'{x}'}'\n", 1),
    ("y = f\"{'\\n'.join(x)}\"\n", 1),
    ("y = f\"{x!r:>{w['a\\\\b']}}\"\n", 1),
    ("x = f\"{d['a']} {f'{d[\"b\"]}'}\"\n", 1),
    ("def f(:\n    pass\n", 1),
    ("x = 1\n  y = 2\n", 2),
    ("x = '\n", 1),
    ("x = )\n", 1),
    ("print 1\n", 1),
    ("x = f'{a b}'\n", 1),
    ("x\x00 = 1\n", 1),
]
OLD_SYNTAX = [
    "with open('a') as f, open('b') as g:\n    pass\nwith (open('a')) as f:\n    pass\nwith (a, b):\n    pass\n",
    "from os import (path as p,\n                sep as s)\nimport os as o\n",
    "try:\n    pass\nexcept (ValueError, TypeError) as error:\n    pass\n",
    "@a.b.c(1, x=[2])\n@a\ndef f(x, /, y, *, z: 'int | None' = None):\n    return *x, y\n",
    "if (n := len(a)) > 1:\n    x = a[(m := 1)], {(k := 2)}, f(j := 1)\n",
    "for x in (*a, 1):\n    pass\nfor x in a, b:\n    pass\n",
    "a[(1, *b)] = a[1, 2:3, ...]\n",
    "match = 1\nmatch[0] = case = type = match\nprint(match, case (1), type (x))\n",
    "f'{x!r:>{w}} {d[\"a\"]} {{}} {x=} \\n {x:%H\\n}'\n",
    "f'''{\nx\n} {d[\"a\"]} {f\"{x}\"}'''\nrf'\\d{x}' f\"{x['a']}#\" \"'\"\n",
    "x = [y for y in z if (k := y)]\nlambda: (yield)\n",
    "async def f():\n    async with a as b, c as d:\n        await b\n",
    "x = 0xfor_ = 1\n".replace("0xfor_", "y"),
]
# Code, and the lines that need a newer Python with words about them
NEWER_NAMES = [
    ("from functools import cache\n", [(1, "`functools.cache` needs Python 3.9")]),
    ("import functools as ft\n\n\n@ft.cache\ndef f():\n    pass\n", [(4, "`functools.cache`")]),
    ("import math\nx = math.lcm(2, 3), math.prod([1])\n", [(2, "`math.lcm`")]),
    ("from itertools import (accumulate,\n                       pairwise, batched)\n",
     [(1, "`itertools.batched` needs Python 3.12"), (1, "`itertools.pairwise` needs Python 3.10")]),
    ("import itertools\nfor a, b in itertools.pairwise(x):\n    pass\n", [(2, "`itertools.pairwise`")]),
    ("x = 'a'.removeprefix('a').removesuffix('b')\n", [(1, ".removeprefix()"), (1, ".removesuffix()")]),
    ("import random\nrandom.randbytes(2)\nrandom.random()\n", [(2, "`random.randbytes`")]),
    ("import graphlib\nimport zoneinfo\nfrom zoneinfo import ZoneInfo\nimport tomllib\n",
     [(1, "`graphlib`"), (2, "`zoneinfo`"), (3, "`zoneinfo`"), (4, "`tomllib` needs Python 3.11")]),
    ("from typing import Self, Optional\n", [(1, "`typing.Self` needs Python 3.11")]),
    ("import typing as t\ndef f(x: t.Annotated[int, 1]): pass\n", [(2, "`typing.Annotated`")]),
    ("def f(x: list[int], y: 'list[int]') -> dict[str, int]:\n    z: list[int] = []\n",
     [(1, "`dict[...]` needs Python 3.9"), (1, "`list[...]` needs Python 3.9")]),
    ("def f(x: int | None = None) -> Tensor | None:\n    y: int | None = 1\n", [(1, "`int | None` needs Python 3.10")]),
    ("class A:\n    x: torch.Tensor | None = None\n", [(2, "needs Python 3.10")]),
    ("isinstance(x, int | float)\nNumber = int | float\n", [(1, "needs Python 3.10"), (2, "needs Python 3.10")]),
    ("from collections import deque, abc\nfrom collections.abc import Iterable\nx = deque[int]\ny = Iterable[int]\n",
     [(3, "`deque[...]`"), (4, "`Iterable[...]`")]),
    ("x = {'a': 1} | y\nz = dict(a=1) | y\n", [(1, "between dicts needs Python 3.9"), (2, "between dicts")]),
    ("zip(a, b, strict=True)\nprint(aiter(x))\n", [(1, "`zip(strict=...)`"), (2, "`aiter` needs Python 3.10")]),
    ("from dataclasses import dataclass\n@dataclass(slots=True)\nclass A:\n    pass\n", [(2, "dataclass(slots=...)")]),
    ("import datetime\ndatetime.UTC\n", [(2, "datetime.UTC")]),
    ("import enum\nclass A(enum.StrEnum):\n    pass\n", [(2, "enum.StrEnum")]),
    ("raise ExceptionGroup('a', [])\n", [(1, "`ExceptionGroup` needs Python 3.11")]),
]
OLD_NAMES = [
    "from __future__ import annotations\ndef f(x: list[int] | None) -> dict[str, int]:\n    pass\n",
    "try:\n    from functools import cache\nexcept ImportError:\n    from functools import lru_cache as cache\n",
    "import sys\nif sys.version_info >= (3, 9):\n    from math import lcm\nelse:\n    lcm = None\n",
    "from typing import TYPE_CHECKING, Dict, List\nif TYPE_CHECKING:\n    from typing import Self\nx: List[Dict]\n",
    "list = [1]\nx = list[0]\nmask = (a > 1) | (b < 2)\nset(x) | {1}\nflags = re.A | re.B\n",
    "def f(x: 'int | None', y: \"list[int]\") -> 'dict[str, int]':\n    z: list[int] = x | y\n",
    "import numpy as np\nimport torch\nx = np.cbrt(2), torch.exp2(x), np.random.randbytes\n",
    "math = torch\nmath.lcm(x, y)\n",
    "def cache(f):\n    return f\n\n\n@cache\ndef batched(call, cbrt):\n    return call(cbrt)\n",
    "import functools, math, random\nfunctools.lru_cache, math.prod, math.dist, math.comb, random.choices\n",
]
# Code, and the codes of its style mistakes: inside an f-string there are none
STYLE = [
    ('epoch = loss = 1\nprint(f"epoch { epoch }: {loss = }")\n', []),
    ('x = 1\nprint(f"{x:>{ x }}", rf"\\d{ x }", F\'{ x}\' "a", fr"""{ x\n,x }""")\n', []),
    ('print(f"{x}" ,1)\n', ["E203", "E231"]),
    ("import re\nre.match (1, 2)\n", ["E211"]),
    ("x = f'\\d'\n", ["W605"]),
    ("x=f'{1}'\n", ["E225"]),
    ("x = 1  # f'{ x }\ny = \"# f'{ x }\"\n", []),
    (f"x = f'{{1}}{'a' * 115}'\n", ["E501"]),
]
ASK = """
import json, sys
sys.path.insert(0, sys.argv[1])
from tests.scoring import handed_in, python38
from tests.scoring.score import Score, markdown, row_of_bonus
from tests.scoring.tasks import TASKS
cases = json.load(sys.stdin)
lines, names = [[text.encode() for text in texts] for texts in cases]
print(json.dumps([[python38.unreadable(text) for text in lines], [python38.newer_names(text) for text in names]]))
"""


def pythons():
    installed = [str(path) for path in Path.home().glob(".pyenv/versions/3.*/bin/python")]
    named = [shutil.which(f"python3.{minor}", path="/usr/bin:/usr/local/bin") for minor in range(8, 20)]
    installed += [path for path in named if path]
    others = [path for path in installed if subprocess.run(
        [path, "-c", "import sys; sys.exit(sys.version_info < (3, 8))"]).returncode == 0]
    return [sys.executable] + sorted(others)


@pytest.mark.parametrize("python", pythons())
def test_every_python_finds_the_same(python):
    syntax = [text for text, _ in NEWER_SYNTAX] + OLD_SYNTAX + [text for text, _ in NEWER_NAMES] + OLD_NAMES
    names = [text for text, _ in NEWER_NAMES] + OLD_NAMES
    done = subprocess.run([python, "-c", ASK, str(ROOT)], input=json.dumps([syntax, names]), stdout=subprocess.PIPE,
                          universal_newlines=True, check=True)
    lines, found = json.loads(done.stdout)
    for text, line, expected in zip(syntax, lines, [line for _, line in NEWER_SYNTAX] + [None] * len(syntax)):
        assert line == expected, text
    for text, newer, expected in zip(names, found, [expected for _, expected in NEWER_NAMES] + [[]] * len(names)):
        assert len(newer) == len(expected), f"{text}{newer}"
        for (line, said), (expected_line, words) in zip(newer, expected):
            assert line == expected_line and words in said, f"{text}{newer}"


@pytest.mark.parametrize("text, codes", STYLE)
def test_style_ignores_f_strings(tmp_path, text, codes):
    """The result is the same on every Python: continuous integration runs this on the oldest and on the newest."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "x.py").write_text(text)
    found = handed_in.style(tmp_path)
    assert [line.split()[1] for line in found] == codes, found


@pytest.mark.skipif(sys.version_info >= (3, 9), reason="uses the parser of Python 3.8")
def test_python_38_agrees():
    for text, _ in NEWER_SYNTAX:
        with pytest.raises((SyntaxError, ValueError)):
            ast.parse(text)
    for text in OLD_SYNTAX:
        ast.parse(text)


def test_the_project_runs_on_python_38():
    assert python38.find_newer(ROOT) == []


def test_the_score_reports_newer_code(tmp_path):
    """Newer syntax costs the point for style; newer names are only listed. Unreadable files get no style check."""
    (tmp_path / "lib" / "mine").mkdir(parents=True)
    (tmp_path / "lib" / "names.py").write_text("from functools import cache\n\nprint(cache)\n")
    (tmp_path / "lib" / "mine" / "syntax.py").write_text("x=1\nmatch x:\n    case 1:\n        pass\n")
    (tmp_path / "lib" / "mine" / "style.py").write_text("x=1\n")
    newer = python38.find_newer(tmp_path)
    assert newer == ["lib/mine/syntax.py, line 2: Python 3.8 does not understand this line",
                     "lib/names.py, line 1: `functools.cache` needs Python 3.9"]
    style = handed_in.style(tmp_path)
    assert style[0] == "./lib/mine/syntax.py:2: Python 3.8 does not understand this line"
    assert len(style) == 2 and style[1].startswith("./lib/mine/style.py:1:2: E225"), style
    text = markdown(Score([row_of_bonus(TASKS[-1], [])], [], 1, newer))
    assert "## Newer than Python 3.8\n" in text and all(f"\n    {words}\n" in text for words in newer)


NO_PYTHON = {
    "prose": b"def f():\n    We compute the mean\n", "two signs": b"x = = 1\n", "return": b"x = 1\nreturn x\n",
    "break": b"break\n", "await": b"def f():\n    await g()\n", "twice": b"def f(a, a):\n    pass\n",
    "keywords": b"f(a=1, a=2)\n", "star": b"*a = 1\n", "not UTF-8": b"x = 1  # caf\xe9\n", "zero": b"x = 1  # \0\n",
    "no such encoding": b"# coding: nothing\nx = 1\n", "f-string": b"x = f'{1 = = 2}'\n", "noqa": b"x = = 1  # noqa\n"}


@pytest.mark.parametrize("place", ["lib", ".", "tests"])
@pytest.mark.parametrize("name", NO_PYTHON)
def test_what_is_no_python_has_no_style(tmp_path, name, place):
    """pycodestyle alone accepts most of these."""
    (tmp_path / place).mkdir(exist_ok=True)
    (tmp_path / place / "x.py").write_bytes(NO_PYTHON[name])
    assert handed_in.style(tmp_path), name
    (tmp_path / place / "x.py").write_bytes(b"# coding: latin-1\nx = 'caf\xe9'\n\n\ndef f():\n    return f'{x}'\n")
    assert handed_in.style(tmp_path) == []


def test_a_style_check_that_takes_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr(handed_in, "STYLE_TIMEOUT", 0.01)
    assert handed_in.style(tmp_path) == ["pycodestyle took too long"]
