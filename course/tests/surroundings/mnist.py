"""MNIST's four files, each damaged in many ways."""
import gzip
import os
import struct
from itertools import product
from pathlib import Path
from typing import Callable, Dict, Iterator

import numpy as np

from course.tests.support import MNIST_FILES, PLOT, TRAIN, idx
from course.tests.surroundings import DONE, NOT_DONE, REFUSED, Case, tiny

RAW = Path("data") / "MNIST" / "raw"


def array_of(data: bytes) -> np.ndarray:
    dims = struct.unpack(f">{data[3]}I", data[4:4 + 4 * data[3]])
    return np.frombuffer(data[4 + 4 * data[3]:], np.uint8).reshape(dims)


def with_values(value: int) -> Callable[[bytes], bytes]:
    """The last values are this one."""
    return lambda data: data[:-3] + bytes([value]) * 3


DAMAGES: Dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"", "a byte": lambda data: data[:1], "cut in the header": lambda data: data[:6],
    "header alone": lambda data: data[:4 + 4 * data[3]], "cut by a byte": lambda data: data[:-1],
    "cut in half": lambda data: data[:len(data) // 2], "a byte longer": lambda data: data + b"\0",
    "twice as long": lambda data: data + data, "of another magic": lambda data: b"PK" + data[2:],
    "of another type": lambda data: data[:2] + b"\x0d" + data[3:],
    "of floats": lambda data: data[:2] + b"\x0d" + data[3:4 + 4 * data[3]] + bytes(4) * array_of(data).size,
    "of more dims": lambda data: data[:3] + bytes([data[3] + 1]) + data[4:],
    "of no dims": lambda data: data[:3] + b"\0" + data[4:],
    "of huge dims": lambda data: data[:4] + b"\x7f\xff\xff\xff" * data[3] + data[4 + 4 * data[3]:],
    "of no entries": lambda data: idx(array_of(data)[:0]), "of one entry less": lambda data: idx(array_of(data)[1:]),
    "of one entry more": lambda data: idx(np.concatenate([array_of(data), array_of(data)[:1]])),
    "of text": lambda data: b"<html>404</html>\n"}
IMAGES: Dict[str, Callable[[bytes], bytes]] = {
    "of 27 rows": lambda data: idx(array_of(data)[:, 1:]), "of 27 columns": lambda data: idx(array_of(data)[:, :, 1:]),
    "of 14 by 56": lambda data: idx(array_of(data).reshape(-1, 14, 56)),
    "flat": lambda data: idx(array_of(data).reshape(-1, 784)), "of labels": lambda data: idx(array_of(data)[:, 0, 0])}
LABELS: Dict[str, Callable[[bytes], bytes]] = {
    "of 10": with_values(10), "of 11": with_values(11), "of 255": with_values(255),
    "one-hot": lambda data: idx(np.eye(10, dtype=np.uint8)[array_of(data)]),
    "of images": lambda data: idx(np.zeros((len(array_of(data)), 28, 28), np.uint8))}
THINGS: Dict[str, Callable[[Path], None]] = {
    "folder": Path.mkdir, "fifo": lambda path: os.mkfifo(str(path)), "link to itself": lambda path: path.symlink_to(
        path.name), "dangling link": lambda path: path.symlink_to("nowhere"),
    "link to null": lambda path: path.symlink_to("/dev/null"), "missing": lambda path: None}
PACKED = {"packed": gzip.compress, "packed twice": lambda data: gzip.compress(gzip.compress(data))}
ARCHIVES: Dict[str, Callable[[bytes], bytes]] = {
    "good": gzip.compress, "cut": lambda data: gzip.compress(data)[:-20], "empty": lambda data: b"",
    "of text": lambda data: b"<html>", "of the wrong data": lambda data: gzip.compress(b"x" * 100)}


def cases() -> Iterator[Case]:
    for script, file in product((TRAIN, PLOT), MNIST_FILES):
        def case(title, status, change, script=script, file=file, **more):
            return tiny(script, f"MNIST {script[:-3]} {file[:9]} {title}", status=status, **{
                "words": (("MNIST", str(RAW)),), "prepare": lambda cwd, file=file: change(cwd / RAW / file), **more})

        for name, damage in {**DAMAGES, **(IMAGES if "images" in file else LABELS)}.items():
            yield case(name, REFUSED, lambda path, damage=damage: replace(path, damage))
        for name, pack in PACKED.items():
            yield case(name, DONE if name == "packed" else REFUSED, lambda path, pack=pack: replace(path, pack),
                       made=("results_kl1.0", str(RAW / file)))
        for name, make in THINGS.items():
            yield case(f"as a {name}", NOT_DONE, lambda path, make=make: path.unlink() or make(path))
        for name, pack in ARCHIVES.items():         # what another program has downloaded and not unpacked
            def change(path, pack=pack):
                path.with_name(f"{path.name}.gz").write_bytes(pack(path.read_bytes()))
                path.unlink()
            yield case(f"with a packed file that is {name}", DONE if name == "good" else NOT_DONE, change,
                       made=("results_kl1.0", str(RAW / file)), words=(), says=("unpack",))
    for name in "empty", "of 10", "cut by a byte":  # auto falls back only where MNIST cannot be had
        damage = {**DAMAGES, **LABELS}[name]
        yield tiny(TRAIN, f"MNIST auto {name}", "--dataset", "auto", status=REFUSED, words=(str(RAW),), prepare=(
            lambda cwd, damage=damage: replace(cwd / RAW / MNIST_FILES[1], damage)))


def replace(path: Path, damage: Callable[[bytes], bytes]) -> None:
    path.write_bytes(damage(path.read_bytes()))
