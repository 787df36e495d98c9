"""Files of the user's where a run writes: they stay as they are. What a run has made itself is replaced."""
from itertools import product
from pathlib import Path
from typing import Any, Callable, Iterator, Sequence

from course.tests.support import DIFFUSION, GAN, PLOT, SAMPLE, TRAIN
from course.tests.surroundings import ANY, MINE, NEEDS, REFUSED, RESULTS, TRAINERS, Case, again, tiny
from lib.files import RECORD

# What a script would write, or what looks like it.
NAMES = {
    TRAIN: ("train_samples.png", "reconstruction_epoch_01.png", "reconstruction_epoch_notes.png", "prior_samples.png",
            "loss_curves.png", "latent_space.png", "metrics.csv", "checkpoint.pt", "samples.png"),
    DIFFUSION: ("samples.png", "schedules.png", "loss_curves.png", "metrics.csv", "interpolation.mp4",
                "results_x_forward.mp4"),
    GAN: ("training_images.png", "generated_000000.png", "generated_flowers.png", "generated.mp4", "generator.pt",
          "generator_mine.pt", "discriminator.pt", "nearest.png", "loss_curves.png", "metrics.csv", "samples.png",
          "interpolation.mp4")}
NOT_ITS_OWN = ("reconstruction_epoch_notes.png", "generated_flowers.png", "generator_mine.pt", "kl_comparison.png",
               "results_x_forward.mp4", "notes.txt", "interpolation.mp4", ".hidden")
READERS = {"samples.png": (SAMPLE, ()), "samples_nearest.png": (SAMPLE, ("--nearest", "images")),
           "interpolation.mp4": (SAMPLE, ("--interpolate", "2")), "latent_space.png": (PLOT, ()),
           "kl_comparison.png": (PLOT, ("--compare", "1"))}
HOW: Sequence[Sequence[str]] = ((), ("--resume",), ("--overwrite",))
VIDEOS = ("results_diffusion_forward.mp4", "results_diffusion_generation.mp4")


def mine(*names: str) -> Callable[[Path], None]:
    """Files of the user's with these names."""
    def prepare(cwd: Path) -> None:
        for name in names:
            (cwd / name).parent.mkdir(exist_ok=True)
            (cwd / name).write_bytes(MINE)
    return prepare


def linked(name: str) -> Callable[[Path], None]:
    """A link of this name to a file of the user's."""
    def prepare(cwd: Path) -> None:
        (cwd / "mine").write_bytes(MINE)
        (cwd / name).parent.mkdir(exist_ok=True)
        (cwd / name).symlink_to(cwd / "mine")
    return prepare


def folder(name: str) -> Callable[[Path], None]:
    return lambda cwd: (cwd / name).mkdir(parents=True)


def cases() -> Iterator[Case]:
    ways: Any = [*((flags, "file", mine) for flags in HOW), (("--overwrite",), "link", linked)]
    kinds: Any = (("file", mine), ("link", linked), ("folder", folder))
    for script in TRAINERS:
        for name, (flags, what, make) in product(NAMES[script], ways):
            yield tiny(script, f"taken {script[:-3]} {what} {name} {' '.join(flags)}", *flags, quiet=False,
                       status=(0, 2), made=(RESULTS[script], *VIDEOS), prepare=make(f"{RESULTS[script]}/{name}"))
        for name in NAMES[script]:
            yield tiny(script, f"taken {script[:-3]} folder {name}", quiet=False, status=(0, 2), prepare=folder(
                f"{RESULTS[script]}/{name}"), made=(RESULTS[script], *VIDEOS))
        yield from beside_a_run(script)
    for name, flags, (what, make) in product(VIDEOS, HOW, kinds):
        yield tiny(DIFFUSION, f"taken {what} {name} {' '.join(flags)}", *flags, quiet=False, status=(0, 2),
                   made=("results_diffusion", *VIDEOS), prepare=make(name))
    yield from two_runs_of_one_name()
    for (name, (script, flags)), (what, make) in product(READERS.items(), kinds):
        place = name if name == "kl_comparison.png" else f"{RESULTS[script]}/{name}"
        needs = (*NEEDS[script], *(["images"] if script == SAMPLE else []))
        yield tiny(script, f"taken {script[:-3]} {what} {name}", *flags, status=ANY if what == "folder" else (0, 2),
                   needs=needs, prepare=make(place))
        if what == "file":                          # a second time: it is its own
            yield tiny(script, f"taken {script[:-3]} {name} twice", *flags, needs=needs, made=(RESULTS[script], place),
                       then=tiny(script, "then", *flags, needs=(), made=(RESULTS[script], place)))
    for folder_of in "done/run_diffusion_training", "vae":      # samples of a generator in the folder of another run
        yield tiny(SAMPLE, f"taken by the run of {folder_of}", "--checkpoint", "generator.pt", "--output_dir", "run",
                   needs=("generator.pt", f"run={folder_of}"), status=(0, 2), made=("*", f"run/{RECORD}"))


def beside_a_run(script: str) -> Iterator[Case]:
    """In the folder of a finished run the user's files are kept, and the run's own are replaced without a question."""
    names = [f"{RESULTS[script]}/{name}" for name in NOT_ITS_OWN]
    for flags in ("--overwrite", "--seed=1"), ("--resume",):
        yield tiny(script, f"taken {script[:-3]} beside a run {flags[0]}", quiet=False, made=(RESULTS[script], *VIDEOS),
                   then=tiny(script, "then", *flags, quiet=False, made=(RESULTS[script], *VIDEOS), needs=(),
                             prepare=mine(*names)))
    yield tiny(script, f"taken {script[:-3]} by a run", "--seed=1", status=REFUSED, words=("--resume", "--overwrite"),
               needs=(*NEEDS[script], f"{RESULTS[script]}=done/{script[:-3]}"))
    yield tiny(script, f"taken {script[:-3]} where the folder is a link", made=("elsewhere",), prepare=lambda cwd: (
        (cwd / "elsewhere").mkdir() or (cwd / RESULTS[script]).symlink_to("elsewhere")))


def two_runs_of_one_name() -> Iterator[Case]:
    """Their videos would have the same names: those of the first run stay."""
    first = tiny(DIFFUSION, "taken", "--output_dir=a/o", quiet=False, made=("a", "o_forward.mp4", "o_generation.mp4"))
    for flags in HOW:
        yield first._replace(name=f"taken videos of the run in a/o {' '.join(flags)}", then=tiny(
            DIFFUSION, "then", "--output_dir=b/o", *flags, quiet=False, status=(0, 2), made=("b",), needs=()))
    without = first._replace(flags=(*first.flags, "--no_video"))
    yield without._replace(name="taken videos after --no_video", then=again(
        DIFFUSION, "--output_dir=a/o", quiet=False, made=first.made))
