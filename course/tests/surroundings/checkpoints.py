"""Good checkpoints with one thing changed, at every place of their nested structure, and files that are none."""
import copy
import io
import math
import os
import pickle
import random
import warnings
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, NamedTuple, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from course.tests.support import DIFFUSION, GAN, PLOT, SAMPLE, TRAIN
from course.tests.surroundings import ANY, CHECKPOINT, DONE, REFUSED, Case, tiny

Place = Tuple[Any, ...]


class Reader(NamedTuple):
    """A script that reads a checkpoint. stock: the file; place: where it looks for it; flags: more of them.

    reads: beginnings of places that the script depends on; damage elsewhere need not be found.
    """
    script: str
    title: str
    stock: str
    place: str
    reads: Sequence[Place]
    flags: Sequence[str] = ()


RESUMED = (("settings",), ("history",), ("model",), ("average",), ("generator",), ("discriminator",), ("optimizer",),
           ("optimizerD",), ("optimizerG",), ("scheduler",))
VAE_SETTINGS = tuple(("settings", name) for name in ("hidden_size", "latent_size", "dataset"))
READERS = (
    Reader(TRAIN, "resume", "vae/checkpoint.pt", "results_kl1.0", RESUMED, ("--resume", "--num_epochs", "2")),
    Reader(DIFFUSION, "resume", "stopped/checkpoint.pt", "results_diffusion", RESUMED, ("--resume", "--epochs", "2")),
    Reader(GAN, "resume", "gan/checkpoint.pt", "results_gan", RESUMED, ("--resume", "--num_epochs", "2")),
    Reader(PLOT, "plot", "vae/checkpoint.pt", "results_kl1.0", (*VAE_SETTINGS, ("model",))),
    Reader(PLOT, "compare", "vae/checkpoint.pt", "results_kl1.0",
           (*VAE_SETTINGS, ("settings", "kl_loss_weight"), ("history",), ("model",)), ("--compare", "1")),
    Reader(SAMPLE, "sample", "gan/checkpoint.pt", "results_gan", (("average",),)),
    Reader(SAMPLE, "alone", "gan/generator.pt", "results_gan", ((),)),
    Reader(SAMPLE, "nearest", "gan/generator.pt", "results_gan", ((),), ("--nearest", "images")))

# Entries that training does not depend on, or of which another value may be meant.
OPTIONAL = {"amsgrad", "foreach", "maximize", "capturable", "differentiable", "fused", "decoupled_weight_decay",
            "num_batches_tracked", "verbose", "_step_count", "_last_lr", "base_lrs", "_get_lr_called_within_step",
            "cycle_momentum", "start_momentum", "end_momentum", "use_beta1", "_is_initial", "initial_lr",
            "max_lr", "min_lr", "threads", "num_threads"}
# May be harmless, or impossible to detect.
MAY_DO = {"other float", "zero", "true", "extra key", "huge", "doubled", "sparse", "quantized"}


