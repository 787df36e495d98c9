"""Checkpoints: saving and loading them. A checkpoint is checked completely before any of it is used.

A checkpoint is a dict of plain tensors, numbers and strings: "settings", the flags that the results depend on;
"history", a dict of metrics for each finished epoch; "threads", the number of CPU threads; and a state dict for each
part (a network, an optimizer or a scheduler).
"""
import io
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any, Collection, Dict, Sequence, Union

import torch
from torch import Tensor

from lib.files import write_file
from lib.script import UserError

CHECKPOINT = "checkpoint.pt"
OLD_FORMAT = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."     # first bytes of files from PyTorch before 1.6
RENAMED = {"average": "ema", "average_over": "ema_steps", "pictures": "images",     # names in older checkpoints
           "swd_32_average": "swd_32_ema", "swd_16_average": "swd_16_ema"}
ADDED = {"point_embedding": "coordinates", "activation": "relu"}    # settings that a diffusion model once did not have
Metrics = Dict[str, float]


class Damaged(ValueError):
    """A checkpoint is damaged; the message says what is wrong."""


def read_checkpoint(path: Union[str, Path], remedy: str = "") -> Any:
    """Read a file that torch.save has written, onto the CPU: only tensors, numbers and strings, nothing that could run
    code.

    Args:
        remedy: what to do if the file is damaged, for the error message.

    Raises:
        UserError: the file does not exist, is damaged, or is not a checkpoint.
    """
    try:
        if not Path(path).exists():
            raise UserError(f"there is no file {path}")
        if not Path(path).is_file():                # reading a named pipe might never end
            raise UserError(f"{path} is not a file")
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    is_old = data.startswith(OLD_FORMAT)
    try:
        if not is_old and zipfile.ZipFile(io.BytesIO(data)).testzip():      # torch does not verify the checksums
            raise zipfile.BadZipFile
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:                      # torch raises many kinds
        if "weights_only" in str(error) and not (is_old and "global" not in str(error).lower()):
            raise UserError(f"{path} contains more than tensors and numbers and might run code: it was not loaded"
                            ) from error
        raise UserError(f"{path} is damaged or is not a checkpoint{remedy}") from error


def load_checkpoint(folder: Union[str, Path]) -> Dict[str, Any]:
    """Read the checkpoint of a run, and check its settings and its history.

    Raises:
        UserError: there is no checkpoint, or it is damaged or something else.
    """
    path = Path(folder) / CHECKPOINT
    try:
        exists = path.exists()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    if not exists:
        raise UserError(f"there is no trained model in {folder}: train one first")
    checkpoint = read_checkpoint(path, ": train again with --overwrite")
    try:
        _require(isinstance(checkpoint, dict), "it is not a dict")
        settings, history = checkpoint.get("settings"), checkpoint.get("history")
        _require(isinstance(settings, dict) and isinstance(history, list), "settings or history are missing")
        _require(all(type(key) is str and _is_plain(value) for key, value in settings.items()), "an invalid setting")
        _require(len(history) > 0, "its history is empty")
        for number, row in enumerate(history, 1):
            _require(isinstance(row, dict) and type(row.get("epoch")) is int and row["epoch"] == number
                     and all(type(key) is str and _is_number(value) for key, value in row.items()),
                     f"the metrics of epoch {number} are invalid")
        _require(type(checkpoint.get("threads", 1)) is int, "the number of threads is invalid")
        parts = {name: value for name, value in checkpoint.items() if name not in ("settings", "history", "threads")}
        _require(all(type(name) is str and isinstance(value, dict) for name, value in parts.items()), "an invalid part")
    except Damaged as error:
        raise UserError(f"{path} is damaged or does not belong to a run of this project ({error})") from error
    if "time_embedding" in settings:
        settings = {**ADDED, **settings}
    return _with_new_names({**checkpoint, "settings": _with_new_names(settings),
                            "history": [_with_new_names(row) for row in history]})


def _with_new_names(entries: Dict[str, Any]) -> Dict[str, Any]:
    return {RENAMED.get(name, name): value for name, value in entries.items()}


def check_history(history: Sequence[Metrics], names: Sequence[Collection[str]], folder: Union[str, Path]) -> None:
    """Check the names of the metrics of every epoch.

    Args:
        names: the sets of names that an epoch may have, without "epoch".

    Raises:
        UserError: an epoch has other names.
    """
    for row in history:
        if not any(row.keys() - {"epoch"} == set(allowed) for allowed in names):
            raise UserError(f"{Path(folder) / CHECKPOINT} is damaged or belongs to another run: the metrics of "
                            f"epoch {row['epoch']} are not those that this script measures")


def save_checkpoint(folder: Union[str, Path], content: Dict[str, Any]) -> None:
    """Save the checkpoint of a run. Raises RunError."""
    _save(content, Path(folder) / CHECKPOINT)


def save_weights(part: torch.nn.Module, path: Union[str, Path]) -> None:
    """Save only the weights of a module, on the CPU. Raises RunError."""
    _save({name: value.cpu().contiguous() for name, value in part.state_dict().items()}, path)


def _save(content: Dict[str, Any], path: Union[str, Path]) -> None:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_file(path, buffer.getvalue())


