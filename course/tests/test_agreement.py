"""What several places say must agree: tasks and points, gaps, densities, flags, files; and all commands must run."""
import os
import re
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from course.bank import read_cases
from course.bank.trial import modules_with_tests
from course.bank.unlisted import FAMILIES
from course.handout import TEACHER_ONLY, find_gaps
from course.tests.support import EXPLORER, ROOT, commit, copy_project, small_mnist, tracked_files, write_mnist
from course.tests.surroundings import EPOCHS, NEEDS, QUIET, RESULTS, SCRIPTS, TINY, TRAINERS, environments, names, taken
from course.tests.surroundings.flags import flags_of
from lib.densities import DENSITIES
from lib.utils import SCHEDULES
from tests.scoring.tasks import PUSHES, TASKS

PAGES = [name for name in tracked_files(ROOT) if name.endswith(".md")]
TEXT = {name: (ROOT / name).read_text(encoding="utf-8") for name in PAGES}
ASSIGNMENT, RUNNING, README = TEXT["docs/assignment.md"], TEXT["course/running.md"], TEXT["README.md"]
NUMBERED = [task for task in TASKS if not task.bonus]
BY_TESTS = [task for task in NUMBERED if task.graded_by == "tests"]
WRITTEN = [task for task in NUMBERED if task.graded_by != "tests"]
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
         "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty")


def table_rows(text, head):
    """Return the rows of the table whose head begins so, as lists of cells."""
    lines = text[text.index(head):].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


# Tasks and points

def test_the_assignments_table_has_the_tasks_and_points():
    rows = {row[0].split()[0].strip("*[]"): row[1] for row in table_rows(ASSIGNMENT, "| task | points |")}
    for task in NUMBERED:
        assert task.number in rows, f"add a row for task {task.number} to the table of docs/assignment.md"
        assert re.match(rf"{task.points}\b", rows[task.number]), (
            f"docs/assignment.md gives {rows[task.number]} points for task {task.number}, tests/scoring/tasks.py "
            f"{task.points}: make them equal")


@pytest.mark.parametrize("task", NUMBERED, ids=lambda task: task.number)
def test_each_task_has_a_section_in_the_assignment_with_its_points_a_goal_and_a_time(task):
    found = re.search(rf"^### Task {re.escape(task.number)}: [^\n]*\[(\d+) points?[^\n]*\]$(.*?)^#", ASSIGNMENT,
                      re.M | re.S)
    assert found, f"add a section '### Task {task.number}: ... [{task.points} points]' to docs/assignment.md"
    heading = f"## Exercise {task.number.split('.')[0]}: "
    assert f"\n{heading}" in ASSIGNMENT, f"add a heading '{heading}...' to docs/assignment.md"
    assert int(found[1]) == task.points, f"docs/assignment.md, task {task.number}: {found[1]} points, not {task.points}"
    assert re.search("goal", found[2], re.I) and re.search(r"\d+ minutes", found[2]), (
        f"docs/assignment.md, task {task.number}: give a learning goal and the minutes to plan")


def test_sums_of_points():
    whole, here, bonus = (sum(task.points for task in tasks) for tasks in (
        NUMBERED, BY_TESTS, [task for task in TASKS if task.bonus]))
    assert (whole, here, bonus) == (16, 11, 2), "the course publishes sums of 16, 11 and 2: change this line, too"
    assert f"the {whole} regular points" in ASSIGNMENT
    assert f"up to {whole} points, plus {bonus} bonus points" in RUNNING
    assert f"the autograder's points to {here}" in RUNNING
    bonuses = re.findall(r"^## .* \[(\d+) bonus point", ASSIGNMENT, re.M)
    assert len(bonuses) == len([task for task in TASKS if task.bonus]) and sum(map(int, bonuses)) == bonus
    assert f"at most {WORDS[PUSHES]} times" in ASSIGNMENT