def quantized(value: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")             # newer versions of torch deprecate it
        return torch.quantize_per_tensor(value.float(), 0.01, 0, torch.qint8)


def replacements(value: Any) -> Dict[str, Callable[[Any], Any]]:
    """What may stand in the place of a value, by name."""
    found: Dict[str, Callable[[Any], Any]] = {
        "None": lambda v: None, "text": lambda v: "x\n\x1b[31m", "list": lambda v: [v, v],
        "tensor of two": lambda v: torch.ones(2), "dict": lambda v: {"x": v}}
    if isinstance(value, Tensor):
        found = {"None": found["None"], "text": found["text"], "list": lambda v: v.tolist(), "dict": found["dict"],
                 "other shape": lambda v: torch.cat([v.flatten(), v.flatten(), v.flatten()[:1]]),
                 "empty": lambda v: v.flatten()[:0], "complex": lambda v: v.to(torch.complex64),
                 "other float": lambda v: v.double(), "zero": torch.zeros_like, "sparse": lambda v: v.to_sparse(),
                 "quantized": quantized, "meta": lambda v: v.to("meta"), "bool": lambda v: v.bool(),
                 "number": lambda v: 1.0}
        if value.is_floating_point():
            found.update({"NaN": lambda v: one_of(v, math.nan), "inf": lambda v: one_of(v, -math.inf),
                          "integers": lambda v: v.long(), "huge": lambda v: torch.full_like(v, 3e38)})
    elif isinstance(value, (int, float)):           # and bool
        found.update({"NaN": lambda v: math.nan, "inf": lambda v: math.inf, "negative": lambda v: -1 - abs(v),
                      "huge": lambda v: 2 ** 70, "zero": lambda v: 0, "true": lambda v: True})
    elif isinstance(value, str):
        found.update({"number": lambda v: 7, "empty": lambda v: "", "long": lambda v: v * 3000})
        del found["tensor of two"]
    elif isinstance(value, (list, tuple)):
        found.update({"empty": lambda v: type(v)(), "half": lambda v: v[:len(v) // 2], "doubled": lambda v: v + v,
                      "list of None": lambda v: type(v)([None] * len(v)), "number": lambda v: 1})
    elif isinstance(value, dict):
        found.update({"empty": lambda v: {}, "half": lambda v: dict(list(v.items())[:len(v) // 2]),
                      "number": lambda v: 1, "extra key": lambda v: {**v, "extra": 1}})
    return found


def one_of(value: Tensor, number: float) -> Tensor:
    value = value.clone(memory_format=torch.contiguous_format)             # or view() would be a copy
    value.view(-1)[-1:] = number
    return value


def places(value: Any, here: Place = ()) -> Iterator[Tuple[Place, int]]:
    """All places in a nested structure, each with its number among its siblings."""
    items: Any = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, (list, tuple)):
        items = list(enumerate(value))
    for number, (key, child) in enumerate(items):
        yield (*here, key), number
        yield from places(child, (*here, key))


def look(value: Any, place: Place) -> Any:
    for key in place:
        value = value[key]
    return value


def replaced(value: Any, place: Place, change: Callable[[Any], Any]) -> Any:
    """A copy with something else at a place; without it if change is `missing`."""
    if not place:
        return change(value)
    key, rest = place[0], place[1:]
    if isinstance(value, dict):
        if not rest and change is missing:
            return type(value)((name, child) for name, child in value.items() if name != key)
        return type(value)((name, replaced(child, rest, change) if name == key else child)
                           for name, child in value.items())
    new = list(value)
    if not rest and change is missing:
        del new[key]
    else:
        new[key] = replaced(value[key], rest, change)
    return type(value)(new)


def missing(value: Any) -> Any:
    raise AssertionError("it is left out, not changed")


def equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other) and not isinstance(one, Tensor)
    except (RuntimeError, ValueError):
        return False


def is_read(reader: Reader, place: Place) -> bool:
    """Does the script depend on what is at this place, or a part of it?"""
    return any(place[:len(start)] == start[:len(place)] for start in reader.reads)


def must_refuse(reader: Reader, place: Place, kind: str) -> bool:
    """A wrong type or shape, something missing, NaN and infinity: where the script depends on it."""
    is_setting = reader.title == "resume" and place[:1] == ("settings",)
    names = {part for key in place for part in str(key).split(".")}
    if not is_read(reader, place) or names & OPTIONAL:
        return False
    if not place and kind == "dict" and reader.script == SAMPLE:
        return False                                # a generator is found in whatever it is packed in
    if kind in MAY_DO:
        return is_setting and kind in ("zero", "huge")
    if kind == "negative":
        return is_setting or place[-1] in ("epoch", "lr", "eps", "last_epoch", "total_steps")
    if reader.script == GAN and place[:1] == ("history",) and kind == "half":
        return False                                # as of an epoch without distances
    if place[-1:] == ("step",) and kind in ("integers", "number"):
        return False                                # as in older versions of torch
    if reader.title == "sample":                    # in place of the average the generator without it may be taken
        return not place and kind != "half" or kind in ("NaN", "inf", "complex")
    return True


def some(kinds: Dict[str, Any], turn: int, count: int) -> Dict[str, Any]:
    """So many of the kinds, others at each turn."""
    names = sorted(kinds)
    return {name: kinds[name] for name in (names[(turn + 5 * step) % len(names)] for step in range(count))}


def mutation_cases(reader: Reader, good: Any) -> Iterator[Case]:
    """Every replacement at the first of several siblings; at the others, and where the script need not look, a few of
    them, taken in turns.
    """
    for turn, (place, number) in enumerate([((), 0), *places(good)]):
        value = look(good, place)
        kinds = {**replacements(value), **({"missing": missing} if place else {})}
        if place and not is_read(reader, place):
            kinds = some(kinds, turn, {1: 2, 2: int(turn % 3 == 0)}.get(len(place), 0))
        elif OPTIONAL & set(map(str, place)):
            kinds = some(kinds, turn, 1)
        elif number > 0 or "state" in place and place[2:3] not in ((), (0,)):
            kinds = some(kinds, turn, 1 if isinstance(value, Tensor) or len(place) > 3 else 3)
        for kind, change in kinds.items():
            if change is not missing and equal(change(copy.deepcopy(value)), value):
                continue
            strict = must_refuse(reader, place, kind)
            yield case(reader, f"{'/'.join(map(str, place)) or 'all'}: {kind}", REFUSED if strict else ANY,
                       partial(save_replaced, good, place, change))


def save_replaced(good: Any, place: Place, change: Callable[[Any], Any], path: Path) -> None:
    torch.save(replaced(good, place, change), str(path))


def case(reader: Reader, name: str, status: Sequence[int], write: Callable[[Path], object], **more) -> Case:
    def prepare(cwd: Path) -> None:
        (cwd / reader.place).mkdir()
        write(cwd / reader.place / CHECKPOINT)

    needs = {TRAIN: ("data",), PLOT: ("data",), DIFFUSION: ()}.get(reader.script, ("images",))
    made = (reader.place, "kl_comparison.png")
    words = () if status != REFUSED else ((reader.place, "checkpoint"),)
    return tiny(reader.script, f"checkpoint {reader.script[:-3]} {reader.title} {name}", *reader.flags, status=status,
                **{"needs": needs, "prepare": prepare, "made": made, "words": words, **more})


# Files that are no checkpoints, and such that would run code

class Malicious:
    """Pickled, it is a call that makes the file "executed" in the working directory."""

    def __reduce__(self):
        return open, ("executed", "w")


def bytes_of(value: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 255]) + data[place + 1:]


def contents_of_files(good: Any, data: bytes) -> Dict[str, bytes]:
    """Bytes that are no good checkpoint, by name."""
    array = io.BytesIO()
    np.savez(array, x=np.ones(3))
    old = {"_use_new_zipfile_serialization": False}
    files = {f"cut after {size}": data[:size] for size in (0, 1, 10, len(data) // 2, len(data) - 1)}
    files.update({f"changed byte at {share:.0%}": flipped(data, int(share * len(data))) for share in (
        0.1, 0.3, 0.5, 0.7)})
    files.update({
        "text": b"not a checkpoint\n", "zeros": bytes(5000), "random": random.Random(0).getrandbits(
            40000).to_bytes(5000, "big"), "PNG": b"\x89PNG\r\n\x1a\n" + bytes(50), "gzip": b"\x1f\x8b\x08" + bytes(50),
        "npz": array.getvalue(), "pickle": pickle.dumps({"settings": {}, "history": []}),
        "list": bytes_of([good]), "tensor": bytes_of(torch.ones(3)), "None": bytes_of(None), "number": bytes_of(1),
        "numpy": bytes_of({**good, "settings": {"lr": np.float64(1)}}), "module": bytes_of(torch.nn.Linear(2, 2)),
        "state dict": bytes_of({"w": torch.ones(2)}), "run of nothing": bytes_of({"settings": {}, "history": []}),
        "malicious": bytes_of({**good, "settings": Malicious()}), "malicious pickle": pickle.dumps(Malicious()),
        "old and malicious": bytes_of({**good, "settings": Malicious()}, **old),
        "old and cut": bytes_of(good, **old)[:-100]})
    return files


FILES: Dict[str, Callable[[Path], None]] = {
    "folder": Path.mkdir, "fifo": lambda path: os.mkfifo(str(path)), "link_to_itself": lambda path: path.symlink_to(
        path.name), "link_to_null": lambda path: path.symlink_to("/dev/null")}


def write(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def file_cases(reader: Reader, good: Any, data: bytes) -> Iterator[Case]:
    for name, content in contents_of_files(good, data).items():
        status = ANY if "changed byte" in name else REFUSED                # it may be among those that nobody reads
        yield case(reader, f"file: {name}", status, partial(write, content))
    for name, make in FILES.items():
        yield case(reader, f"file: {name}", REFUSED, make)
    old = bytes_of(good, _use_new_zipfile_serialization=False)
    yield case(reader, "file: of an old torch", DONE, lambda path: path.write_bytes(old))


def cases(stock: Path) -> Iterator[Case]:
    for reader in READERS:
        data = (stock / reader.stock).read_bytes()
        good = torch.load(io.BytesIO(data), weights_only=True)
        yield from mutation_cases(reader, good)
        yield from file_cases(reader, good, data)
    yield from special_cases(torch.load(str(stock / "gan" / "generator.pt"), weights_only=True))


def special_cases(good: Dict[str, Tensor]) -> Iterator[Case]:
    """Generators that pass a first look, but no images come out of them."""
    last, first = list(good)[-1], list(good)[0]
    walk = READERS[-1]._replace(title="walk", flags=("--interpolate", "2"))
    for channels in 0, 2, 4, 5:
        for reader in (*READERS[-2:], walk):
            yield case(reader, f"{channels} channels", REFUSED, partial(
                torch.save, {**good, last: torch.ones(channels, *good[last].shape[1:])}))
    for reader in (*READERS[-2:], walk):
        yield case(reader, "latent size 0", REFUSED, lambda path: torch.save(
            {**good, first: good[first][:0]}, str(path)))
    variances = {name: -value for name, value in good.items() if name.endswith("running_var")}
    stored = READERS[-1]._replace(flags=("--batch_norm", "stored"))
    yield case(stored, "negative variances", REFUSED, lambda path: torch.save({**good, **variances}, str(path)))
