"""A student may put an import at the top of any gap, and every right solution still works."""
import ast
import tempfile
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from course import gaps
from course.bank import all_cases
from course.bank.trial import ROOT, build, run_tests

GAPS = [piece for path in sorted((ROOT / "lib").glob("*.py"))
        for piece in gaps.split(f"lib/{path.name}", path.read_text(encoding="utf-8")) if isinstance(piece, gaps.Gap)]
IMPORTS = """\
import copy, functools, itertools, math, os, random, sys, time, warnings
import numpy, torch, torch.distributions, torch.optim, torchvision
import numpy as np
import torch.nn as nn
import torch.nn.functional as F
from collections import Counter, OrderedDict
from copy import deepcopy
from itertools import combinations
from math import ceil, cos, exp, isfinite, log, nan, pi, sin, sqrt
from pathlib import Path
from statistics import mean
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple, Union
from matplotlib import pyplot as plt
from numpy import array
from torch import Tensor, distributions, nn, no_grad, optim, rand, randint, randn, randn_like, stack
from torch.distributions import Bernoulli, Normal, kl_divergence
from torch.nn import BatchNorm2d, BCELoss, Conv2d, ConvTranspose2d, Linear, MSELoss, ReLU, Sequential
from torch.nn import functional as F
from torch.nn.functional import binary_cross_entropy, mse_loss, relu
from torch.optim import Adam
from torch.utils import data
from torch.utils.data import DataLoader
from tqdm import tqdm
"""


def imported(statements):
    """Return the names that import statements bind."""
    return {alias.asname or alias.name.split(".")[0] for node in statements
            if isinstance(node, (ast.Import, ast.ImportFrom)) for alias in node.names}


def header(path):
    """Return the import statements at the top of a module, and their text."""
    text = (ROOT / path).read_text(encoding="utf-8")
    nodes = [node for node in ast.parse(text).body if isinstance(node, (ast.Import, ast.ImportFrom))]
    return nodes, "".join(ast.get_source_segment(text, node) + "\n" for node in nodes)


def test_imports_include_those_of_the_bank():
    for case in all_cases():
        for code in case.gaps.values():
            try:
                tree = ast.parse("def gap():\n" + textwrap.indent(code, "    "))
            except SyntaxError:
                assert case.is_wrong
            else:
                assert imported(ast.walk(tree)) <= imported(ast.parse(IMPORTS).body), case.place


def outside_gaps(function, path):
    """Return the names that the given code of a function reads outside the gaps."""
    inside = {line for gap in GAPS if gap.path == path
              for line in range(gap.line, gap.line + gap.region.count("\n"))}
    return {node.id for statement in function.body for node in ast.walk(statement)
            if isinstance(node, ast.Name) and node.lineno not in inside}


@pytest.mark.parametrize("path", sorted({gap.path for gap in GAPS}))
def test_no_given_line_around_a_gap_uses_an_imported_name(path):
    """An import in the gap would hide such a name from the lines before it, and may change its meaning after it."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
                 and any(gap.path == path and node.lineno < gap.line <= node.end_lineno for gap in GAPS)]
    assert functions
    for function in functions:
        hidden = outside_gaps(function, path) & imported(header(path)[0])
        assert not hidden, f"{path}, {function.name}: {sorted(hidden)}"


def failures(case, gap):
    """Return the messages of a task's tests about a case with all imports, including the module's, in one gap."""
    own = {piece.name: piece for piece in GAPS if piece.task == case.task}
    solution = textwrap.dedent(own[gap].region)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        code = header(own[gap].path)[1] + IMPORTS + case.gaps.get(gap, solution)
        build(folder, {**case.gaps, gap: code})
        for file in (folder / "tests").glob("test_*.py"):
            if f'task("{case.task}")' not in file.read_text(encoding="utf-8"):
                file.unlink()
        results, = run_tests(folder, [1])
    said = [said for _, said in results.values() if said]
    said += ["no test ran"] * (not results)
    return [f"{case.place}: {case.title}, imports in {gap}: {words}" for words in said]


def test_all_imports_work_in_each_gap_of_each_right_case():
    """Also try the gaps that a case does not change."""
    pairs = [(case, gap.name) for case in all_cases() if not case.is_wrong for gap in GAPS if gap.task == case.task]
    with ThreadPoolExecutor(2) as pool:
        found = [words for said in pool.map(lambda pair: failures(*pair), pairs) for words in said]
    assert len(pairs) > 250 and not found, "\n".join(found[:5])


# The message about an import that hides a name

def message(tmp_path, code):
    """Return a message of the tests of 2.2 about a training step, and the line of its import."""
    build(tmp_path, {"train": code})
    results, = run_tests(tmp_path, [1], "2.2")
    said = next(said for test, (_, said) in results.items() if said and "test_train_diffusion" in test)
    lines = (tmp_path / "lib" / "train_diffusion.py").read_text(encoding="utf-8").splitlines()
    return said, next(number for number, line in enumerate(lines, 1) if line.endswith("    import math"))


BROKEN = """\
t = torch.randint(0, args.diffusion_steps, (len(batch), 1), device=batch.device)
noised, eps = add_noise(batch, t, baralphas)
loss = ((model(noised, t) - eps) ** 2).mean() * {use}
optimizer.zero_grad()
loss.backward()
optimizer.step()
import math
"""


@pytest.mark.parametrize("use", ["math.exp(0)", "max(math.exp(0) for _ in range(2))", "(lambda: math.exp(0))()"],
                         ids=["local variable", "comprehension", "lambda"])
def test_an_import_below_the_line_that_needs_it_is_named(tmp_path, use):
    said, line = message(tmp_path, BROKEN.format(use=use))
    assert f"The import on line {line} makes math a local name in the whole function train" in said, said
    assert "move this import to the top of the function's first gap" in said, said


def test_other_unknown_names_are_not_blamed_on_imports(tmp_path):
    said, _ = message(tmp_path, BROKEN.replace("loss.backward()", "loss_.backward()").format(use="1"))
    assert "name 'loss_' is not defined" in said and "The import" not in said, said
    said, _ = message(tmp_path / "again", BROKEN.replace("eps = ", "eps_ = ").format(use="1") + "eps = 1\n")
    assert "'eps'" in said and "The import" not in said, said
