"""Settings that a student's code changes for the whole process do not affect the tests of other tasks."""
import re
import subprocess
import sys
import tempfile
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from course import handout
from course.bank.trial import build, run_tests
from course.tests.support import ROOT

# A line of code, and an expression that must have the same value before and after a call with this line
LINES = [
    ("torch.set_default_dtype(torch.float64)", "torch.ones(1).dtype"),
    ("torch.set_default_tensor_type(torch.DoubleTensor)", "torch.ones(1).dtype"),
    ("torch.set_default_device('meta')", "torch.ones(1).device"),
    ("torch.set_num_threads(torch.get_num_threads() + 1)", "torch.get_num_threads()"),
    ("torch.set_grad_enabled(False)", "(torch.ones(1, requires_grad=True) * 1).requires_grad"),
    ("torch.autograd.set_detect_anomaly(True)", "torch.is_anomaly_enabled()"),
    ("torch.use_deterministic_algorithms(True)", "torch.are_deterministic_algorithms_enabled()"),
    ("torch.set_float32_matmul_precision('medium')", "torch.get_float32_matmul_precision()"),
    ("torch.set_autocast_enabled('cpu', True)", "(torch.ones(1, 1) @ torch.ones(1, 1)).dtype"),
    ("np.seterr(all='raise')", "np.geterr()"),
    ("np.seterrcall(print)", "np.geterrcall()"),
    ("np.set_printoptions(precision=1, threshold=2)", "str(np.array([0.123456, 1, 2]))"),
    ("warnings.simplefilter('error')", "warnings.filters[:]"),
    ("warnings.filterwarnings('error', category=UserWarning)", "warnings.filters[:]"),
    ("warnings.showwarning = print", "warnings.showwarning"),
    ("os.chdir(tempfile.gettempdir())", "os.getcwd()"),
    ("folder = tempfile.mkdtemp(); os.chdir(folder); os.rmdir(folder)", "os.getcwd()"),
    ("os.environ['OMP_NUM_THREADS'] = '2'; os.environ.pop('PATH')", "dict(os.environ)"),
    ("sys.path.insert(0, tempfile.gettempdir())", "sys.path[:]"),
    ("sys.setrecursionlimit(400)", "sys.getrecursionlimit()"),
    ("sys.stdout = open(os.devnull, 'w')", "sys.stdout"),
    ("sys.excepthook = print", "sys.excepthook"),
    ("signal.alarm(2)", "signal.getitimer(signal.ITIMER_REAL)[0] > 0"),
    ("signal.signal(signal.SIGINT, signal.SIG_IGN)", "signal.getsignal(signal.SIGINT)"),
]
IMPORTS = "import os, signal, sys, tempfile, warnings\nimport numpy as np\nimport torch\n"
WITH_GAPS = sorted({gap.path for gap in handout.find_gaps(ROOT)})


def test_each_setting_is_restored():
    script = IMPORTS + textwrap.dedent(f"""
        from tests.scoring.state import restored
        for line, expression in {LINES!r}:
            before = eval(expression)
            with restored():
                exec(line)
                after = repr(eval(expression)) if expression != "os.getcwd()" else ""
            assert after != repr(before), f"{{line}} changes nothing"
            assert eval(expression) == before, f"{{line}} is not restored"
    """)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], cwd=str(ROOT), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, universal_newlines=True)
    assert done.returncode == 0, done.stdout


def with_lines(folder, path, place):
    """Write the project to a folder with all lines at the module level of a file, or in each of its gaps."""
    mine = folder.parent / "mine.py"
    mine.write_text(f"{IMPORTS}for line in {[line for line, _ in LINES]!r}:\n    try:\n        exec(line)\n"
                    f"    except Exception:\n        pass\nopen({str(folder / 'ran')!r}, 'w').close()\n")
    run_mine = f"__import__('runpy').run_path({str(mine)!r})"
    code = {}
    for gap in handout.find_gaps(ROOT):
        if gap.path == path and place == "gap":
            solution = "\n".join(gap.region.splitlines()[1:-1])
            code[gap.name] = f"{run_mine}\n{textwrap.dedent(solution)}"
    build(folder, code)
    if place == "module":
        text = (folder / path).read_text(encoding="utf-8")
        (folder / path).write_text(re.sub(r"(?m)^(import|from) ", rf"{run_mine}\n\1 ", text, count=1), encoding="utf-8")


def failures_of_other_tasks(path, place):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve() / "project"
        folder.mkdir()
        with_lines(folder, path, place)
        results, = run_tests(folder, [1])
        own = {gap.task for gap in handout.find_gaps(ROOT) if gap.path == path}
        failures = [f"{test}: {said}" for test, (task, said) in results.items() if said and task not in own]
        if not results or not (folder / "ran").exists():
            failures.append("the tests did not finish, or the lines did not run")
        return [f"lines in {path}, {place}: {failure}" for failure in failures]


@pytest.mark.skipif(sys.platform == "win32", reason="needs the fork server to be fast enough")
def test_other_tasks_keep_their_points():
    """Run all lines at once, for each file with a gap, at its module level and in its gaps."""
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda case: failures_of_other_tasks(*case),
                              [(path, place) for path in WITH_GAPS for place in ("module", "gap")]))
    assert sum(found, []) == []
