"""Cases of bad input and odd surroundings for all scripts, generated as products of small lists.

Each module here generates one kind. A case is plain data: what to run, where, and what must be true afterwards.
Expectations are about behaviour (exit status, number of lines, names in the line, unchanged files), not about exact
sentences.
"""
import shutil
from pathlib import Path
from typing import Any, Callable, Dict, NamedTuple, Optional, Sequence, Tuple, Union

from course.tests.support import DIFFUSION, GAN, PLOT, SAMPLE, TRAIN

CHECKPOINT = "checkpoint.pt"
SCRIPTS = (TRAIN, PLOT, DIFFUSION, GAN, SAMPLE)
TRAINERS = (TRAIN, DIFFUSION, GAN)

# For each script the fastest command that succeeds, what it needs in the working directory ("place" or "place=name in
# the stock"), and the folder of its results.
TINY = {
    TRAIN: ("--dataset", "mnist", "--hidden_size", "2", "--batch_size", "64", "--num_epochs", "1"),
    PLOT: ("--grid_size", "2"),
    DIFFUSION: ("--n_samples", "300", "--n_blocks", "1", "--n_units", "4", "--diffusion_steps", "3", "--epochs", "1"),
    GAN: ("--ngf", "1", "--ndf", "1", "--latent_size", "2", "--num_epochs", "1", "--data_dir", "images"),
    SAMPLE: ("--num_images", "4")}
QUIET = {TRAIN: ("--no_images",), PLOT: (), DIFFUSION: ("--no_video",), GAN: ("--no_images",), SAMPLE: ()}
NEEDS = {TRAIN: ("data",), PLOT: ("data", "results_kl1.0=vae"), DIFFUSION: (), GAN: ("images",),
         SAMPLE: ("results_gan=gan",)}
RESULTS = {TRAIN: "results_kl1.0", PLOT: "results_kl1.0", DIFFUSION: "results_diffusion", GAN: "results_gan",
           SAMPLE: "results_gan"}
EPOCHS = {TRAIN: "--num_epochs", DIFFUSION: "--epochs", GAN: "--num_epochs"}

MINE = b"mine"                                      # content of the user's files: no run may change them, nor any link
DONE, REFUSED = (0,), (2,)
NOT_DONE, ANY = (1, 2), (0, 1, 2)

Word = Union[str, Tuple[str, ...]]                  # several texts: one of them


def nothing(cwd: Path) -> None:
    pass


class Case(NamedTuple):
    """One run of a script.

    Args:
        name: unique, printable.
        status: the right exit statuses. With 0, stderr must be empty; with others it must hold one line; with 2, no
            file may be created or changed.
        words: what the line on stderr contains.
        says: what stdout contains.
        needs: what is copied from the stock into the working directory, see NEEDS.
        prepare: makes the rest of the working directory.
        made: files and folders that may be created or replaced unless the status is 2. "*": any new ones.
        check: raises AssertionError if the results are not right; called if the status is 0.
        surroundings: arguments of course.tests.forks.surround. "{cwd}" in a variable stands for the working directory.
        few: run where neither matplotlib nor lib is imported yet.
        noise: stderr may hold more lines.
        then: a second command in the same working directory.
    """
    name: str
    script: str
    flags: Sequence[str]
    status: Sequence[int]
    words: Sequence[Word] = ()
    says: Sequence[Word] = ()
    needs: Sequence[str] = ()
    prepare: Callable[[Path], object] = nothing
    made: Sequence[str] = ()
    check: Callable[[Path], None] = nothing
    surroundings: Dict[str, Any] = {}
    few: bool = False
    noise: bool = False
    then: Optional["Case"] = None


def tiny(script: str, name: str, *flags: str, status: Sequence[int] = DONE, quiet: bool = True, **more: Any) -> Case:
    """The quickest command of a script with these flags behind it."""
    more = {"needs": NEEDS[script], "made": (RESULTS[script],), **more}
    return Case(name, script, (*TINY[script], *(QUIET[script] if quiet else ()), *flags), status, **more)


def again(script: str, *flags: str, epochs: int = 2, **more: Any) -> Case:
    """--resume of what `tiny` made, to be used as `then`."""
    more_epochs = () if script == DIFFUSION else (EPOCHS[script], str(epochs))
    return tiny(script, "then", *more_epochs, "--resume", *flags, **{"needs": (), **more})


def put(stock: Path, needs: Sequence[str], cwd: Path) -> None:
    """Copy from the stock what a case needs."""
    for need in needs:
        place, _, source = need.rpartition("=")
        place = place or source
        (cwd / place).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (stock / source).is_dir() else shutil.copy
        copy(str(stock / source), str(cwd / place))


def printable(text: str) -> str:
    """A text as part of a case's name."""
    short = ascii(text)[1:-1]
    return short if len(short) < 70 else f"{short[:50]}... of {len(text)}"