@pytest.mark.parametrize("task", WRITTEN, ids=lambda task: task.number)
def test_each_written_task_has_an_answer_with_its_points(task):
    found = list((ROOT / "course" / "answers").glob(f"{task.number}_*.md"))
    assert len(found) == 1, f"write a model answer, course/answers/{task.number}_*.md"
    text = TEXT[found[0].relative_to(ROOT).as_posix()]
    assert f"## How to mark it ({task.points} points)" in text
    parts = [Fraction(row[0].replace("½", "0.5")) for row in table_rows(text, "| points | for |")]
    assert sum(parts) == task.points, f"{found[0].name}: the points of the parts add up to {float(sum(parts))}"
    rows = {row[0].split()[0]: row[1] for row in table_rows(RUNNING, "| task | points | answer |")}
    assert rows.get(task.number) == str(task.points), f"course/running.md: list the answer to task {task.number}"


# What a task needs

@pytest.mark.parametrize("task", BY_TESTS, ids=lambda task: task.number)
def test_each_task_has_gaps_tests_and_cases(task):
    gaps = [gap for gap in find_gaps(ROOT) if gap.task == task.number]
    assert gaps, f"mark the gaps of task {task.number} in {task.fill_in}"
    assert sorted({gap.path for gap in gaps}) == sorted(task.fill_in.split(", ")), (
        f"task {task.number}: fill_in in tests/scoring/tasks.py names other files than those with the gaps")
    files = [path.name for path in sorted((ROOT / "tests").glob("test_*.py"))
             if f'@task("{task.number}")' in path.read_text(encoding="utf-8")]
    assert files, f'write tests for task {task.number}, with @task("{task.number}"), in a file tests/test_*.py'
    for name in files:
        assert re.search(rf"^  {name} .*{re.escape(task.number)}$", README, re.M), (
            f"README.md: the tree must say that {name} has tests of task {task.number}")
        modules = [path for path, where in modules_with_tests().items() if where == (task.number, f"tests/{name}")]
        assert modules and modules[0] in task.fill_in, (
            f"tests/{name}: begin the docstring with 'Task {task.number}: ..., in MODULE', one of {task.fill_in}")
    bank = ROOT / "course" / "bank" / f"{task.number}.txt"
    assert bank.is_file(), f"write wrong and right cases for task {task.number} in course/bank/{task.number}.txt"
    assert {case.is_wrong for case in read_cases(bank)} == {True, False}, f"{bank.name}: wrong and right cases, please"
    assert re.search(rf"^{re.escape(task.number)} +\d+", RUNNING, re.M), (
        f"course/running.md: add task {task.number} to the table that python -m course.bank prints")


def test_each_gap_has_unlisted_mistakes():
    for gap in find_gaps(ROOT):
        assert gap.name in FAMILIES, (
            f"course/bank/unlisted.py: add mistakes in the gap {gap.name} of task {gap.task} to FAMILIES")
    number = sum(map(len, FAMILIES.values()))
    assert f" {number} families" in RUNNING, f"course/running.md: there are {number} families of unlisted mistakes"


