"""Try a case: put its code into a copy of the project, run the student tests there, judge what they say.

Each case runs in a process of its own. Where the system can fork, that is cut off from a server that has imported torch
already, which saves most of the time.
"""
import gc
import multiprocessing
import os
import shutil
import sys
import tempfile
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence

from course import gaps
from course.bank import BankError, Case
from tests.scoring.report import NOT_ENDED, NOT_RUN, Results, read_report

ROOT = Path(__file__).resolve().parent.parent.parent
TIMEOUT = 300  # seconds after which a case is given up
SEEDS_OF_WRONG = 3


class Verdict(NamedTuple):
    """What came of a case. flaw is why it is not in order, "" if it is."""
    case: Case
    caught: bool  # a test of its task fails
    named: bool  # and says what it must
    flaw: str


def build(folder: Path, code: Dict[str, str], place: str = "") -> None:
    """Write lib, tests and setup.cfg into a folder, with code in the gaps of these names. Raises BankError."""
    shutil.copytree(str(ROOT / "tests"), str(folder / "tests"), ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(str(ROOT / "setup.cfg"), str(folder))
    (folder / "lib").mkdir()
    left = dict(code)
    for path in sorted((ROOT / "lib").glob("*.py")):
        name = f"lib/{path.name}"
        text = "".join(
            textwrap.indent(left.pop(piece.name), piece.indent) + "\n"
            if isinstance(piece, gaps.Gap) and piece.name in left else getattr(piece, "region", piece)
            for piece in gaps.split(name, gaps.read_source(ROOT, name)))
        (folder / name).write_bytes(text.encode())
    if left:
        raise BankError(f"{place}: there is no gap named {', '.join(left)}")


def run_tests(folder: Path, seeds: Sequence[int], task: str = "") -> List[Results]:
    """Run the student tests in a folder, in a process of their own, once with each seed; {} for one that does not end.

    Args:
        task: all seeds but the first are for the test files of this task; all files if it is "".
    """
    with_fork = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if with_fork else "spawn")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for that server: NumPy's threads of two cases disturb each other
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
        del sys.modules[name]  # those of this project: the folder has its own
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
    gc.freeze()  # pytest collects garbage at its end: it need not go through all of torch
    files: List[str] = []
    for seed in seeds:
        report = Path(f"{seed}.jsonl")
        pytest.main(["-p", "no:cacheprovider", f"--seed={seed}", f"--report={report}", *files])
        if task and not files:
            files = sorted({test.split("::")[0] for test, (of, _) in read_report(report).items() if of == task})


def judge(case: Case, runs: Dict[int, Results]) -> Verdict:
    """Judge what the tests said of a case, for each seed."""
    caught, named, flaws = True, True, []
    for seed, results in runs.items():
        again = f" (--seed {seed})"
        own = [said for task, said in results.values() if task == case.task and said]
        others = [f"{test} said: {said}" for test, (task, said) in results.items() if task != case.task and said]
        if not any(task == case.task for task, _ in results.values()):
            flaws.append("the tests did not come to an end" + again)
        if case.is_wrong and not own:
            flaws.append("it passes the tests" + again)
        elif case.is_wrong and not any(all(words in said for words in case.says) for said in own):
            flaws.append(f"no message has the words {' and '.join(case.says)}{again}:\n" + "\n".join(own))
        elif not case.is_wrong and own:
            flaws.append(f"it is rejected{again}:\n" + "\n".join(own))
        if others:
            flaws.append(f"tests of another task fail{again}:\n" + "\n".join(others))
        caught = caught and bool(own)
        named = named and any(all(words in said for words in case.says) for said in own)
    return Verdict(case, caught, named, "\n".join(flaws))


def try_cases(cases: Sequence[Case], seeds: Sequence[int]) -> List[Verdict]:
    """Try cases, two at a time: all tests with the first seed; those of the case's task with the others too, of which
    a wrong case needs two only.

    Raises:
        BankError: a gap's name is wrong.
    """
    def try_case(case: Case) -> Verdict:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name).resolve()
            build(folder, case.gaps, case.place)
            mine = seeds[:SEEDS_OF_WRONG] if case.is_wrong else seeds
            return judge(case, dict(zip(mine, run_tests(folder, mine, case.task))))

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(try_case, cases))
