"""The life of one run: its device, its seeds, its folder, its checkpoint, and how it goes on after a stop.

A run is a loop over epochs around these calls:

    run = Run("results", settings, "train_x", files=["*.png"], resume=args.resume, overwrite=args.overwrite)
    for epoch in range(run.start(model=model, optimizer=optimizer), num_epochs + 1):
        run.seed_epoch(epoch)
        ...
        run.end_epoch({"train_loss": ..., "test_loss": ...})
    with run.writing("curves.png") as path:
        ...
    run.finish()

The checkpoint holds all that the next epoch depends on. Since each epoch draws its random numbers from a seed
of its own, a run that was stopped and resumed ends with the same bits as one that was left alone, on the same machine
with the same versions and number of threads.
"""
import csv
import io
import math
import os
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Collection, ContextManager, Dict, Iterator, List, Sequence, Union

import numpy as np
import torch

from lib.checkpoint import CHECKPOINT, check_history, load_checkpoint, load_parts
from lib.files import ANY, RECORD, Folder, write_file
from lib.script import RunError, UserError, say

METRICS = "metrics.csv"


def choose_device(name: str) -> torch.device:
    """Return the device of that name; auto takes CUDA, else MPS, else the CPU.

    Raises:
        UserError: there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.zeros(1, device=name).item()
            return torch.device(name)
    except Exception:                               # each device that this build lacks fails in its own way
        raise UserError(f"--device {name}: there is no such device here; --device auto takes what there is")


class Run:
    """One training run in its folder.

    Args:
        folder: where the run's files go.
        settings: what the results depend on, plain numbers and texts; "seed" is one of them. A resumed run
            keeps its own value where this one is "auto".
        script: what the record of the folder calls the writer of the run's files.
        files: patterns of the files that the run leaves there beside checkpoint and metrics.
        outside: files that it leaves elsewhere.
        resume: go on after the last finished epoch; a folder without a checkpoint starts from the beginning.
        overwrite: replace the run that the folder holds; only files that our scripts have written there are removed.
        metrics: the sets of names that the metrics of an epoch may have; any, if left out.

    Attributes:
        history: a dict of metrics for each finished epoch.

    Raises:
        UserError: the folder holds a run and neither is asked for, or the run cannot be resumed, or another process is
            at work there, or a file that is none of the run's is in its way.
    """

    def __init__(self, folder: Union[str, Path], settings: Dict[str, Any], script: str = "run",
                 files: Sequence[str] = (), resume: bool = False, overwrite: bool = False,
                 metrics: Sequence[Collection[str]] = (), outside: Sequence[Path] = ()) -> None:
        self.folder, self.settings = Path(folder), dict(settings)
        self.files, self.outside = [CHECKPOINT, METRICS, *files], outside
        self.resume, self.overwrite, self.checkpoint, self.history = resume, overwrite, None, []
        is_old = not os.path.lexists(self.folder / RECORD) and self._holds_checkpoint()
        self.record = Folder(self.folder, script, self._found() if is_old else ())
        if self.folder.is_dir():
            self.record.lock()
        if resume and os.path.lexists(self.folder / CHECKPOINT):
            self.checkpoint = load_checkpoint(self.folder)
            self._compare_settings()
            self.history = list(self.checkpoint["history"])
            if metrics:
                check_history(self.history, metrics, self.folder)
        elif resume:
            say(f"{self.folder} has no checkpoint yet: starting from the beginning")
        self._refuse()

    def _holds_checkpoint(self) -> bool:
        """Return whether there is the checkpoint of a run in the folder."""
        try:
            load_checkpoint(self.folder)
            return True
        except UserError:
            return False

    def _found(self) -> List[Path]:
        """Return what is there by the names of the run's files."""
        return [path for pattern in self.files for path in sorted(self.folder.glob(pattern))] + [
            path for path in self.outside if os.path.lexists(path)]

    def _refuse(self) -> None:
        """Refuse a folder that holds a run, or files in the way of this one that are none of it."""
        found = self._found()
        has_epochs = [path for path in found if path.name in (CHECKPOINT, METRICS) and path.stat().st_size]
        if has_epochs and not self.resume and not self.overwrite:
            raise UserError(f"{self.folder} holds a run already ({has_epochs[0].name}): --resume goes on with it, "
                            "--overwrite replaces it, --output_dir names another folder")
        if self.checkpoint:                         # it may be a link, to where there is more room
            found.remove(self.folder / CHECKPOINT)
        found = [path for path in found if path.name != METRICS or path.stat().st_size]     # empty: nothing to lose
        problem = self.record.foreign(found, by_any_script=self.overwrite)
        if problem:
            raise UserError(problem)

    def _compare_settings(self) -> None:
        before = self.checkpoint["settings"]
        names = {**before, **self.settings} if "threads" in self.checkpoint else before    # older ones note fewer
        self.settings.update({key: before[key] for key in before if self.settings.get(key) == "auto"})
        changed = [f"{key} was {before.get(key)} and is now {self.settings.get(key)}"
                   for key in names if before.get(key) != self.settings.get(key)]
        if changed:
            raise UserError(f"{self.folder} was trained with other settings: {', '.join(changed)}. Give --resume the "
                            "flags that the run was started with")

    def check_epochs(self, num_epochs: int, flag: str) -> None:
        """Refuse a number of epochs that is smaller than that of the finished ones. Raises UserError."""
        if len(self.history) > num_epochs:
            raise UserError(f"{self.folder} has finished {len(self.history)} epochs already, more than {flag} "
                            f"{num_epochs}")

    def start(self, **parts: Any) -> int:
        """Make the folder, or take up the stopped run.

        Args:
            parts: what has a state that training changes: the models, the optimizers.

        Returns:
            The number of the epoch to begin with, counted from 1.
        """
        self.parts = parts
        if self.checkpoint:
            load_parts(parts, self.checkpoint, self.folder)
            threads = self.checkpoint.get("threads", torch.get_num_threads())
            self.checkpoint = None
            self._note_files()
            self.record.remove_parts()
            self._write_metrics()                   # a kill may have come between checkpoint and metrics
            say(f"resuming {self.folder} after epoch {len(self.history)}")
            if threads != torch.get_num_threads():
                say(f"warning: the number of threads was {threads} and is now {torch.get_num_threads()}: the last "
                    "digits can differ from those of a run that was not stopped (OMP_NUM_THREADS sets the number)")
            return len(self.history) + 1
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.record.lock()
            self._refuse()                          # again: another process may have been faster
            if self.overwrite:
                self.record.remove_ours()
            self.record.remove_parts()
            self._note_files()
            write_file(self.folder / METRICS, b"")                          # found out now, not after an epoch
        except (OSError, RunError) as error:
            raise UserError(f"cannot write to the folder {self.folder}: {getattr(error, 'strerror', error)}")
        return 1

    def _note_files(self) -> None:
        for name in (CHECKPOINT, METRICS):
            self.record.note(self.folder / name, ANY)

    def seed_epoch(self, epoch: int) -> None:
        """Seed torch for an epoch: the same numbers, whether or not the run was stopped before."""
        torch.manual_seed(int(np.random.SeedSequence([self.settings.get("seed", 0), epoch]).generate_state(1)[0]))

    def writing(self, name: Union[str, Path]) -> ContextManager[Path]:
        """Yield the path of a file of the run, to write it, and keep the record. A Path may lie outside the folder.

        Raises:
            RunError: something that this run did not write is there.
        """
        return self.record.writing(name if isinstance(name, Path) else self.folder / name)

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
        torch.save({"settings": self.settings, "history": self.history, "threads": torch.get_num_threads(),
                    **{name: part.state_dict() for name, part in self.parts.items()}}, buffer)
        write_file(self.folder / CHECKPOINT, buffer.getvalue())
        self._write_metrics()

    def finish(self) -> None:
        """Leave the folder as an equal run would leave it, and free for other processes."""
        self.record.tidy()
        self.record.unlock()

    def diverged(self, what: str) -> RunError:
        """Return the error of a loss that is no longer finite."""
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
