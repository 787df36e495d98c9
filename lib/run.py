"""The life of one run: its device, its seeds, its folder, its checkpoint, and how it goes on after a stop.

A run is a loop over epochs around these four calls:

    run = Run("results", settings, files=["*.png"], resume=args.resume, overwrite=args.overwrite)
    for epoch in range(run.start(model=model, optimizer=optimizer), num_epochs + 1):
        run.seed_epoch(epoch)
        ...
        run.end_epoch({"train_loss": ..., "test_loss": ...})

The checkpoint holds all that the next epoch depends on. Since each epoch draws its random numbers from a seed
of its own, a run that was stopped and resumed ends with the same bits as one that was left alone.
"""
import csv
import io
import math
import os
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, Sequence, Union

import numpy as np
import torch

from lib.script import RunError, UserError

CHECKPOINT, METRICS = "checkpoint.pt", "metrics.csv"


def choose_device(name: str) -> torch.device:
    """The device of that name; auto takes CUDA, else MPS, else the CPU.

    Raises:
        UserError: there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).item()
        return torch.device(name)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise UserError(f"--device {name}: there is no such device here; --device auto takes what there is")


def write_file(path: Union[str, Path], data: bytes) -> None:
    """Write a file whole or not at all: beside its place first, then renamed.

    Raises:
        RunError: it cannot be written. A file that stood there before is as it was.
    """
    part = Path(f"{path}.part")
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())                 # before the rename: a power cut must not leave an empty file
        os.replace(part, path)
    except OSError as error:
        try:
            part.unlink()
        except OSError:
            pass
        raise RunError(f"{path} could not be written: {error.strerror or error}. What was there before is kept")


def read_checkpoint(path: Union[str, Path], device: Union[str, torch.device] = "cpu", remedy: str = "") -> Any:
    """Read what torch.save has written: plain tensors, numbers and texts, nothing that could run code.

    Raises:
        UserError: there is no such file, or it is damaged, or it is something else. remedy: what then to do.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise UserError(f"there is no file {path}")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}")
    try:
        if zipfile.ZipFile(io.BytesIO(data)).testzip():            # torch itself does not look at the checksums
            raise zipfile.BadZipFile
        return torch.load(io.BytesIO(data), map_location=device, weights_only=True)
    except Exception as error:                      # torch raises many kinds here
        if "weights_only" in str(error):
            raise UserError(f"{path} holds more than tensors and numbers and might run code: it was not loaded")
        raise UserError(f"{path} is damaged, or no checkpoint{remedy}")


def load_checkpoint(folder: Union[str, Path], device: Union[str, torch.device] = "cpu") -> Dict[str, Any]:
    """Read the checkpoint of a run.

    Returns:
        {"settings": the run's, "history": a dict of metrics per finished epoch, and a state dict for each part}.

    Raises:
        UserError: there is none, or it is damaged, or it is something else.
    """
    path = Path(folder) / CHECKPOINT
    if not path.exists():
        raise UserError(f"there is no trained model in {folder}: train it first")
    checkpoint = read_checkpoint(path, device, ": train anew, with --overwrite")
    if not (isinstance(checkpoint, dict) and isinstance(checkpoint.get("settings"), dict)
            and isinstance(checkpoint.get("history"), list)
            and all(isinstance(row, dict) for row in checkpoint["history"])):
        raise UserError(f"{path} is not the checkpoint of a run of this project")
    return checkpoint


def save_weights(part: torch.nn.Module, path: Union[str, Path]) -> None:
    """Save the weights of a module and nothing else, on the CPU."""
    buffer = io.BytesIO()
    torch.save({name: value.cpu().contiguous() for name, value in part.state_dict().items()}, buffer)
    write_file(path, buffer.getvalue())


def load_part(part: Any, checkpoint: Dict[str, Any], name: str, folder: Union[str, Path]) -> None:
    """Load checkpoint[name] into part, a module or an optimizer.

    Raises:
        UserError: the checkpoint is of another model.
    """
    try:
        part.load_state_dict(checkpoint[name])
        for weights, state in getattr(part, "state", {}).items():  # of an optimizer, which does not look at shapes
            if any(value.shape not in ((), weights.shape) for value in state.values()):
                raise ValueError
    except Exception:                               # torch raises many kinds here, too
        raise UserError(f"{Path(folder) / CHECKPOINT} is of another model: its '{name}' does not fit")