def load_parts(parts: Dict[str, Any], checkpoint: Dict[str, Any], folder: Union[str, Path]) -> None:
    """Check the states of all modules, optimizers and schedulers, then load them.

    Raises:
        UserError: a state is damaged or belongs to another model.
    """
    for load in (False, True):
        for name, part in parts.items():
            load_part(part, checkpoint, name, folder, load)


def load_part(part: Any, checkpoint: Dict[str, Any], name: str, folder: Union[str, Path], load: bool = True) -> None:
    """Check checkpoint[name] and load it into part, a module, an optimizer or a scheduler.

    Raises:
        UserError: the state is damaged or belongs to another model.
    """
    try:
        _require(isinstance(checkpoint.get(name), dict), "it is missing")
        state = checkpoint[name]
        if isinstance(part, torch.nn.Module):
            check_weights(state, part.state_dict())
        elif isinstance(part, torch.optim.Optimizer):
            state = _checked_optimizer(state, part)
        else:
            _check_scheduler(state, part.state_dict())
        if load:
            part.load_state_dict(state)
    except Exception as error:                      # torch raises many kinds
        reason = f" ({error})" if isinstance(error, Damaged) else ""
        raise UserError(f"{Path(folder) / CHECKPOINT} is damaged or belongs to another model: its '{name}' does not "
                        f"fit{reason}") from error


def check_weights(found: Dict[str, Any], expected: Dict[str, Tensor]) -> None:
    """Check a module's state: names, types, shapes and values. Raises Damaged."""
    _require(found.keys() == expected.keys(), "other names")
    for name, tensor in expected.items():
        check_tensor(found[name], name)
        _require(found[name].dtype == tensor.dtype, f"the type of {name}")
        _require(found[name].shape == tensor.shape, f"the shape of {name}")
        _require(not name.endswith(("running_var", "num_batches_tracked")) or bool((found[name] >= 0).all()),
                 f"{name} is negative")


def check_tensor(value: Any, name: str) -> None:
    """Check that a value is an ordinary tensor of finite real numbers. Raises Damaged."""
    is_ordinary = type(value) in (Tensor, torch.nn.Parameter) and value.layout == torch.strided
    _require(is_ordinary and value.device.type == "cpu" and not value.is_quantized and not value.is_complex(),
             f"the type of {name}")
    _require(bool(torch.isfinite(value).all()), f"{name} is not finite")


def _checked_optimizer(state: Dict[str, Any], optimizer: torch.optim.Optimizer) -> Dict[str, Any]:
    """Return an optimizer's state after checking it; options that depend on the device, like fused, come from here."""
    expected, groups = optimizer.state_dict()["param_groups"], state.get("param_groups", [])
    _require(isinstance(groups, list) and len(groups) == len(expected), "the groups of parameters")
    merged = []
    for mine, theirs in zip(expected, groups):
        _require(isinstance(theirs, dict), "the groups of parameters")
        keys = {"params", "lr", "betas", "eps", "weight_decay"} | (theirs.keys() & mine.keys())
        for key in keys - {"fused", "foreach", "capturable"}:
            if key == "lr" and "max_lr" in mine:    # a scheduler changes it
                _require(_is_number(theirs.get(key)) and 0 <= theirs[key] <= 1.001 * mine["max_lr"], key)
            else:
                _require(_equal(theirs.get(key), mine[key]), key)
        merged.append({**mine, "lr": theirs["lr"]})
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    states = state.get("state", {})
    _require(isinstance(states, dict) and sorted(states) == list(range(len(weights))), "the state of its parameters")
    for number, weight in enumerate(weights):
        _require(isinstance(states[number], dict) and states[number].keys() == states[0].keys(), "its names")
        for name, value in states[number].items():
            check_tensor(value, name)
            _require(value.is_floating_point(), f"the type of {name}")
            _require(value.shape == (() if name == "step" else weight.shape), f"the shape of {name}")
            _require(name not in ("step", "exp_avg_sq") or bool((value >= 0).all()), f"{name} is negative")
        _require(states[number].keys() >= {"step", "exp_avg", "exp_avg_sq"}, "its names")
    return {"state": states, "param_groups": merged}


def _check_scheduler(found: Dict[str, Any], expected: Dict[str, Any]) -> None:
    """Compare a scheduler's state with that of a new one, except for its progress. Raises Damaged."""
    progress, optional = {"last_epoch", "_step_count", "_last_lr"}, {  # only some versions have them
        "_get_lr_called_within_step", "_is_initial", "verbose"}
    _require(found.keys() - optional == expected.keys() - optional, "other names")
    for key in expected.keys() - progress - optional:
        _require(_equal(found[key], expected[key]), key)
    steps, rates = found["last_epoch"], found["_last_lr"]
    _require(type(steps) is int and 0 <= steps <= expected.get("total_steps", steps), "last_epoch")
    _require(type(found["_step_count"]) is int and found["_step_count"] == steps + 1, "_step_count")
    _require(isinstance(rates, list) and len(rates) == len(expected["_last_lr"]) and all(map(_is_number, rates)),
             "_last_lr")


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise Damaged(what)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _is_plain(value: Any) -> bool:
    return value is None or type(value) in (str, bool) or _is_number(value)


def _equal(one: Any, other: Any) -> bool:
    """Return whether two values have the same type and value; a tuple equals a list."""
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    return type(one) is type(other) and not isinstance(one, Tensor) and bool(one == other)
