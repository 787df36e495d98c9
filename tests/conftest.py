"""What pytest gives to every test: `call`, which runs your code, and seeds that are new in each run."""
import os
import random

import numpy as np
import pytest
import torch

from tests import support
from tests.scoring.report import Report, printable


def pytest_addoption(parser):
    parser.addoption("--seed", type=int, metavar="N", help="repeat the random inputs of an earlier run")
    parser.addoption("--report", metavar="FILE", help="note there what each test says, as JSON, a line at a time")


def pytest_configure(config):
    os.environ["MPLBACKEND"] = "Agg"                # a notebook hands its own on, which may be missing here
    if config.getoption("--seed") is None:
        config.option.seed = random.SystemRandom().randrange(10 ** 6)
    if config.getoption("--report"):
        config.pluginmanager.register(Report(config.getoption("--report")))


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: [marker.args[0] for marker in item.iter_markers("task")])  # in the order of the tasks


@pytest.fixture(autouse=True)
def seeds_of_this_test(request):
    name = f"{request.config.option.seed} {request.node.nodeid}"
    support.seeds.seed(name)
    libraries = random.Random(f"{name} libraries")
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(libraries.randrange(2 ** 31))


@pytest.fixture
def call():
    """Runs a function that touches lib: call(function, **inputs)."""
    return support.call


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report):
    report.sections = [(name, printable(output)) for name, output in report.sections]  # what your code printed


def pytest_terminal_summary(terminalreporter, config):
    if terminalreporter.stats.get("failed"):
        terminalreporter.line(f"To repeat this run with the same random inputs, add: --seed {config.option.seed}")