def test_everything_belongs_to_a_task():
    numbers = {task.number for task in BY_TESTS}
    for path in sorted((ROOT / "tests").glob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        for before, name in re.findall(r"((?:^\S.*\n|^ .*\n)*)^def (test_\w+)", text, re.M):
            assert "@task(" in before, f"tests/{path.name}: mark {name} with @task"
        marked = set(re.findall(r'^@task\("(\S+)"\)', text, re.M))
        assert marked <= numbers, f"tests/scoring/tasks.py: add a row for task {min(marked - numbers)} of {path.name}"
    for path in sorted((ROOT / "course" / "bank").glob("*.txt")):
        assert path.stem in numbers, f"tests/scoring/tasks.py: add a row for task {path.stem} of {path.name}"


def test_the_banks_table_in_running():
    for task in BY_TESTS:
        cases = read_cases(ROOT / "course" / "bank" / f"{task.number}.txt")
        wrong = sum(case.is_wrong for case in cases)
        row = re.search(rf"^{re.escape(task.number)} +(\d+) +(\d+) +(\d+) +(\d+) +(\d+)$", RUNNING, re.M)
        assert row, f"course/running.md: add a row for task {task.number} to the table of python -m course.bank"
        assert list(map(int, row.groups())) == [wrong] * 3 + [len(cases) - wrong] * 2, (
            f"course/running.md: run python -m course.bank {task.number} and copy its row")


def test_number_of_gaps():
    gaps = find_gaps(ROOT)
    assert f"there are {WORDS[len(gaps)]}, most of them" in RUNNING, f"course/running.md: there are {len(gaps)} gaps"
    count = WORDS[len([gap for gap in gaps if gap.task == "2.2"])]
    assert f"This task has {count} gaps" in ASSIGNMENT


# What an exercise needs

@pytest.mark.parametrize("name", sorted(path.stem[4:-9] for path in ROOT.glob("run_*_training.py")))
def test_each_exercise_has_its_files(name):
    other = {"course/reference_vae.py": "course/reference.py",
             "course/tests/test_vae_scripts.py": "course/tests/test_scripts.py"}
    for path in (f"lib/model_{name}.py", f"lib/train_{name}.py", f"docs/results_{name}.md", f"benchmarks/{name}.py",
                 f"course/reference_{name}.py", f"course/tests/test_{name}_scripts.py"):
        assert (ROOT / other.get(path, path)).is_file(), f"add {path} (CONTRIBUTING.md, An exercise)"
    order = README[README.index("\n## Reading the code"):]
    for module in f"lib/model_{name}.py", f"lib/train_{name}.py":
        assert f"`{module}`" in order, f"README.md: add {module} to the order of reading"


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_script_is_in_the_tables_of_the_surroundings(script):
    if re.search("run_.*_training", script):
        assert script in TRAINERS, f"course/tests/surroundings/__init__.py: add {script} to TRAINERS"
        assert in_small(script) != script, f"course/tests/test_agreement.py: add {script} with small numbers to SMALL"
    tables = {"__init__": {"TINY": TINY, "QUIET": QUIET, "NEEDS": NEEDS, "RESULTS": RESULTS},
              "environments": {"REFUSES_NAMES": environments.REFUSES_NAMES, "FIGURES": environments.FIGURES},
              "names": {"TARGETS": {target.script for target in names.TARGETS}}}
    if script in TRAINERS:
        tables["__init__"]["EPOCHS"], tables["taken"] = EPOCHS, {"NAMES": taken.NAMES}
    for module, tables_of_module in tables.items():
        for table, scripts in tables_of_module.items():
            assert script in scripts, f"course/tests/surroundings/{module}.py: add {script} to {table}"


def test_teachers_commands_are_listed():
    """The reference runs, benchmarks and other commands of the teachers, in course/README.md."""
    text = TEXT["course/README.md"]
    for path in sorted((ROOT / "course").glob("*.py")):
        if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8"):
            assert f"| `python -m course.{path.stem}" in text, f"course/README.md: add a row for course.{path.stem}"
    for path in sorted((ROOT / "benchmarks").glob("[a-z]*.py")):
        assert "def add_flags(" in path.read_text(encoding="utf-8"), f"benchmarks/{path.name}: write add_flags(parser)"
        assert f"| `python -m benchmarks {path.stem}" in text, f"course/README.md: add a row for benchmarks {path.stem}"


# Densities, choices and flags

@pytest.mark.parametrize("place", ["README.md", "docs/assignment.md", "run_diffusion_training.py"])
def test_all_densities_are_named(place):
    text = (ROOT / place).read_text(encoding="utf-8")
    for name in DENSITIES:
        assert re.search(rf"\b{name}\b", text), f"{place}: name the density {name} of lib/densities.py"


def test_choices_of_the_help():
    flags = {action.option_strings[0]: action for action in flags_of("run_diffusion_training.py")}
    assert set(flags["--schedule"].choices) == set(SCHEDULES), "run_diffusion_training.py: the choices of --schedule"
    named = flags["--dataset"].help.split(", or the path")[0].split(", ")
    assert named == list(DENSITIES), "run_diffusion_training.py: the help of --dataset lists other densities"
    assert flags["--dataset"].default in DENSITIES


def test_all_flags_in_the_docs_exist():
    """Behind a script's name its own flags; elsewhere those of any command of the project, or of a known other one."""
    known = {script: {flag for action in flags_of(script) for flag in action.option_strings} | {"--help"}
             for script in (*SCRIPTS, EXPLORER)}
    others = {"--max-line-length", "--index-url", "--all", "--private", "--source", "--push", "--template",
              "--method", "--small", "--keep_runs", "--field", "--format", "--output", "--add-file", "--name",
              "--branch", "--update", "--fix", "--array", "--jobs", "--again", "--unconfined", "--task", "--teams",
              "--due", "--written", "--rm", "--network", "--memory", "--pids-limit", "--read-only", "--tmpfs",
              "--cap-drop", "--security-opt", "--user"}
    for name, text in TEXT.items():
        for line in text.splitlines():
            for script, rest in re.findall(r"python (\w+\.py)((?: [^|`&;]*)?)", line):
                for flag in re.findall(r"(?<![\w-])--[a-z][\w-]*", rest):
                    assert flag in known.get(script, ()), f"{name}: {script} has no flag {flag}"
            for flag in re.findall(r"(?<![\w-])--[a-z][\w-]*", line):
                assert flag in others.union(*known.values()), f"{name}: nothing has a flag {flag}"


# Imports

def imports_of(name, seen):
    """Collect the modules of lib that one of them imports at its top, directly or not."""
    text = (ROOT / "lib" / f"{name}.py").read_text(encoding="utf-8")
    for other in re.findall(r"^from lib\.(\w+) import", text, re.M):
        if other not in seen:
            seen.add(other)
            imports_of(other, seen)
    return seen


@pytest.mark.parametrize("name", ["densities", "distances", "draw_diffusion", "pictures", "optimize", "run"])
def test_what_any_model_can_use_imports_nothing_with_a_gap(name):
    with_gaps = {Path(gap.path).stem for gap in find_gaps(ROOT)}
    assert not with_gaps & imports_of(name, {name})


def test_lib_imports_neither_tests_nor_course():
    for path in (ROOT / "lib").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(from|import) (tests|course|benchmarks)\b", text, re.M), path


# Files

def test_readmes_tree_has_all_files():
    """Every file outside the teachers' folders, apart from package markers, hidden files and the README itself."""
    tree, folder = set(), ""
    for line in re.search(r"## Files\n+```\n(.*?)```", README, re.S)[1].splitlines():
        name = line.split()[0]
        if name == "#":
            continue
        folder = folder if line.startswith(" ") else ""
        if name.endswith("/") and not line.startswith(" "):
            folder = name
            tree |= {name} if len(line.split()) > 1 else set()
        else:
            tree.add(folder + name)
    wanted = {name for name in tracked_files(ROOT) if not name.startswith((*TEACHER_ONLY, ".", "docs/images/"))
              and not name.endswith("__init__.py") and name != "README.md"} | {
                  name for name in ("CONTRIBUTING.md",) if (ROOT / name).exists()}
    for name in sorted(wanted):
        whole = [part for part in tree if part.endswith("/") and name.startswith(part)]
        assert name in tree or whole, f"README.md: add {name} to the tree of files"
    for name in sorted(tree):
        assert (ROOT / name).exists(), f"README.md: the tree names {name}, which does not exist"


def test_each_script_is_in_readmes_table_of_commands():
    for script in (*SCRIPTS, EXPLORER):
        assert f"| `python {script}" in README, f"README.md: add {script} to the table of commands"
    for path in ROOT.glob("*.py"):
        if path.name != "conftest.py":
            assert path.name in (*SCRIPTS, EXPLORER), \
                f"course/tests/surroundings/__init__.py: add {path.name} to SCRIPTS"


def test_links_lead_somewhere():
    def anchor(heading):
        return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")

    for name, text in TEXT.items():
        for target, part in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", text):
            if re.match(r"\w+:", target) or not re.search(r"[./]", target + part):         # T(x) is no link
                continue
            path = (ROOT / name).parent / target if target else ROOT / name
            assert path.exists(), f"{name}: a link leads to {target}, which does not exist"
            if part:
                headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.M)
                assert part in map(anchor, headings), f"{name}: {target or name} has no heading for #{part}"