class Run:
    """One training run in its folder.

    Args:
        folder: where the run's files go.
        settings: what the results depend on, plain numbers and texts; "seed" is one of them. A resumed run
            keeps its own value where this one is "auto".
        files: patterns of the files that the run leaves there beside checkpoint and metrics.
        resume: go on after the last finished epoch; a folder without a checkpoint starts from the beginning.
        overwrite: replace the run that the folder holds; only files of the run are removed.

    Attributes:
        history: a dict of metrics for each finished epoch.

    Raises:
        UserError: the folder holds a run and neither is asked for, or the run cannot be resumed.
    """

    def __init__(self, folder: Union[str, Path], settings: Dict[str, Any], files: Sequence[str] = (),
                 resume: bool = False, overwrite: bool = False) -> None:
        self.folder, self.settings = Path(folder), dict(settings)
        self.files = [CHECKPOINT, METRICS, *files]
        self.overwrite, self.checkpoint, self.history = overwrite, None, []
        found = self._found()
        if resume and (self.folder / CHECKPOINT).exists():
            self.checkpoint = load_checkpoint(self.folder)
            self._compare_settings()
            self.history = list(self.checkpoint["history"])
        elif resume:
            print(f"{self.folder} has no checkpoint yet: starting from the beginning", flush=True)
        elif found and not overwrite:
            raise UserError(f"{self.folder} holds a run already ({found[0].name}): --resume goes on with it, "
                            "--overwrite replaces it, --output_dir names another folder")

    def _found(self, ending: str = "") -> Sequence[Path]:
        return [path for pattern in self.files for path in sorted(self.folder.glob(pattern + ending))
                if path.stat().st_size]             # a run that failed at once leaves empty metrics: no loss

    def _compare_settings(self) -> None:
        before = self.checkpoint["settings"]
        self.settings.update({key: before[key] for key in before if self.settings.get(key) == "auto"})
        changed = [f"{key} was {before.get(key)} and is now {self.settings.get(key)}"
                   for key in {**before, **self.settings} if before.get(key) != self.settings.get(key)]
        if changed:
            raise UserError(f"{self.folder} was trained with other settings: {', '.join(changed)}. Give --resume the "
                            "flags that the run was started with")

    def start(self, **parts: Any) -> int:
        """Make the folder, or take up the stopped run.

        Args:
            parts: what has a state that training changes: the models, the optimizers.

        Returns:
            The number of the epoch to begin with, counted from 1.
        """
        self.parts = parts
        if self.checkpoint:
            for name, part in parts.items():
                load_part(part, self.checkpoint, name, self.folder)
            self.checkpoint = None
            self._write_metrics()                   # a kill may have come between checkpoint and metrics
            print(f"resuming {self.folder} after epoch {len(self.history)}", flush=True)
            return len(self.history) + 1
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in [*self._found(), *self._found(".part")] if self.overwrite else ():
                path.unlink()
            if not (self.folder / METRICS).exists():
                write_file(self.folder / METRICS, b"")              # found out now, not after an epoch
        except (OSError, RunError) as error:
            raise UserError(f"cannot write to the folder {self.folder}: {getattr(error, 'strerror', error)}")
        return 1

    def seed_epoch(self, epoch: int) -> None:
        """Seed torch for an epoch: the same numbers, whether or not the run was stopped before."""
        torch.manual_seed(int(np.random.SeedSequence([self.settings.get("seed", 0), epoch]).generate_state(1)[0]))

    def end_epoch(self, metrics: Dict[str, float]) -> None:
        """Keep the state after an epoch: the checkpoint first, then the row of metrics.csv.

        Args:
            metrics: by name; not every epoch needs to have the same ones.

        Raises:
            RunError: a metric is not finite (the last checkpoint is kept), or the disk is full.
        """
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise self.diverged(f"{name} is {value}")
        self.history.append({"epoch": len(self.history) + 1, **metrics})
        buffer = io.BytesIO()
        torch.save({"settings": self.settings, "history": self.history,
                    **{name: part.state_dict() for name, part in self.parts.items()}}, buffer)
        write_file(self.folder / CHECKPOINT, buffer.getvalue())
        self._write_metrics()

    def diverged(self, what: str) -> RunError:
        """The error of a loss that is no longer finite."""
        return RunError(f"training broke down in epoch {len(self.history) + 1}: {what}. The most likely cause is too "
                        f"large a learning rate{'. The state before this epoch is kept' if self.history else ''}")

    @contextmanager
    def refusing_nan(self, what: str) -> Iterator[None]:
        """Take it as broken down if binary_cross_entropy refuses its input, as it does with NaN."""
        try:
            yield
        except RuntimeError as error:               # the words of the CPU and of CUDA
            if "between 0 and 1" not in str(error) and "device-side assert" not in str(error):
                raise
            raise self.diverged(what)

    def _write_metrics(self) -> None:
        text = io.StringIO()
        if self.history:                            # a metric that an epoch lacks is an empty cell
            names = list(dict.fromkeys(name for row in self.history for name in row))
            writer = csv.DictWriter(text, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in self.history)
        write_file(self.folder / METRICS, text.getvalue().encode())
