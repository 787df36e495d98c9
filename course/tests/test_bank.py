"""The student tests reject every wrong submission of the bank and say why, and accept every right one."""
import os
import subprocess
import sys

import pytest

from course.bank import BankError, Case, all_cases, read_cases
from course.bank.__main__ import select, table
from course.bank.trial import ROOT, build, judge, modules_with_tests, run_tests, try_cases
from course.tests.support import WITH_TESTS
from tests.scoring.tasks import TASKS

FILES = modules_with_tests()
SEEDS = list(range(1, 9))                           # of right cases; the command tries 20


def python(folder, *arguments):
    """Run Python in a folder as a student does; return the exit status and the output."""
    environment = dict(os.environ, PYTEST_ADDOPTS="", OMP_NUM_THREADS="1")
    done = subprocess.run([sys.executable, *arguments], cwd=str(folder), env=environment, universal_newlines=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


@pytest.fixture
def project(tmp_path):
    """Return a copy of lib and tests."""
    build(tmp_path, {})
    return tmp_path


# The bank

def test_every_task_with_tests_has_wrong_and_right_cases():
    kinds = {(case.task, case.is_wrong) for case in all_cases()}
    ready = [task.number for task in TASKS if task.graded_by == "tests"
             and all((ROOT / path).is_file() for path in task.fill_in.split(", "))]
    assert kinds >= {(number, is_wrong) for number in ready for is_wrong in (True, False)}
    titles = [(case.task, case.is_wrong, case.title) for case in all_cases()]
    assert len(titles) == len(set(titles)), "two cases have the same title"


def test_wrong_is_rejected_by_name_and_right_is_accepted():
    """Run the whole bank with fixed seeds, so that the result never changes; `python -m course.bank` draws others."""
    verdicts = try_cases(all_cases(), SEEDS)
    assert not any(verdict.problem for verdict in verdicts), table(verdicts)
    assert all(verdict.caught and verdict.named for verdict in verdicts if verdict.case.is_wrong)


def test_the_reference_passes_with_many_seeds(project):
    runs = run_tests(project, range(60))
    assert len(runs) == 60
    said = [said for results in runs for _, said in results.values() if said]
    assert not said, said[0]


# The bank finds problems

def one_case(is_wrong, says, code, **other_gaps):
    return Case("1.2", "here:1", "a title", is_wrong, says, dict(other_gaps, **{"VAELoss.forward": code}))


RIGHT = ("return F.binary_cross_entropy(x_reconstructed, x, reduction='sum') + self.kl_loss_weight * 0.5 * torch.sum("
         "mu ** 2 + logvar.exp() - logvar - 1)")
WRONG = RIGHT.replace("- 1)", ")")


@pytest.mark.parametrize("case, caught, named, problem", [
    (one_case(True, ("the 1",), WRONG), True, True, ""),
    (one_case(False, (), RIGHT), False, False, ""),
    (one_case(True, ("the 1",), RIGHT), False, False, "it passes the tests"),
    (one_case(True, ("the 1", "no such words"), WRONG), True, False, "no message has the words"),
    (one_case(False, (), WRONG), True, True, "it is rejected"),
    (one_case(True, ("the 1",), WRONG, get_mu_logvar="return 1, 2"), True, True, "another task fail"),
    (one_case(False, (), "import os\nos._exit(0)"), False, False, "the tests did not finish"),
    (one_case(True, ("the 1",), "import os\nos._exit(0)"), False, False, "the tests did not finish"),
], ids=["wrong", "right", "survivor", "unnamed", "rejected", "other task", "right, ended", "wrong, ended"])
def test_judgement(case, caught, named, problem):
    verdict, = try_cases([case], SEEDS[:1])
    assert (verdict.caught, verdict.named or not case.is_wrong) == (caught, named or not case.is_wrong), verdict
    assert problem in verdict.problem and bool(problem) == bool(verdict.problem), verdict.problem
    assert ("a title: " + verdict.problem in table([verdict])) == bool(problem)


def test_a_problem_with_one_of_several_seeds_counts():
    case, passed, failed = one_case(True, ("x",), "pass"), {"t": ("1.2", "")}, {"t": ("1.2", "x")}
    assert judge(case, {1: failed, 2: failed}).problem == ""
    verdict = judge(case, {1: failed, 2: passed})
    assert "it passes the tests (--seed 2)" in verdict.problem and not verdict.caught and not verdict.named


@pytest.mark.parametrize("text, message", [
    ("=== wrong no colon\n", "1.2.txt:1: a case must begin"),
    ("\n=== maybe: x\n", "1.2.txt:2: a case must begin"),
    ("=== wrong: x\nsays: y\n", "1.2.txt:1: the case has no code"),
    ("=== wrong: x\nsays: y\n--- f\n\n", "1.2.txt:1: the case has no code"),
    ("=== wrong: x\n--- f\npass\n", "1.2.txt:1: a wrong case needs"),
    ("=== right: x\nsays: y\n--- f\npass\n", "1.2.txt:1: a wrong case needs"),
    ("=== right: x\n--- f\npass\n--- f\npass\n", "1.2.txt:4: the case fills this gap twice"),
    ("=== right: x\nreturn 1\n", "1.2.txt:2: expected"),
])
def test_malformed_cases(tmp_path, text, message):
    (tmp_path / "1.2.txt").write_text(text)
    with pytest.raises(BankError) as caught:
        read_cases(tmp_path / "1.2.txt")
    assert str(caught.value).startswith(message)


def test_a_gap_that_does_not_exist():
    with pytest.raises(BankError) as caught:
        try_cases([one_case(False, (), "pass", backward="pass")], SEEDS[:1])
    assert str(caught.value) == "here:1: there is no gap named backward"


def test_the_command_needs_seeds():
    status, output = python(ROOT, "-m", "course.bank", "--seeds", "0")
    assert status == 2 and "argument --seeds: must be at least 1" in output


def test_cases_are_selected_by_task_and_words():
    cases = all_cases()
    assert select(cases, []) == cases
    assert select(cases, ["1.2"]) == [case for case in cases if case.task == "1.2"]
    by_words = select(cases, ["in Evaluation mode"])
    assert {case.task for case in by_words} >= {"1.1", "1.3", "3.2"}
    assert all("in evaluation mode" in case.title for case in by_words)
    assert select(cases, ["1.1", "in evaluation mode"]) == [case for case in by_words if case.task == "1.1"]


def test_the_command_runs_the_selected_cases():
    status, output = python(ROOT, "-m", "course.bank", "1.2", "divergence reversed", "--seeds", "1")
    assert (status, [line.split() for line in output.splitlines()[1:]]) == (0, [["1.2", "1", "1", "1", "0", "0"]])


@pytest.mark.parametrize("texts, message", [
    (["9.9"], f"bank: there are no cases of task 9.9; choose from {', '.join(WITH_TESTS)}\n"),
    (["1.2", "no such words"], "bank: no case matches '1.2' and 'no such words'\n")])
def test_the_command_refuses_to_select_nothing(texts, message):
    assert python(ROOT, "-m", "course.bank", *texts) == (2, message)


# Other things that the student tests encounter

@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize("line, words", [
    ("    def broken(:", "SyntaxError"), ("raise ValueError('at import')", "ValueError: at import"),
    ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
    ("raise SystemExit(0)", "SystemExit: 0")])
def test_a_module_that_cannot_be_imported_fails_its_own_task(project, path, line, words):
    task, file = FILES[path]
    (project / path).write_text((project / path).read_text() + line + "\n")
    number = len((project / path).read_text().splitlines())
    results, = run_tests(project, SEEDS[:1])
    for test, (of_task, said) in results.items():
        if test.startswith(file):
            assert said.startswith(f"Task {task}: {path}, line {number}: this file cannot be imported.\n"), said
            assert words in said and len(said.splitlines()) == 3, said
        elif of_task != task:
            assert not said, f"{test}, which is not of task {task}: {said}"
    assert {of_task for of_task, _ in results.values()} == {of_task for of_task, _ in FILES.values()}


@pytest.mark.parametrize("file", [file for _, file in FILES.values()])
def test_one_file_runs_alone_and_passes(project, file):
    status, output = python(project, "-m", file[:-3].replace("/", "."))
    assert status == 0 and " passed" in output and "failed" not in output, output


def test_a_failure_is_reported_in_words_and_can_be_repeated(tmp_path):
    """The report shows no code of the test; the same seed gives the same message, another seed another one."""
    build(tmp_path, {"VAELoss.forward": WRONG})
    status, output = python(tmp_path, "-m", "pytest", "tests/test_loss.py", "--seed", "5")
    assert status == 1
    assert "To repeat this run with the same random inputs, add: --seed 5" in output
    assert "Task 1.2: The loss with kl_loss_weight=3.0:" in output
    assert "This looks like a known mistake: the KL term lacks the 1 in its sum." in output
    assert "Traceback" not in output and "assert_close(" not in output and "support.py" not in output

    def numbers(text):
        return [line for line in text.splitlines() if line.startswith(("    expected: ", "    got: "))]

    assert numbers(output)
    assert numbers(python(tmp_path, "-m", "tests.test_loss", "--seed", "5")[1]) == numbers(output)
    assert numbers(python(tmp_path, "-m", "tests.test_loss")[1]) != numbers(output)