# Commands. Each page's blocks run in its order in a fresh clone, in small: by these substitutions and no others.

SMALL = [
    (r"run_vae_training\.py", r"run_vae_training.py --num_epochs 1 --hidden_size 8", "an epoch"),
    (r"plot_latent_space\.py", r"plot_latent_space.py --grid_size 3", "a few images"),
    (r"run_diffusion_training\.py", r"run_diffusion_training.py --epochs 1 --n_samples 500 --diffusion_steps 4 "
     r"--n_blocks 1 --n_units 8", "an epoch, a few points and timesteps"),
    (r"run_gan_training\.py", r"run_gan_training.py --num_epochs 1 --ngf 2 --ndf 2", "an epoch, small networks"),
    (r"python3? -m venv \S+ +&& \S*pip install -r requirements\.txt && \S*bin/python ", "python ", "this environment"),
    (r"^(python3 -m venv|source|(\S*/)?pip install) .*$", ":", "this environment"),
    (r"^(py -m venv .*|runtests\.bat)$", ":", "on Windows only"),
    (r"^bash \.ci/(run|check)$", ":", "runs all proofs, this one too"),
    (r"^gh .*$", ":", "needs an account on GitHub"),
    (r"git clone git@github\.com:ORGANISATION/team-01\.git( [^ #&]+)?", r"git clone ../deep-generative-models \1",
     "a handout instead of a team's copy"),
    (r"git clone \.\./deep-generative-models  &&", "git clone ../deep-generative-models team-01 &&", "its name"),
    (r"git switch -c dev", "git switch dev", "dev already exists"),
    (r'commit -m "New edition"', 'commit --allow-empty -m "New edition"', "the handout already has this edition"),
    (r"^python -m course\.marks ", r"printf 'submission,name,number\\nteam-01,Ada,1\\n' > teams.csv; \g<0>",
     "a team of one"),
    (r"^python -c .*Flowers102.*$", "mkdir -p data/flowers-102 && cp -r my_photos data/flowers-102/jpg", "no download"),
    (r"^(python -m (pip|ruff|mypy|pytest course/tests)|pre-commit)\b.*$", ":", "checked by .ci/run itself"),
]
COMMAND = re.compile(r"^(python3?|bash|git|gh|cd|py|source|pip|pycodestyle) ")


