"""Run folders: device, seeds, metrics, checkpoints, and resuming after an interruption.

A run is a loop over epochs around these calls:

    run = Run("results", settings, "train_x", files=["*.png"], resume=args.resume, overwrite=args.overwrite)
    for epoch in range(run.start(model=model, optimizer=optimizer), num_epochs + 1):
        run.seed_epoch(epoch)
        ...
        run.end_epoch({"train_loss": ..., "test_loss": ...})
    with run.writing("curves.png") as path:
        ...
    run.finish()

The checkpoint contains everything that the next epoch depends on, and every epoch seeds the random numbers itself. So a
run that was stopped and resumed ends with the same bits as one that was never stopped, on the same machine with the
same versions and number of threads.
"""
import math
import os
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Collection, ContextManager, Dict, Iterator, List, Optional, Sequence, Union

import numpy as np
import torch

from lib.checkpoint import CHECKPOINT, check_history, load_checkpoint, load_parts, save_checkpoint
from lib.files import ANY, RECORD, Folder, write_csv
from lib.script import RunError, UserError, say

METRICS = "metrics.csv"


# Flags that the results do not depend on (the data has a checksum or a name of its own): a run can be resumed with
# other values.
NOT_SETTINGS = ("output_dir", "device", "resume", "overwrite", "data_dir", "skip_bad", "no_images", "no_video",
                "verbose")


def choose_device(name: str) -> torch.device:
    """Return a device by its name; auto picks CUDA if available, otherwise MPS, otherwise the CPU.

    Raises:
        UserError: the device is not available.
    """
    if name == "auto":
        available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
        name = next(device for device, is_available in available.items() if is_available)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.zeros(1, device=name).item()
            return torch.device(name)
    except Exception:                               # every device that this build lacks fails in its own way
        raise UserError(f"--device {name}: not available on this machine; --device auto picks the best available "
                        "device") from None


def settings_of(args: Any, *others: str) -> Dict[str, Any]:
    """Return the flags that the results depend on: all of the parser's except NOT_SETTINGS and `others`."""
    return {name: value for name, value in vars(args).items() if name not in (*NOT_SETTINGS, *others)}


