"""An inactive environment, in which packages are missing: every command says so in one line, without a traceback."""
import ast
import importlib.util
import os
import subprocess
import sys

import pytest

from course import handout
from course.tests.support import DIFFUSION, GAN, PLOT, ROOT, SAMPLE, TRAIN
from lib.script import PACKAGES


def test_packages_are_those_that_lib_imports():
    imported = set()
    for path in (ROOT / "lib").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.split(".")[0])
    found = {name: importlib.util.find_spec(name) for name in imported}
    assert set(PACKAGES) == {name for name, spec in found.items() if spec and "-packages" in (spec.origin or "")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A handout, for a Python that lacks torch and one more package."""
    folder = tmp_path_factory.mktemp("missing")
    handout.write(ROOT, folder / "handout")
    requirements = folder / "handout" / "requirements.txt"
    requirements.write_text(requirements.read_text() + "not-a-package>=1.0\n")
    (folder / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n")
    return folder


@pytest.mark.parametrize("command", [
    ["-m", "tests"], ["-m", "tests", "2.2"], ["-m", "pytest"], ["-m", "pytest", "tests/test_loss.py"],
    ["-m", "tests.test_vae"], [TRAIN], [PLOT], [DIFFUSION], [GAN],
    [SAMPLE, "--checkpoint", "docs/gan_generator.pt"]], ids=" ".join)
def test_missing_packages_are_told_in_one_line(folder, command):
    done = subprocess.run([sys.executable, *command], cwd=str(folder / "handout"), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True,
                          env=dict(os.environ, PYTHONPATH=str(folder), OMP_NUM_THREADS="1"))
    lines = [line for line in done.stderr.splitlines() if line]
    assert done.returncode and len(lines) == 1 and "Traceback" not in done.stdout, done.stdout + done.stderr
    name = "not-a-package" if command[0] == "-m" else "torch"
    assert name in lines[0] and sys.executable in lines[0], lines[0]
    assert "activate the environment" in lines[0] and "pip install -r requirements.txt" in lines[0], lines[0]


def test_a_mistyped_import_in_a_gap_keeps_its_traceback(tmp_path):
    """The environment is not to blame for it."""
    handout.write(ROOT, tmp_path / "handout")
    path = tmp_path / "handout" / "lib" / "utils.py"
    path.write_text("import nunpy\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    done = subprocess.run([sys.executable, DIFFUSION], cwd=str(tmp_path / "handout"), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True)
    assert done.returncode == 1 and "Traceback" in done.stderr and "nunpy" in done.stderr.splitlines()[-1]
    assert "activate" not in done.stderr