def blocks(text):
    """Yield the language and the lines of each block that holds commands or Python."""
    for language, block in re.findall(r"^ *```(\w*)\n(.*?)^ *```", text, re.S | re.M):
        if language == "python" or COMMAND.match(block.lstrip()):
            yield language, block


def in_small(line):
    for pattern, replacement, _ in SMALL:
        line = re.sub(pattern, replacement, line)
    return line


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """Make a repository as a team has it, with branches dev and update."""
    folder = tmp_path_factory.mktemp("origin")
    copy_project(folder / "project")
    commit(folder / "project")
    subprocess.check_call(["git", "branch", "--move", "main"], cwd=str(folder / "project"))
    for branch in "dev", "update":
        subprocess.check_call(["git", "branch", branch], cwd=str(folder / "project"))
    return folder / "project"


@pytest.mark.parametrize("page", [name for name in PAGES if list(blocks(TEXT[name]))])
def test_all_commands_in_code_blocks_run(page, origin, tmp_path):
    clone = tmp_path / "clone"                      # of a repository of its own, to which the commands can push
    subprocess.check_call(["git", "clone", "--quiet", "--bare", str(origin), str(tmp_path / "origin")])
    subprocess.check_call(["git", "clone", "--quiet", "--branch", "main", str(tmp_path / "origin"), str(clone)])
    subprocess.check_call(["git", "switch", "--quiet", "dev"], cwd=str(clone))
    write_mnist(clone / "data", small_mnist())
    shutil.copytree(str(ROOT / "dataset_flowers_64px" / "train" / "daisy"), str(clone / "my_photos"))
    environment = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
                   "PYTHONPATH": "", "MPLBACKEND": "Agg", "GIT_AUTHOR_NAME": "n", "GIT_AUTHOR_EMAIL": "e",
                   "GIT_COMMITTER_NAME": "n", "GIT_COMMITTER_EMAIL": "e"}
    environment.pop("VIRTUAL_ENV", None)
    for number, (language, block) in enumerate(blocks(TEXT[page])):
        (clone / f"note{number}.txt").write_text("a change to commit", encoding="utf-8")
        if language == "python":
            command = [sys.executable, "-c", block]
        else:
            command = ["bash", "-e", "-c", "\n".join(map(in_small, block.splitlines()))]
        done = subprocess.run(command, cwd=str(clone), env=environment, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, f"{page}:\n{command[-1]}\n{done.stdout.decode(errors='replace')[-3000:]}"
