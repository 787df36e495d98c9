"""The judge's process: it is trusted, and reads a student's files, but never imports or unpickles anything of them."""
import json
import os
import socket
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Sequence

from course.grader import confine
from course.grader.caller import Caller, Ended
from course.grader.judge import judge
from course.grader.results import UNCHANGED, not_possible, save
from tests.scoring.report import NOT_ENDED, Results, printable, read_report
from tests.scoring.score import place_in_lib

ROOT = Path(__file__).resolve().parents[2]
MEMORY = 3 * 2 ** 30                                # bytes that the judge may take in addition
LONGEST_MESSAGE, LONGEST_OUTPUT = 4000, 1000        # characters of a student's text in the report


def judge_submission(command: socket.socket, folder: Path, number: int, needed: Sequence[str]) -> None:
    """Read a request, a line of JSON, from the command; write the result where it says. Ends the process.

    Args:
        folder: an empty one, for scratch.
        number: of the worker.
        needed: the layers of confinement that hold here.
    """
    confine.guard()
    calls = folder / "calls"
    calls.mkdir()
    caller = Caller(calls, number, needed)          # first: it must not know what follows
    with open(os.devnull, "r+") as nothing:
        for stream in (0, 1, 2):
            os.dup2(nothing.fileno(), stream)
    confine.limit_memory(MEMORY)                    # a hostile file costs this submission its score, and no other
    tempfile.tempdir = str(folder)                  # removed with it, even if this process is killed
    request = json.loads(command.makefile("rb").readline())
    command.close()
    printed: Dict[str, str] = {}

    def run_tests(submission: Path, seed: int, tasks: Sequence[str]) -> Results:
        return run_tests_here(folder / "report.jsonl", seed, confined_call(
            submission, caller, printed, *request["limits"]))

    try:
        result = judge(request, folder, run_tests, printed)
    except Exception as error:                      # whatever a submission causes, it becomes a row
        result = not_possible(request, error)
    if result:
        save(Path(request["output"]), result)
    os._exit(0 if result else UNCHANGED)


def run_tests_here(report: Path, seed: int, call: Callable) -> Results:
    """Run the project's own tests in this process, with another `call`."""
    import pytest

    from tests import support
    for name in [name for name in os.environ if name.startswith("PYTEST_")]:
        del os.environ[name]
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    support.call = call
    # The root's conftest.py makes warnings errors; it is no part of the handout.
    pytest.main(["-p", "no:cacheprovider", "-c", str(ROOT / "setup.cfg"), "--rootdir", str(ROOT),
                 "--confcutdir", str(ROOT / "tests"), f"--seed={seed}", f"--report={report}", str(ROOT / "tests")])
    results = read_report(report)
    broken = [words for test, (_, words) in results.items() if words and "::" not in test]
    if broken or not results:
        raise RuntimeError(f"the tests could not be started: {(broken + ['no output'])[0].strip().splitlines()[-1]}")
    return results


def confined_call(submission: Path, caller: Caller, printed: Dict[str, str], first: float, later: float,
                  whole: float) -> Callable:
    """Return a stand-in for `tests.support.call` that runs the function in a confined process.

    Args:
        printed: receives what the code has printed, by test.
        first, later: seconds for a call, until one has taken too long and afterwards.
        whole: seconds for all calls of the submission.
    """
    from tests.support import Mistake
    left = {"call": first, "all": whole}

    def call(function: Callable, **inputs: Any) -> Any:
        seconds = min(left["call"], left["all"])
        if seconds <= 0:
            raise Mistake(f"This test did not run: your code has been running for {whole:.0f} seconds in other tests.")
        ended = caller.run(submission, function.__module__, function.__name__, inputs, seconds)
        left["all"] -= ended.seconds
        note_output(ended, printed)
        if ended.problem == "time":
            left["call"] = later
            raise Mistake(f"Your code was still running after {seconds:.0f} seconds{place_in_lib(ended.output)}: an "
                          "infinite loop?")
        if ended.problem == "disk":
            raise Mistake("Your code has written too many or too large files.")
        if "value" in ended.result:
            return ended.result["value"]
        raise Mistake(printable(str(ended.result.get("mistake", NOT_ENDED)))[:LONGEST_MESSAGE])

    return call


def note_output(ended: Ended, printed: Dict[str, str]) -> None:
    """Keep the start of what a call has printed, the first time in each test."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    said = printable(ended.output).strip()
    if said and not ended.problem:
        printed.setdefault(test, said[:LONGEST_OUTPUT] + " ..." * (len(said) > LONGEST_OUTPUT))