class Run:
    """One training run in its folder.

    Args:
        folder: for the run's files.
        settings: numbers and strings that the results depend on, including "seed". A resumed run keeps its own value
            where this one is "auto".
        script: name of the script, for the folder's record.
        files: patterns of the files that the run saves there, in addition to checkpoint and metrics.
        resume: continue after the last finished epoch; without a checkpoint, start from the beginning.
        overwrite: replace the run in the folder; removes only files that our scripts have written there.
        metrics: the sets of metrics that an epoch may have; any if empty.
        outside: files that the run saves elsewhere.

    Attributes:
        history: a dict of metrics for each finished epoch.

    Raises:
        UserError: the folder contains a run and neither resume nor overwrite is set, the run cannot be resumed, another
            process uses the folder, or a file that does not belong to the run is in the way.
    """

    def __init__(self, folder: Union[str, Path], settings: Dict[str, Any], script: str = "run",
                 files: Sequence[str] = (), resume: bool = False, overwrite: bool = False,
                 metrics: Sequence[Collection[str]] = (), outside: Sequence[Path] = ()) -> None:
        self.folder, self.settings = Path(folder), dict(settings)
        self.files, self.outside = [CHECKPOINT, METRICS, *files], outside
        self.resume, self.overwrite = resume, overwrite
        self.checkpoint: Optional[Dict[str, Any]] = None
        self.history: List[Dict[str, float]] = []
        is_old = not os.path.lexists(self.folder / RECORD) and self._holds_checkpoint()
        self.record = Folder(self.folder, script, self._found() if is_old else ())
        if self.folder.is_dir():
            self.record.lock()
        if resume and os.path.lexists(self.folder / CHECKPOINT):
            self.checkpoint = load_checkpoint(self.folder)
            self._compare_settings(self.checkpoint)
            self.history = list(self.checkpoint["history"])
            if metrics:
                check_history(self.history, metrics, self.folder)
        elif resume:
            say(f"{self.folder} has no checkpoint yet: starting from the beginning")
        self._refuse()

    def _holds_checkpoint(self) -> bool:
        """Return whether the folder contains the checkpoint of a run."""
        try:
            load_checkpoint(self.folder)
            return True
        except UserError:
            return False

    def _found(self) -> List[Path]:
        """Return the existing files that have names of the run's files."""
        return [path for pattern in self.files for path in sorted(self.folder.glob(pattern))] + [
            path for path in self.outside if os.path.lexists(path)]

    def _refuse(self) -> None:
        """Raise UserError if the folder contains a run, or files that this run would overwrite but did not write."""
        found = self._found()
        has_epochs = [path for path in found if path.name in (CHECKPOINT, METRICS) and path.stat().st_size]
        if has_epochs and not self.resume and not self.overwrite:
            raise UserError(f"{self.folder} already contains a run ({has_epochs[0].name}): --resume continues it, "
                            "--overwrite replaces it, --output_dir chooses another folder")
        if self.checkpoint:                         # it may be a link, to a larger disk
            found.remove(self.folder / CHECKPOINT)
        found = [path for path in found if path.name != METRICS or path.stat().st_size]     # nothing to lose
        problem = self.record.foreign(found, by_any_script=self.overwrite)
        if problem:
            raise UserError(problem)

    def _compare_settings(self, checkpoint: Dict[str, Any]) -> None:
        before = checkpoint["settings"]
        names = {**before, **self.settings} if "threads" in checkpoint else before    # old runs stored fewer
        self.settings.update({key: before[key] for key in before if self.settings.get(key) == "auto"})
        changed = [f"{key} was {before.get(key)} and is now {self.settings.get(key)}"
                   for key in names if before.get(key) != self.settings.get(key)]
        if changed:
            raise UserError(f"{self.folder} was trained with different settings: {', '.join(changed)}. Use --resume "
                            "with the flags that the run was started with")

    def check_epochs(self, num_epochs: int, flag: str) -> None:
        """Raise UserError if more epochs are already finished than are asked for."""
        if len(self.history) > num_epochs:
            raise UserError(f"{self.folder} has already finished {len(self.history)} epochs, more than {flag} "
                            f"{num_epochs}")

    def start(self, **parts: Any) -> int:
        """Create the folder, or load the state of the stopped run.

        Args:
            parts: all that training changes: models, optimizers, schedulers.

        Returns:
            The first epoch to train, counted from 1.
        """
        self.parts = parts
        if self.checkpoint:
            load_parts(parts, self.checkpoint, self.folder)
            threads = self.checkpoint.get("threads", torch.get_num_threads())
            self.checkpoint = None
            self._note_files()
            self.record.remove_parts()
            self._write_metrics()                   # the run may have been killed between checkpoint and metrics
            say(f"resuming {self.folder} after epoch {len(self.history)}")
            if threads != torch.get_num_threads():
                say(f"warning: the number of threads was {threads} and is now {torch.get_num_threads()}: the last "
                    "digits may differ from those of a run that was never stopped (OMP_NUM_THREADS sets the number)")
            return len(self.history) + 1
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.record.lock()
            self._refuse()                          # again: another process may have been faster
            if self.overwrite:
                self.record.remove_ours()
            self.record.remove_parts()
            self._note_files()
            self._write_metrics()                   # fail now, not after an epoch
        except (OSError, RunError) as error:
            raise UserError(f"cannot write to the folder {self.folder}: {getattr(error, 'strerror', error)}") from error
        return 1

    def _note_files(self) -> None:
        for name in (CHECKPOINT, METRICS):
            self.record.note(self.folder / name, ANY)

    def seed_epoch(self, epoch: int) -> None:
        """Seed torch for an epoch, so that its random numbers do not depend on whether the run was stopped before."""
        torch.manual_seed(int(np.random.SeedSequence([self.settings.get("seed", 0), epoch]).generate_state(1)[0]))

    def writing(self, name: Union[str, Path]) -> ContextManager[Path]:
        """Yield the path of a file of the run to write to, and update the record.

        Args:
            name: of a file in the folder, or the path of one outside it.

        Raises:
            RunError: the file exists, and this run did not write it.
        """
        return self.record.writing(name if isinstance(name, Path) else self.folder / name)

    def end_epoch(self, metrics: Dict[str, float]) -> None:
        """Save the state after an epoch: first the checkpoint, then metrics.csv.

        Args:
            metrics: by name; not every epoch needs to have the same ones.

        Raises:
            RunError: a metric is not finite (the last checkpoint is kept), or the disk is full.
        """
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise self.diverged(f"{name} is {value}")
        self.history.append({"epoch": len(self.history) + 1, **metrics})
        save_checkpoint(self.folder, {
            "settings": self.settings, "history": self.history, "threads": torch.get_num_threads(),
            **{name: part.state_dict() for name, part in self.parts.items()}})
        self._write_metrics()

    def _write_metrics(self) -> None:
        write_csv(self.folder / METRICS, self.history)

    def finish(self) -> None:
        """Tidy the record, and let other processes use the folder."""
        self.record.tidy()
        self.record.unlock()

    def diverged(self, what: str) -> RunError:
        """Return the error to raise when a loss is no longer finite."""
        kept = ". The state before this epoch is saved" if self.history else ""
        return RunError(f"training diverged in epoch {len(self.history) + 1}: {what}. The most likely cause is a "
                        f"learning rate that is too large{kept}")

    @contextmanager
    def refusing_nan(self, what: str) -> Iterator[None]:
        """Report divergence if binary_cross_entropy rejects its input, as it does for NaN."""
        try:
            yield
        except RuntimeError as error:               # the messages of the CPU and of CUDA
            if "between 0 and 1" not in str(error) and "device-side assert" not in str(error):
                raise
            raise self.diverged(what) from error
