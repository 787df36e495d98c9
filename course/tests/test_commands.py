"""Every command of teachers and maintainers that a page names runs to its end, with --small or little data."""
import re
import subprocess
import sys

import pytest
from matplotlib.image import imread

from course.tests.support import (
    ROOT,
    commit,
    contents,
    copy_project,
    environment,
    small_mnist,
    tracked_files,
    write_mnist,
)

# What follows `python -m`, and a word that it prints at its end. Each runs in a copy of the project with a small MNIST
# in data/.
COMMANDS = {
    "benchmarks vae": (["--small", "--data_dir", "data"], "others"),
    "benchmarks diffusion": (["--small"], "memory with 1000 steps"),
    "benchmarks gan": (["--small"], "product of matrices"),
    "benchmarks grade": (["--small"], "all grades are right"),
    "benchmarks explorer": (["--small", "--data_dir", "data"], "images a second"),
    "course.reference": (["--small", "--data_dir", "data"], "mean training image"),
    "course.reference_diffusion": (["--small"], "off the data"),
    "course.reference_gan": (["--small"], "noise floor"),
    "course.reference_explorer": (["--small"], "saved the explorer to explorer.html"),
    "course.exact_prediction": (["--small"], "checkerboard"),
    "course.flowers": (["painted", "--count", "80", "--size", "32"], "wrote 80 images"),
    "course.flowers.sheet": (["dataset_flowers_64px", "sheet.jpg"], ""),
    "course.compare_flowers": (["dataset_flowers_64px", "dataset_flowers_64px", "--small"], "5% quantile"),
    "course.bank": (["1.2", "mean", "--seeds", "1"], "1.2"),
    "course.bank.unlisted": (["--number", "12"], "12 unlisted mistakes"),
}
# The other commands, and who runs them.
ELSEWHERE = {"course.grade": "test_grade.py", "course.gradescope.build": "test_grade.py",
             "course.handout": "test_handout.py", "course.marks": "test_marks.py",
             "course.read_gaps": "test_read_gaps.py"}
FIGURES = {
    "course.reference": ["vae_latent_space", "vae_prior_samples", "vae_loss_curves", "vae_reconstructions",
                         "kl_comparison"],
    "course.reference_diffusion": [
        *(f"diffusion_{name}" for name in ("samples", "loss_curves", "schedules", "densities", "generation")),
        *(f"ablation_{name}" for name in ("parts_checkerboard", "parts_spirals", "steps", "schedule", "epochs",
                                          "time_embedding"))],
    "course.reference_gan": ["gan_samples", "gan_loss_curves", "gan_nearest"]}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("commands") / "project"
    copy_project(folder)
    commit(folder)                                  # the handout is made from what git tracks
    write_mnist(folder / "data", small_mnist())
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_command_runs_to_its_end(name, project):
    """The reference runs draw all figures of their page, and leave docs/ and course/answers/ unchanged."""
    flags, word = COMMANDS[name]
    before = {part: contents(project / part) for part in ("docs", "course/answers")}
    done = subprocess.run([sys.executable, "-m", *name.split(), *flags], cwd=str(project), env=environment(),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert not re.search("Traceback", done.stdout), done.stdout[-3000:]
    assert word in done.stdout, done.stdout[-3000:]
    assert {part: contents(project / part) for part in before} == before
    drawn = {path.stem: path for path in (project / "results_reference" / "small").rglob("*.png")}
    for figure in FIGURES.get(name, ()):
        assert imread(str(drawn[figure])).std() > 0.03, figure


def test_all_figures_of_the_reference_pages_are_drawn():
    """The command of a page of results draws all of its committed figures, with --small too."""
    drawn = {name for names in FIGURES.values() for name in names}
    for page in ROOT.glob("docs/results_*.md"):
        for name in re.findall(r"\]\(images/(\w+)\.png\)", page.read_text(encoding="utf-8")):
            assert name in drawn, f"{page.name}: no reference command is known to draw {name}.png"


def test_all_commands_on_the_pages_are_run():
    named = set()
    for page in tracked_files(ROOT):
        if page.endswith(".md"):
            text = (ROOT / page).read_text(encoding="utf-8")
            named |= {found.strip() for found in re.findall(r"python -m (benchmarks \w+|course(?!/)[\w.]+)", text)}
    assert named >= set(COMMANDS), "each command is on a page"
    for name in named:
        assert name in COMMANDS or name in ELSEWHERE, f"course/tests/test_commands.py: run python -m {name}"
    for name, file in ELSEWHERE.items():
        module = name.replace(".", r"[./]")
        assert re.search(module, (ROOT / "course" / "tests" / file).read_text(encoding="utf-8")), (name, file)
