"""Devices, streams, encodings, settings of matplotlib, ffmpeg and other things that surround a script."""
import re
from itertools import product
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence

import torch

from course.tests.support import DIFFUSION, GAN, PLOT, SAMPLE, TRAIN, assert_same_value, contents, load
from course.tests.surroundings import (
    ANY,
    CHECKPOINT,
    DONE,
    NEEDS,
    NOT_DONE,
    REFUSED,
    RESULTS,
    SCRIPTS,
    TRAINERS,
    Case,
    again,
    nothing,
    printable,
    tiny,
)

DEVICES = ("", " ", "gpu", "CPU", "cuda:99", "cuda:-1", "cuda:x", "cuda:0:0", "mps:3", "npu", "tpu",
           "auto:0", "none", "--", "cp\nu", "\x1b[31m", "0", "gr\xf6\xdfe", "x" * 3000)
BACKENDS = ("nonsense", "TkAgg", "", "module://nowhere", "module://matplotlib_inline.backend_inline")
MATPLOTLIBRC = {"usetex": "text.usetex: True", "origin": "image.origin: lower", "dpi": "figure.dpi: 77",
                "tight": "savefig.bbox: tight", "transparent": "savefig.transparent: True\nfigure.facecolor: red",
                "font": "font.size: 30\nlines.linewidth: 9", "backend": "backend: nonsense",
                "broken": "this is: no setting\nfigure.dpi: many\n:::"}
STREAMS = [(number, kind) for number in ("0", "1", "2") for kind in ("closed", "full", "broken")
           if number != "0" or kind == "closed"]
ENVIRONMENTS: Sequence[Dict[str, Any]] = (
    {"COLUMNS": "1"}, {"COLUMNS": "0"}, {"COLUMNS": "-5"}, {"COLUMNS": "x"}, {"TERM": "dumb"}, {"TERM": None},
    {"TMPDIR": "/nonexistent"}, {"TMPDIR": "/dev/null"}, {"HOME": None}, {"HOME": "/nonexistent"}, {"PATH": ""},
    {"TQDM_DISABLE": "x"}, {"DISPLAY": ":99"})
FRESH = ({"HOME": "/proc/nothing", "MPLCONFIGDIR": None, "XDG_CACHE_HOME": None, "XDG_CONFIG_HOME": None},
         {"HOME": None, "MPLCONFIGDIR": None}, {"MPLCONFIGDIR": "/nonexistent/deep"}, {"MPLCONFIGDIR": "/dev/null"})
FFMPEGS = {"missing": "/nonexistent", "false": "/bin/false", "true": "/bin/true", "rubbish": "{cwd}/rubbish"}
# For each script a flag whose value cannot be any name, and some of the figures that it saves.
REFUSES_NAMES = {TRAIN: "--dataset", PLOT: "--output_dir", DIFFUSION: "--dataset", GAN: "--data_dir",
                 SAMPLE: "--checkpoint"}
FIGURES = {TRAIN: ("train_samples.png", "reconstruction_epoch_01.png", "loss_curves.png"),
           PLOT: ("latent_space.png",), GAN: ("training_images.png", "loss_curves.png", "nearest.png"),
           SAMPLE: ("samples.png",), DIFFUSION: ("schedules.png",)}
REMEDY = {DIFFUSION: "--no_video", GAN: "--no_images", SAMPLE: "--interpolate"}


def torch_devices() -> List[str]:
    """The names that torch says it knows, but for those that work here."""
    try:
        torch.device("nowhere")
    except RuntimeError as error:
        known = re.findall("one of ([a-z, ]+) device type", str(error))[0].split(", ")
    found = {"cpu"} | {name for name, is_there in (("cuda", torch.cuda.is_available()),
                                                   ("mps", torch.backends.mps.is_available())) if is_there}
    return sorted({*known, "hpu", "privateuseone", "mkldnn", "opengl", "ideep", "xla", "meta", "lazy"} - found)


def same_as(script: str, reference: str, *names: str):
    """The results are those of the stock, bit for bit. names: only these."""
    def check(cwd: Path) -> None:
        folder, other = cwd / RESULTS[script], cwd.parent / "stock" / reference
        results, others = contents(folder), contents(other)
        for name in names or sorted(set(others) - {CHECKPOINT}):
            assert results.get(name) == others[name], f"{name} is not that of the undisturbed run"
        if not names:
            assert_same_value(load(folder), load(other))
    return check


def device_cases() -> Iterator[Case]:
    for script, name in product(SCRIPTS, (*DEVICES, *torch_devices())):
        yield tiny(script, f"device {script[:-3]} {printable(name)}", f"--device={name}", status=REFUSED,
                   words=("--device",))
    for script, name in product(SCRIPTS, ("cpu:0", "cpu:7", "cpu:-1")):     # torch knows one CPU, whatever its number
        yield tiny(script, f"device {script[:-3]} {name}", f"--device={name}", status=(0, 2), words=("--device",))


def stream_cases() -> Iterator[Case]:
    for script, (number, kind) in product(SCRIPTS, STREAMS):
        # A script may stop when nobody reads what it says, or say in the end that this was lost.
        status = DONE if number != "1" or kind == "closed" else (0, 1)
        streams = {"streams": {number: kind}}
        yield tiny(script, f"stream {number} {kind} {script[:-3]}", status=status, surroundings=streams,
                   check=same_as(script, f"done/{script[:-3]}") if script in TRAINERS else nothing)
        yield Case(f"stream {number} {kind} {script[:-3]} with an error", script, ["--device=nowhere"], REFUSED,
                   ("--device",), surroundings=streams)
        yield Case(f"stream {number} {kind} {script[:-3]} with a wrong flag", script, ["--seed=x", "--grid_size=x"],
                   REFUSED, surroundings=streams)
        yield Case(f"stream {number} {kind} {script[:-3]} --help", script, ["--help"],
                   DONE if number != "1" or kind == "closed" else ANY + (120,), surroundings=streams, noise=True)


