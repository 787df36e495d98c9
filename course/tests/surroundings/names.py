"""Names of folders and files: those that can exist must work whole, and the others end in a line."""
import os
from itertools import product
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Sequence

from course.tests.support import DIFFUSION, GAN, PLOT, SAMPLE, TRAIN
from course.tests.surroundings import DONE, NEEDS, NOT_DONE, QUIET, REFUSED, RESULTS, TINY, Case, printable
from lib.files import RECORD

GOOD = ("2026-11-25T14:30", "lr:0.1", "file:x", "pipe:1", "http:x", "imageio:x", "a.zip/x", "~", "~/x", "~root", "%d",
        "%s%n", "{x}", "a'b", 'a"b', "$HOME", "`id`", "-x", "--resume", "gr\xf6\xdfe", "\u65e5\u672c", "a\u0301",
        "\U0001f33b", "caf\udce9", "a b", " a", "a ", "a.", "...", "a;b", "a*b", "[x]", "a?b", "a\\b", "x.part", ".x",
        "a//b/", "y" * 255)
ODD = ("a\nb", "a\tb", "\x1b[31mred\x1b[0m", "a\rb", "\x07", "\x9b31m", "\u202egnp", "  ")     # used or refused
LONG = ("x" * 256, "x" * 300, "/".join(["y" * 200] * 25), "\xe4" * 150)
VIDEOS = ("2026-11-25T14:30", "file:x", "imageio:x", "~", "~/x", "%d", "a'b", "gr\xf6\xdfe", "caf\udce9", "a\nb")
SURROUNDINGS = {"environment": {"HOME": "{cwd}/home"}}


class Target(NamedTuple):
    """What a name is given to. stock: what has that name; result: a file that a run leaves there; flags: others."""
    script: str
    flag: str
    stock: str = ""
    result: str = ""
    flags: Sequence[str] = ()


TARGETS = (Target(TRAIN, "--output_dir", "", "checkpoint.pt"), Target(TRAIN, "--data_dir", "data"),
           Target(PLOT, "--output_dir", "vae", "latent_space.png"), Target(PLOT, "--data_dir", "data"),
           Target(DIFFUSION, "--output_dir", "", "samples.png"), Target(DIFFUSION, "--dataset", "image.png"),
           Target(GAN, "--output_dir", "", "checkpoint.pt"), Target(GAN, "--data_dir", "images"),
           Target(SAMPLE, "--output_dir", "gan", "samples.png"), Target(SAMPLE, "--checkpoint", "generator.pt"),
           Target(SAMPLE, "--output_dir", "", "samples.png", ("--checkpoint", "generator.pt")),
           Target(SAMPLE, "--nearest", "images"))


def other_needs(target: Target) -> List[str]:
    needs = [need for need in NEEDS[target.script] if need.split("=")[-1] != target.stock]
    return [*needs, *target.flags[1:]]


def first(name: str) -> str:
    return name.split("/")[0]


def case(kind: str, target: Target, name: str, status: Sequence[int], there: bool = True, **more) -> Case:
    """There: whether what the name stands for lies there."""
    folder = name if target.flag == "--output_dir" else RESULTS[target.script]
    needs = other_needs(target) + ([f"{name}={target.stock}"] if there and target.stock else [])
    flags = [*TINY[target.script], *QUIET[target.script], *target.flags, f"{target.flag}={name}"]
    more = {"made": (first(folder),), "needs": needs, "prepare": home, "surroundings": SURROUNDINGS, **more}
    return Case(f"{kind} {target.script[:-3]} {' '.join(target.flags)} {target.flag}={printable(name)}", target.script,
                flags, status, check=lambda cwd: check_there(cwd / folder / target.result), **more)


def check_there(path: Path) -> None:
    assert path.exists(), f"there is no {ascii(str(path))}"


def home(cwd: Path) -> None:
    (cwd / "home").mkdir()


# Things that are no folder, or no file of the right kind, and how to make them.

