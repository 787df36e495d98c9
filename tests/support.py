"""Shared by all tests: how they call your code, and how they report what they found.

A test never touches lib itself. It passes numbers and arrays to a plain function, which imports lib, calls your code
and returns numbers and arrays; the test computes the expected result itself, in float64.
"""
import ast
import functools
import random
import re
import sys
import traceback
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, NoReturn, Sequence, Tuple, Union

import numpy as np
import pytest
import torch

from tests.scoring.report import MISTAKE, NOT_FILLED_IN, printable
from tests.scoring.state import restored

LIB = Path(__file__).resolve().parent.parent / "lib"
seeds = random.Random()


class Mistake(Exception):
    """What a test has to tell the student."""


class When(NamedTuple):
    """A hint: a known mistake, and whether the result shows it."""
    mistake: str
    shown: Any                      # a bool of Python or NumPy


class Gives(NamedTuple):
    """A hint: a known mistake, and the value that it gives. `assert_close` compares the result with that value."""
    mistake: str
    value: Any


Hint = Union[When, Gives]


def task(number: str) -> Callable:
    """Mark a test as one of a task. A failure is reported in words, without a traceback through the test."""
    def decorate(test: Callable) -> Callable:
        @functools.wraps(test)
        def run(**fixtures: Any) -> None:
            try:
                test(**fixtures)
                return
            except Mistake as mistake:
                message = str(mistake)
            except Exception as error:
                message = f"The test cannot use what your code returned ({type(error).__name__}: {error})."
            message = message if message.startswith("Task ") else f"Task {number}: {message}"
            pytest.fail(printable(message), pytrace=False)
        return pytest.mark.task(number)(run)
    return decorate


def fresh() -> int:
    """Return a new random seed; `--seed N` repeats the seeds of run N."""
    return seeds.randrange(2 ** 31)


def call(function: Callable, **inputs: Any) -> Any:
    """Run one of the functions that touch lib, and return its results as numbers and arrays.

    Settings of the whole process, such as PyTorch's default dtype, are restored after the call.

    Raises:
        Mistake: the student's code is not filled in, or raised an exception.
    """
    try:
        with restored():
            return plain(function(**inputs))
    except (Mistake, KeyboardInterrupt):
        raise
    except BaseException as error:  # SystemExit and the exception of pytest.skip too
        raise Mistake(describe(error, inputs)) from None


