"""What pytest provides to every test: `call`, which runs your code, and seeds that are new in each run.

What needs a package of requirements.txt is imported in functions, so that a missing one gets a message.
"""
import os
import random
from typing import Any, Callable, Dict, List

import pytest

from tests.scoring.environment import problem
from tests.scoring.report import Report, printable


class Once:
    """A pytest plugin that prints a message only for the first of several tests that fail with it."""

    def __init__(self) -> None:
        self.first: Dict[str, str] = {}             # the first test with each message

    @pytest.hookimpl(trylast=True)                  # after Report has noted the message
    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            first = self.first.setdefault(report.longreprtext, report.nodeid)
            if first != report.nodeid:
                report.longrepr = f"The same as for {first.split('::')[-1]}."


def pytest_addoption(parser: Any) -> None:
    parser.addoption("--seed", type=int, metavar="N", help="repeat the random inputs of an earlier run")
    parser.addoption("--task", action="append", metavar="TASK", help="run only the tests of this task")
    parser.addoption("--report", metavar="FILE", help="write the result of each test to FILE, one JSON line at a time")


def pytest_configure(config: Any) -> None:
    if problem():
        raise pytest.UsageError(problem())
    os.environ["MPLBACKEND"] = "Agg"                # a notebook passes on its own backend, which may be missing here
    if config.getoption("--seed") is None:
        config.option.seed = random.SystemRandom().randrange(10 ** 6)
    if config.getoption("--report"):
        config.pluginmanager.register(Report(config.getoption("--report")))
    config.pluginmanager.register(Once())


def task_of(item: Any) -> str:
    return item.get_closest_marker("task").args[0] if item.get_closest_marker("task") else ""


@pytest.hookimpl(tryfirst=True)                     # before the report notes all items
def pytest_collection_modifyitems(config: Any, items: List[Any]) -> None:
    """Order the tests by task, and keep those of the chosen tasks."""
    tasks = config.getoption("--task")
    items[:] = sorted((item for item in items if not tasks or task_of(item) in tasks), key=task_of)


@pytest.fixture(autouse=True)
def seeds_of_this_test(request: Any) -> None:
    import numpy as np
    import torch

    from tests import support
    name = f"{request.config.option.seed} {request.node.nodeid}"
    support.seeds.seed(name)
    libraries = random.Random(f"{name} libraries")
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(libraries.randrange(2 ** 31))


@pytest.fixture
def call() -> Callable:
    """Return a function that runs a function that touches lib: call(function, **inputs)."""
    from tests.support import call as run
    return run


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: Any) -> None:
    report.sections = [(name, printable(output)) for name, output in report.sections]  # what your code printed


def pytest_terminal_summary(terminalreporter: Any, config: Any) -> None:
    if terminalreporter.stats.get("failed"):
        terminalreporter.line(f"To repeat this run with the same random inputs, add: --seed {config.option.seed}")
