"""Plain values as bytes: numbers, text, lists, dicts and arrays, between the judge and a student's code.

Reading executes nothing and trusts nothing. Eight bytes give the length of a header in JSON, which describes the value;
the numbers of its arrays follow as they lie in memory. An array in the header is {"array": [type, shape, offset]}.
"""
import json
import math
from typing import Any, List, Sequence

import numpy as np

LARGEST, LARGEST_HEADER = 64 * 2 ** 20, 2 ** 18      # bytes; the tests need 8 MB and 30 KB
KINDS = "biufc"                                         # NumPy's kinds of numbers


def pack(value: Any) -> bytes:
    """Return a plain value (see `tests.support.plain`) as bytes. An array that holds no numbers becomes a text."""
    parts: List[bytes] = []
    header = json.dumps(_describe(value, parts)).encode()
    return b"".join([len(header).to_bytes(8, "little"), header, *parts])


def _describe(value: Any, parts: List[bytes]) -> Any:
    if isinstance(value, dict):
        return {"dict": [[_describe(key, parts), _describe(item, parts)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return {"list": [_describe(item, parts) for item in value]}
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        if array.dtype.kind not in KINDS:
            return f"an array of {array.dtype.name}"
        parts.append(array.tobytes())
        return {"array": [array.dtype.str, list(array.shape), sum(map(len, parts[:-1]))]}
    return value


def unpack(data: bytes) -> Any:
    """Return the value that `pack` has written.

    Raises:
        ValueError: the bytes describe none.
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(LARGEST_HEADER, len(data) - 8):
        raise ValueError("the header is too long")
    numbers = memoryview(data)[8 + length:]
    try:
        return _build(json.loads(data[8:8 + length].decode()), numbers, [len(numbers)])
    except (RecursionError, TypeError, KeyError, OverflowError) as error:
        raise ValueError(f"the header is malformed ({error})") from None


def _build(tree: Any, numbers: memoryview, left: List[int]) -> Any:
    """Return a part of the value. left holds the number of bytes that no array has taken yet."""
    if not isinstance(tree, dict):
        if isinstance(tree, list):
            raise ValueError("the header is malformed")
        return tree
    (kind, content), = tree.items()
    if kind == "list":
        return [_build(item, numbers, left) for item in content]
    if kind == "dict":
        return {_build(key, numbers, left): _build(item, numbers, left) for key, item in content}
    if kind != "array":
        raise ValueError("the header is malformed")
    return _array(content, numbers, left)


def _array(content: Sequence[Any], numbers: memoryview, left: List[int]) -> np.ndarray:
    name, shape, start = content
    dtype = np.dtype(str(name))
    if dtype.kind not in KINDS or not all(type(number) is int and number >= 0 for number in [start, *shape]):
        raise ValueError("an array is malformed")
    size = math.prod(shape) * dtype.itemsize
    left[0] -= size
    if len(shape) > 16 or start + size > len(numbers) or left[0] < 0:
        raise ValueError("an array is larger than its numbers")
    return np.frombuffer(numbers[start:start + size], dtype).reshape(shape).copy()
