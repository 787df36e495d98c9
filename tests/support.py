"""What the tests share: how they call your code, and how they say what they found.

A test never touches lib itself. It hands numbers and arrays to a plain function, which imports lib, calls your code and
returns numbers and arrays; what they should have been is computed in the test, in float64.
"""
import ast
import functools
import random
import re
import sys
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.scoring.report import MISTAKE, NOT_FILLED_IN, printable
from tests.scoring.state import restored

LIB = Path(__file__).resolve().parent.parent / "lib"
seeds = random.Random()


class Mistake(Exception):
    """What a test has to tell the student."""


def task(number):
    """Mark a test as one of a task; where it fails it says so in words, without a traceback through the test."""
    def decorate(test):
        @functools.wraps(test)
        def run(**fixtures):
            try:
                test(**fixtures)
                return
            except Mistake as mistake:
                message = str(mistake)
            except Exception as error:
                message = f"The test can make nothing of what your code gives ({type(error).__name__}: {error})."
            message = message if message.startswith("Task ") else f"Task {number}: {message}"
            pytest.fail(printable(message), pytrace=False)
        return pytest.mark.task(number)(run)
    return decorate


def fresh():
    """A seed that no earlier run had; `--seed N` repeats those of run N."""
    return seeds.randrange(2 ** 31)


def call(function, **inputs):
    """Run one of the functions that touch lib; give back its results as numbers and arrays.

    What the code sets for the whole process, like PyTorch's default dtype, is valid in this call only.

    Raises:
        Mistake: the student's code is not filled in, or raised something.
    """
    try:
        with restored():
            return plain(function(**inputs))
    except (Mistake, KeyboardInterrupt):
        raise
    except BaseException as error:  # also SystemExit, and what pytest.skip raises
        raise Mistake(describe(error, inputs)) from None


def plain(value):
    """Tensors as arrays, in whatever they are packed; what is neither number nor array as words."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str, np.ndarray, np.generic)):
        return value
    return f"an object of type {type(value).__name__}"


def describe(error, inputs):
    """An exception of the student's code in words: what it was, and where in lib it rose."""
    places = [(Path(frame.filename).resolve(), frame.lineno, frame.name, frame.line)
              for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        places.append((Path(error.filename).resolve(), error.lineno, "<module>", (error.text or "").strip()))
    in_lib = [place for place in places if LIB in place[0].parents]
    in_tests = [place for place in places if place[0].parent == Path(__file__).resolve().parent and place[2] != "call"]
    path, line, function, code = (in_lib or in_tests or places)[-1]
    if function.startswith("<") and function != "<module>" and len(in_lib) > 1:
        function = in_lib[-2][2]                    # the function around a comprehension or a lambda
    where = f"{path.parent.name}/{path.name}, line {line}"
    if NOT_FILLED_IN.match(str(error)):
        return f"{error}: the gap in {function}, {where}."
    text = (error.msg if isinstance(error, SyntaxError) else str(error))[:1000]
    if "detach().numpy()" in text:
        text += "\nNumPy knows no gradients: take PyTorch's function in place of NumPy's, torch.exp for np.exp."
    if in_lib and isinstance(error, NameError):
        text += hidden_by_import(text, path, line)
    if "reading from stdin" in text:
        text = "There is nobody to answer input() here: take it out."
    if not in_lib:
        start = f"What your code defines or returns cannot be used as the test does, {where}:"
    elif function == "<module>":
        start = f"{where}: this file cannot be imported."
    else:
        start = f"{where}: your code raised an exception in {function}."
    lines = [start, f"    {code}", f"{type(error).__name__}: {text}"]
    if len(in_lib) > 1 and in_lib[-2][0] != in_lib[-1][0]:
        lines.append(f"It was called in {in_lib[-2][2]}, lib/{in_lib[-2][0].name}, line {in_lib[-2][1]}:\n"
                     f"    {in_lib[-2][3]}")
    sizes = [f"{name} {size(value.shape)}" for name, value in inputs.items() if isinstance(value, np.ndarray)]
    if sizes and function != "<module>":
        lines.append(f"The test's inputs have the shapes: {', '.join(sizes)}.")
    if re.search("[dD]ouble|float64", text):
        lines.append("A tensor is float64, NumPy's default, but the weights are float32: convert it with .float().")
    return "\n".join(lines)


def hidden_by_import(text, path, line):
    """Explain a name that an import elsewhere in the same function makes local; "" if that is not the reason."""
    name = re.search(r"variable '(\w+)'", text)
    nodes = list(ast.walk(ast.parse(path.read_bytes())))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef) and node.lineno <= line <= node.end_lineno]
    for function in functions if name else ():
        for node in ast.walk(function):
            if isinstance(node, (ast.Import, ast.ImportFrom)) and name[1] in [
                    alias.asname or alias.name.split(".")[0] for alias in node.names]:
                return (f"\nThe import in line {node.lineno} makes {name[1]} a local name in the whole function "
                        f"{function.name}, unknown until that line has run: move this import to the top of the first "
                        "gap of the function.")
    return ""