def encoding_cases() -> Iterator[Case]:
    for script, encoding, name in product(SCRIPTS, ("ascii", "cp1252", "utf-8"),
                                          ("gr\xf6\xdfe", "\u65e5\u672c", "caf\udce9", "a\nb")):
        needs, place = list(NEEDS[script]), {"encoding": encoding}
        if script in (PLOT, SAMPLE):
            needs[-1] = f"{name}={needs[-1].split('=')[1]}"
        if script != DIFFUSION or encoding == "ascii":      # it takes longer than the others
            yield tiny(script, f"encoding {encoding} {script[:-3]} {printable(name)}", f"--output_dir={name}",
                       made=(name,), needs=needs, surroundings=place, status=(0, 2) if name == "a\nb" else DONE)
        yield Case(f"encoding {encoding} {script[:-3]} {printable(name)} with an error", script,
                   [f"{REFUSES_NAMES[script]}={name}"], REFUSED, surroundings=place)


def figure_cases() -> Iterator[Case]:
    """The images are the same, whatever the user's settings of matplotlib are."""
    def case(script, name, **more):
        reference = {PLOT: "plotted", SAMPLE: "sampled", DIFFUSION: "done/" + DIFFUSION[:-3]}.get(
            script, f"drawn/{script[:-3]}")
        return tiny(script, f"figures {script[:-3]} {name}", quiet=script == DIFFUSION, few=True,
                    check=same_as(script, reference, *FIGURES[script]), **more)

    for script, backend in product(SCRIPTS, BACKENDS):
        if script != DIFFUSION or backend == "nonsense":            # it takes seconds
            yield case(script, f"MPLBACKEND={backend}", surroundings={"environment": {"MPLBACKEND": backend}})
    for script, (name, text) in product(SCRIPTS, MATPLOTLIBRC.items()):
        if script in (TRAIN, SAMPLE) or name in ("tight", "usetex") or script != DIFFUSION and name == "origin":
            yield case(script, f"matplotlibrc {name}", noise=name in ("broken", "backend"), prepare=(
                lambda cwd, text=text: (cwd / "matplotlibrc").write_text(text)))
    for script, environment in product((TRAIN, PLOT, GAN, SAMPLE), FRESH):
        yield case(script, f"{environment}", surroundings={"environment": environment})
    yield tiny(DIFFUSION, "figures of videos with matplotlibrc", quiet=False, few=True,
               made=("results_diffusion", "results_diffusion_forward.mp4", "results_diffusion_generation.mp4"),
               prepare=lambda cwd: (cwd / "matplotlibrc").write_text("figure.dpi: 77\nsavefig.bbox: tight\n"))


def environment_cases() -> Iterator[Case]:
    for number, (script, environment) in enumerate(product(SCRIPTS, ENVIRONMENTS)):
        name = "environment {} {}={}".format(script[:-3], *list(environment.items())[0])
        if number % 2 == 0:
            yield tiny(script, name, surroundings={"environment": environment})
        yield Case(f"{name} --help", script, ["--help"], DONE, says=("--device",), surroundings={
            "environment": environment})
    for script in SCRIPTS:
        yield Case(f"environment {script[:-3]} in a removed folder", script, ["--device=cpu"], NOT_DONE,
                   surroundings={"remove_cwd": True})
    # The bits depend on the number of threads.
    more: Dict[str, Any] = {"says": ("thread",), "surroundings": {"threads": 2}}
    yield tiny(DIFFUSION, f"environment {DIFFUSION[:-3]} with more threads", "--epochs", "2", "--resume", **{
        **more, "needs": ("results_diffusion=stopped",)})
    for script in TRAIN, GAN:
        yield tiny(script, f"environment {script[:-3]} with more threads", then=again(script, **more))


def rubbish(cwd: Path) -> None:
    (cwd / "rubbish").write_text("#!/bin/sh\nhead -c 3000 /dev/urandom\nhead -c 3000 /dev/urandom >&2\n")
    (cwd / "rubbish").chmod(0o755)


def ffmpeg_cases() -> Iterator[Case]:
    """A video that cannot be made costs nothing else: with a good ffmpeg, --resume ends like a run that had one."""
    videos = {DIFFUSION: ["results_diffusion_forward.mp4", "results_diffusion_generation.mp4"],
              GAN: [], SAMPLE: []}
    for script, (name, path) in product(REMEDY, FFMPEGS.items()):
        then = None
        if script != SAMPLE:
            then = again(script, quiet=False, epochs=1, made=(RESULTS[script], *videos[script]),
                         check=same_as(script, f"drawn/{script[:-3]}"))
        yield tiny(script, f"ffmpeg {name} {script[:-3]}", *(["--interpolate", "2"] if script == SAMPLE else []),
                   quiet=False, prepare=rubbish, words=(REMEDY[script],), status=NOT_DONE, then=then,
                   surroundings={"environment": {"IMAGEIO_FFMPEG_EXE": path}})


def cases() -> Iterator[Case]:
    for make in (device_cases, stream_cases, encoding_cases, figure_cases, environment_cases, ffmpeg_cases):
        yield from make()
