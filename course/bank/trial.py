"""Try a case: put its code into a copy of the project, run the student tests there, and judge their messages.

Each case runs in its own process. Where the system can fork, that process is forked from a server that has already
imported torch, which saves most of the time.
"""
import ast
import gc
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

from course import gaps
from course.bank import BankError, Case
from tests.scoring.report import NOT_ENDED, NOT_RUN, Results, read_report

ROOT = Path(__file__).resolve().parent.parent.parent
TIMEOUT = 300  # give up on a case after this many seconds
SEEDS_OF_WRONG = 3


class Verdict(NamedTuple):
    """The result of a case. problem says what is wrong with it, "" if nothing is."""
    case: Case
    caught: bool    # a test of its task fails
    named: bool     # and its message contains the required words
    problem: str


def modules_with_tests() -> Dict[str, Tuple[str, str]]:
    """Return for each module with gaps its task and its tests, {"lib/loss_vae.py": ("1.2", "tests/test_loss.py")}.

    The docstring of a test file names its task and its module.
    """
    found = {}
    for path in sorted((ROOT / "tests").glob("test_*.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        match = re.match(r"Task (\S+): .*?\bin (lib/\w+\.py)", docstring, re.S)
        if match:
            found[match[2]] = match[1], f"tests/{path.name}"
    return found


def fill_gaps(path: str, code: Dict[str, str]) -> str:
    """Return the text of a module of lib with code in some gaps, by name; the others keep the reference solution."""
    text = ""
    for piece in gaps.split(path, gaps.read_source(ROOT, path)):
        if isinstance(piece, gaps.Gap):
            text += textwrap.indent(code[piece.name], piece.indent) + "\n" if piece.name in code else piece.region
        else:
            text += piece
    return text


def build(folder: Path, code: Dict[str, str], place: str = "") -> None:
    """Write lib, tests and setup.cfg into a folder, with code in some gaps, by name.

    Raises:
        BankError: there is no gap of a name; the message begins with `place`.
    """
    shutil.copytree(str(ROOT / "tests"), str(folder / "tests"), ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(str(ROOT / "setup.cfg"), str(folder))
    (folder / "lib").mkdir()
    unknown = set(code)
    for path in sorted((ROOT / "lib").glob("*.py")):
        name = f"lib/{path.name}"
        (folder / name).write_bytes(fill_gaps(name, code).encode())
        unknown -= {piece.name for piece in gaps.split(name, gaps.read_source(ROOT, name))
                    if isinstance(piece, gaps.Gap)}
    if unknown:
        raise BankError(f"{place}: there is no gap named {', '.join(sorted(unknown))}")


def run_tests(folder: Path, seeds: Sequence[int], task: str = "") -> List[Results]:
    """Run the student tests in a folder in a new process, once with each seed; return {} for a run that did not end.

    Args:
        task: run all test files with the first seed, but only those of this task with the others; "" for all files.
    """
    with_fork = "forkserver" in multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if with_fork else "spawn")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # NumPy's threads of two cases slow each other down
    if with_fork:
        context.set_forkserver_preload(["pytest", "torch", "torch.distributions", "torchvision", "matplotlib.figure"])
    process = context.Process(target=_run_tests_here, args=(str(folder), list(seeds), task))
    process.start()
    process.join(TIMEOUT)
    if process.is_alive():
        process.kill()
        process.join()
    runs = [read_report(folder / f"{seed}.jsonl") for seed in seeds]
    return [{} if {NOT_RUN, NOT_ENDED} & {said for _, said in run.values()} else run for run in runs]


def _run_tests_here(folder: str, seeds: Sequence[int], task: str) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in ("lib", "tests")]:
        del sys.modules[name]  # modules of this project: the folder has its own copies
    sys.path[:] = [folder] + [path for path in sys.path if path and Path(path).resolve() != ROOT]
    sys.dont_write_bytecode = True
    os.environ.pop("PYTEST_ADDOPTS", None)
    os.chdir(folder)
    with open("output.txt", "wb") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)

    import pytest
    import torch
    torch.set_num_threads(1)
    gc.freeze()  # pytest collects garbage at its end, which should skip all of torch
    files: List[str] = []
    for seed in seeds:
        report = Path(f"{seed}.jsonl")
        pytest.main(["-p", "no:cacheprovider", f"--seed={seed}", f"--report={report}", *files])
        if task and not files:
            files = sorted({test.split("::")[0] for test, (of, _) in read_report(report).items() if of == task})


def judge(case: Case, runs: Dict[int, Results]) -> Verdict:
    """Judge the messages of the tests about a case, for each seed."""
    caught, named = True, True
    problems: List[str] = []
    for seed, results in runs.items():
        again = f" (--seed {seed})"
        own = [said for task, said in results.values() if task == case.task and said]
        others = [f"{test} said: {said}" for test, (task, said) in results.items() if task != case.task and said]
        if not any(task == case.task for task, _ in results.values()):
            problems.append("the tests did not finish" + again)
        if case.is_wrong and not own:
            problems.append("it passes the tests" + again)
        elif case.is_wrong and not any(all(words in said for words in case.says) for said in own):
            problems.append(f"no message has the words {' and '.join(case.says)}{again}:\n" + "\n".join(own))
        elif not case.is_wrong and own:
            problems.append(f"it is rejected{again}:\n" + "\n".join(own))
        if others:
            problems.append(f"tests of another task fail{again}:\n" + "\n".join(others))
        caught = caught and bool(own)
        named = named and any(all(words in said for words in case.says) for said in own)
    return Verdict(case, caught, named, "\n".join(problems))


def try_cases(cases: Sequence[Case], seeds: Sequence[int]) -> List[Verdict]:
    """Try cases, two at a time: all tests with the first seed, those of the case's task with the others too.

    A wrong case uses only the first SEEDS_OF_WRONG seeds.

    Raises:
        BankError: there is no gap of a case's name.
    """
    def try_case(case: Case) -> Verdict:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name).resolve()
            build(folder, case.gaps, case.place)
            mine = seeds[:SEEDS_OF_WRONG] if case.is_wrong else seeds
            return judge(case, dict(zip(mine, run_tests(folder, mine, case.task))))

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(try_case, cases))