def size(shape):
    """A shape in words: 6,3."""
    return ",".join(map(str, shape)) or "a single number"


def words(value):
    """What a result is, but for its values."""
    if value is None:
        return "None (is there a return?)"
    if isinstance(value, list):
        return f"{len(value)} parts in a list or tuple: {'; '.join(words(item) for item in value[:4])}"
    if isinstance(value, (str, dict)):
        return value if isinstance(value, str) else "a dict"
    return f"shape {size(np.shape(value))}" if np.ndim(value) else "a single number"


def close(got, expected, rtol=1e-4, atol=1e-5):
    """Whether two results have the same shape and, up to atol + rtol * |expected|, the same values."""
    try:
        return np.shape(got) == np.shape(expected) and np.allclose(got, expected, rtol=rtol, atol=atol)
    except (TypeError, ValueError):  # no numbers
        return False


def same_numbers(got, expected):
    """Whether two arrays hold the same numbers, wherever they stand."""
    return isinstance(got, np.ndarray) and close(np.sort(got, axis=None), np.sort(expected, axis=None))


def follows(values, chances):
    """Whether numbers look like samples of a distribution: the Kolmogorov-Smirnov distance is below 2.5 / sqrt(n).

    Args:
        chances: the distribution function. Of samples that do come from it, 1 in 100,000 sets is turned down.
    """
    values = np.sort(np.asarray(values, dtype=np.float64), axis=None)
    expected, n = chances(values), len(values)
    return bool(np.abs(expected - (np.arange(n) + 0.5) / n).max() < 2.5 / n ** 0.5)


def is_normal(values):
    return follows(values, lambda x: torch.special.ndtr(torch.from_numpy(x)).numpy())


def is_uniform(values, low, high):
    return follows(values, lambda x: np.clip((x - low) / (high - low), 0, 1))


def fail(what, expected, got, hints=(), read=""):
    """Say what was expected and what came, and name the mistake if it is a known one.

    Args:
        hints: pairs of a known mistake in words and whether it is this one; the first that is true is told.
        read: where to read about it.

    Raises:
        Mistake: always.
    """
    lines = [f"{what}:", f"    expected: {expected}", f"    got:      {got}"]
    lines += [f"{MISTAKE}{mistake}." for mistake, recognised in hints if recognised][:1]
    raise Mistake("\n".join(lines + ([f"Read {read}."] if read else [])))


def unpack(got, function, hints=(), **shapes):
    """The parts of the tuple that a function must return; names and shapes come in its order, hints as for fail."""
    expected = [words(np.empty(shape)) for shape in shapes.values()]
    came = [words(part) for part in got] if isinstance(got, list) else [words(got)]
    if came != expected:
        names = ", ".join(shapes)
        order = (f"the order is not {names}", sorted(came) == sorted(expected))
        shown = [f"{len(parts)} result{'s' * (len(parts) != 1)}: {'; '.join(parts)}" for parts in (expected, came)]
        fail(f"What {function} returns, {names}", *shown, list(hints) + [order], f"the docstring of {function}")
    return got


def assert_close(got, expected, what, hints=(), rtol=1e-4, atol=1e-5, read=""):
    """Compare a result with what it must be.

    Args:
        got: number, array, or whatever came instead.
        expected: number or array, in float64.
        what: the result in words.
        hints: pairs of a known mistake in words and what it gives; or whether it is this one, as a bool.
        rtol, atol: the largest difference is atol + rtol * |expected|; the default suits float32.
        read: where to read about it.

    Raises:
        Mistake: they differ.
    """
    if close(got, expected, rtol, atol):
        return
    if words(got) != words(expected):
        shown = [words(expected), words(got)]
    elif np.size(expected) <= 4:
        shown = [np.array2string(np.asarray(value, dtype=float), precision=5) for value in (expected, got)]
    else:
        difference = np.nan_to_num(np.abs(np.subtract(got, expected)), nan=np.inf)
        place = np.unravel_index(np.argmax(difference), difference.shape)
        shown = [f"{words(value)}; at [{', '.join(map(str, place))}] {value[place]:.5g}" for value in (expected, got)]
    fail(what, shown[0], shown[1], [
        (mistake, gives if isinstance(gives, (bool, np.bool_)) else close(got, gives, rtol, atol))
        for mistake, gives in hints], read)


def gradients(output, factors, inputs):
    """The gradients of sum(output * factors) with respect to tensors; zeros where no gradient arrives."""
    if not isinstance(output, torch.Tensor) or not output.requires_grad:
        return [torch.zeros_like(tensor) for tensor in inputs]
    found = torch.autograd.grad((output * factors).sum(), inputs, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(tensor) if gradient is None else gradient for tensor, gradient in zip(inputs, found)]


def run_this_file(path):
    """What `python -m tests.test_something` does."""
    sys.exit(pytest.main([path] + sys.argv[1:]))