def link(*path_and_target: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.symlink_to(path_and_target[0])
    return make


def link_loop(path: Path) -> None:
    path.symlink_to("other")
    (path.parent / "other").symlink_to(path.name)


def file(path: Path) -> None:
    path.write_bytes(b"mine")


def link_to_a_file(path: Path) -> None:
    file(path.with_name("mine"))
    path.symlink_to("mine")


THINGS: Dict[str, Callable[[Path], None]] = {
    "link_to_itself": link("link_to_itself"), "link_loop": link_loop, "dangling": link("nowhere/at/all"), "file": file,
    "link_to_a_file": link_to_a_file, "fifo": lambda path: os.mkfifo(str(path)), "link_to_null": link("/dev/null"),
    "folder": Path.mkdir, "missing": lambda path: None}
PLACES = ("/dev/null", "/dev/null/x", "/proc/new", "/proc/self/mem", "file/deep/er")


def thing_cases(target: Target) -> Iterator[Case]:
    # Without MNIST a script asks the network, and fails on the way.
    bad = NOT_DONE if target.stock == "data" else REFUSED
    makes_folder = target.flag == "--output_dir" and not target.stock
    for name, make in THINGS.items():
        status = DONE if makes_folder and name in ("folder", "missing") else bad
        if target.flag == "--output_dir" and name == "dangling":
            status = (0, 2)                         # the folder may be made where the link leads
        yield case("thing", target, name, status, there=False, words=((name, target.flag),),
                   made=(name, "nowhere"), prepare=lambda cwd, name=name, make=make: make(cwd / name))
    for place in PLACES:
        yield case("place", target, place, bad, there=False, words=((place, target.flag),), made=(),
                   prepare=lambda cwd: file(cwd / "file"))


def here_case(target: Target) -> Case:
    """The working directory itself, with what the folder in the stock holds."""
    inside = {"data": "MNIST", "images": "a", "vae": "checkpoint.pt", "gan": "checkpoint.pt"}.get(target.stock)
    more = [f"{inside}={target.stock}/{inside}"] if inside else []
    record = f"{RESULTS[target.script]}/{RECORD}"
    return case("here", target, ".", DONE, needs=other_needs(target) + more, made=("*", record))


def video_case(script: str, name: str) -> Case:
    """The video stands in its place, and nowhere else."""
    videos = {DIFFUSION: [f"{Path(name).name}_{what}.mp4" for what in ("forward", "generation")],
              GAN: [f"{name}/generated.mp4"], SAMPLE: [f"{name}/interpolation.mp4"]}[script]

    def check(cwd: Path) -> None:
        found = [path.relative_to(cwd).as_posix() for path in cwd.rglob("*.mp4")]
        assert sorted(found) == sorted(videos), f"videos: {ascii(found)}"

    flags = [*TINY[script], f"--output_dir={name}", *(["--interpolate", "2"] if script == SAMPLE else [])]
    needs = [f"{name}=gan"] if script == SAMPLE else NEEDS[script]
    return Case(f"video {script[:-3]} --output_dir={printable(name)}", script, flags,
                (0, 2) if name in ODD else DONE, needs=needs, prepare=home, made=(first(name), *videos), check=check,
                surroundings=SURROUNDINGS)


def cases() -> Iterator[Case]:
    for number, target in enumerate(TARGETS):       # where a run takes long, every second or third name
        step = {DIFFUSION: 3, TRAIN: 1}.get(target.script, 2)
        for name in GOOD[number % step::step]:
            yield case("name", target, name, DONE)
    for target, name in product(TARGETS, ODD):
        yield case("name", target, name, (0, 2))
    for target, name in product(TARGETS, LONG):
        yield case("name", target, name, REFUSED, there=False, words=((name[:20], target.flag),))
    for target in TARGETS:
        yield from thing_cases(target)
        if target.flag in ("--output_dir", "--data_dir", "--nearest"):
            yield here_case(target)
    for script, name in product((DIFFUSION, GAN, SAMPLE), VIDEOS):
        yield video_case(script, name)
    yield Case("video run_diffusion_training of 250 letters", DIFFUSION, [*TINY[DIFFUSION], "--output_dir", "y" * 250],
               REFUSED, words=(("y" * 20, "--output_dir"),))