def plain(value: Any) -> Any:
    """Convert tensors to arrays, also inside lists, tuples and dicts; describe any other object in words."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()  # NumPy has no bfloat16
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str, np.ndarray, np.generic)):
        return value
    return f"an object of type {type(value).__name__}"


def describe(error: BaseException, inputs: Dict[str, Any]) -> str:
    """Describe an exception of the student's code: what it is, and where in lib it was raised."""
    places = [(Path(frame.filename).resolve(), frame.lineno or 0, frame.name, frame.line)
              for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        places.append((Path(error.filename).resolve(), error.lineno or 0, "<module>", (error.text or "").strip()))
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
        text += "\nNumPy does not track gradients: use the PyTorch function (torch.exp instead of np.exp)."
    if in_lib and isinstance(error, NameError):
        text += hidden_by_import(text, path, line)
    if "reading from stdin" in text:
        text = "Nobody can answer input() here: remove it."
    if not in_lib:
        start = f"The test cannot use what your code defines or returns, {where}:"
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
        lines.append(f"The test's inputs have these shapes: {', '.join(sizes)}.")
    if re.search("[dD]ouble|float64", text):
        lines.append("A tensor is float64, NumPy's default, but the weights are float32: convert it with .float().")
    return "\n".join(lines)


def hidden_by_import(text: str, path: Path, line: int) -> str:
    """Explain a name that an import further down in the same function makes local; "" if that is not the reason."""
    name = re.search(r"variable '(\w+)'", text)
    if not name:
        return ""
    nodes = list(ast.walk(ast.parse(path.read_bytes())))
    functions = [node for node in nodes
                 if isinstance(node, ast.FunctionDef) and node.lineno <= line <= (node.end_lineno or line)]
    for function in functions:
        for node in ast.walk(function):
            if isinstance(node, (ast.Import, ast.ImportFrom)) and name[1] in [
                    alias.asname or alias.name.split(".")[0] for alias in node.names]:
                return (f"\nThe import on line {node.lineno} makes {name[1]} a local name in the whole function "
                        f"{function.name}, undefined until that line runs: move this import to the top of the "
                        "function's first gap.")
    return ""


def size(shape: Sequence[int]) -> str:
    """Return a shape in words: 6,3."""
    return ",".join(map(str, shape)) or "a single number"


def words(value: Any) -> str:
    """Describe a result without its values."""
    if value is None:
        return "None (is there a return?)"
    if isinstance(value, list):
        return f"a list or tuple of {len(value)} items: {'; '.join(words(item) for item in value[:4])}"
    if isinstance(value, (str, dict)):
        return value if isinstance(value, str) else "a dict"
    return f"shape {size(np.shape(value))}" if np.ndim(value) else "a single number"


def close(got: Any, expected: Any, rtol: float = 1e-4, atol: float = 1e-5) -> bool:
    """Return whether two results have the same shape and, up to atol + rtol * |expected|, the same values."""
    try:
        return np.shape(got) == np.shape(expected) and np.allclose(got, expected, rtol=rtol, atol=atol)
    except (TypeError, ValueError):  # not numbers
        return False


def same_numbers(got: Any, expected: Any) -> bool:
    """Return whether two arrays hold the same numbers, in whatever order."""
    return isinstance(got, np.ndarray) and close(np.sort(got, axis=None), np.sort(expected, axis=None))


def follows(values: Any, distribution: Callable[[np.ndarray], np.ndarray]) -> bool:
    """Return whether numbers look like samples of a distribution: the Kolmogorov-Smirnov distance is < 2.5 / sqrt(n).

    Args:
        distribution: its cumulative distribution function. Of sets of true samples, 1 in 100,000 is rejected.
    """
    values = np.sort(np.asarray(values, dtype=np.float64), axis=None)
    expected, n = distribution(values), len(values)
    return bool(np.abs(expected - (np.arange(n) + 0.5) / n).max() < 2.5 / n ** 0.5)


def is_normal(values: Any) -> bool:
    """Return whether numbers look like samples of N(0, 1)."""
    return follows(values, lambda x: torch.special.ndtr(torch.from_numpy(x)).numpy())


def is_uniform(values: Any, low: float, high: float) -> bool:
    """Return whether numbers look uniformly distributed between two bounds."""
    return follows(values, lambda x: np.clip((x - low) / (high - low), 0, 1))


def fail(*, what: str, expected: Any, got: Any, hints: Iterable[When] = (), read: str = "") -> NoReturn:
    """Report what was expected and what the code gave, and name the mistake if it is a known one.

    Args:
        what: the result in words.
        hints: known mistakes; the first one that the result shows is reported.
        read: where to read about it.

    Raises:
        Mistake: always.
    """
    lines = [f"{what}:", f"    expected: {expected}", f"    got:      {got}"]
    lines += [MISTAKE + hint.mistake + "." * (hint.mistake[-1] != "?") for hint in hints if hint.shown][:1]
    raise Mistake("\n".join(lines + ([f"Read {read}."] if read else [])))


def unpack(*, got: Any, function: str, shapes: Dict[str, Tuple[int, ...]], hints: Sequence[When] = ()) -> Any:
    """Return the parts of the tuple that a function must return.

    Args:
        shapes: the name and shape of each part, in the function's order.
        hints: as for `fail`.

    Raises:
        Mistake: the number of parts or a shape differs.
    """
    expected = [words(np.empty(shape)) for shape in shapes.values()]
    received = [words(part) for part in got] if isinstance(got, list) else [words(got)]
    if received != expected:
        names = ", ".join(shapes)
        fail(what=f"What {function} returns, {names}", expected=count(expected), got=count(received),
             hints=[*hints, When(f"the order is not {names}", sorted(received) == sorted(expected))],
             read=f"the docstring of {function}")
    return got


def count(parts: Sequence[str]) -> str:
    """Return the number of results, and each in words."""
    return f"{len(parts)} result{'s' * (len(parts) != 1)}: {'; '.join(parts)}"


def assert_close(*, what: str, got: Any, expected: Any, hints: Iterable[Hint] = (), rtol: float = 1e-4,
                 atol: float = 1e-5, read: str = "") -> None:
    """Compare a result with the expected one.

    Args:
        what: the result in words.
        got: a number, an array, or whatever the code returned instead.
        expected: a number or array, in float64.
        hints: known mistakes; the first one that the result shows is reported.
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
    fail(what=what, expected=shown[0], got=shown[1], read=read, hints=[
        When(hint.mistake, close(got, hint.value, rtol, atol)) if isinstance(hint, Gives) else hint for hint in hints])


def gradients(output: Any, factors: Any, inputs: Sequence[torch.Tensor]) -> List[torch.Tensor]:
    """Return the gradients of sum(output * factors) with respect to tensors; zeros where no gradient arrives."""
    if not isinstance(output, torch.Tensor) or not output.requires_grad:
        return [torch.zeros_like(tensor) for tensor in inputs]
    found = torch.autograd.grad((output * factors).sum(), inputs, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(tensor) if gradient is None else gradient for tensor, gradient in zip(inputs, found)]


def run_this_file(path: str) -> NoReturn:
    """Run the tests of one file: `python -m tests.test_something`."""
    sys.exit(pytest.main([path] + sys.argv[1:]))
