"""Reading the gaps of submissions side by side: python -m course.read_gaps"""
import os
import re
import shutil
import subprocess
import sys
import textwrap

import pytest

from course import handout
from course.read_gaps import (
    CHECKED,
    LARGEST,
    LISTED,
    WIDTH,
    gap_files,
    listing,
    read_code,
    read_submission,
    shared,
)
from course.tests.support import NUMBERS, ROOT, change, contents
from tests.scoring.edits import HANDED_OUT, gap_lines, split_lines

FILES = gap_files(ROOT)
GIVEN = {handout.handout_path(name) for name in handout.student_files(ROOT)}
LOSS = ("1.2", "lib/loss_vae.py", "VAELoss.forward")
KL = "kl = -0.5 * torch.sum(1 + logvar - mu ** 2 - torch.exp(logvar))"
RETURN = "return reconstruction + self.kl_loss_weight * kl"
INDENT = " " * 8


@pytest.fixture(scope="module")
def handed_in(tmp_path_factory):
    """A submission with every gap filled, without what is not read. Copy it; do not change it."""
    folder = tmp_path_factory.mktemp("handed_in") / "team"
    handout.write(ROOT, folder, keep=NUMBERS)
    for name in ("dataset_flowers_64px", "docs"):
        shutil.rmtree(str(folder / name))
    return folder


@pytest.fixture
def teams(handed_in, tmp_path):
    """Return a function that makes a submission, with this code in the gap of the loss."""
    def make(name, code=None):
        shutil.copytree(str(handed_in), str(tmp_path / name))
        if code is not None:
            fill_loss(tmp_path / name, code)
        return tmp_path / name

    return make


def fill_loss(folder, code):
    path = folder / LOSS[1]
    lines = split_lines(path.read_bytes().decode())
    (_, first, end), = gap_lines("\n".join(lines))
    lines[first:end] = code.split("\n")
    path.write_bytes("\n".join(lines).encode())


def run(*arguments, cwd=ROOT):
    return subprocess.run([sys.executable, "-m", "course.read_gaps", *map(str, arguments)], cwd=str(cwd),
                          env=dict(os.environ, PYTHONPATH=str(ROOT)), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True)


def read(*folders):
    return [read_submission(folder.name, folder, FILES, GIVEN) for folder in folders]


def section(lines, title):
    """Return the lines below a title."""
    text = "\n".join(lines)
    assert f"== {title}" in text, text
    return text.split(f"== {title}", 1)[1].split("\n== ", 1)[0]


def loss_of(*folders):
    return section(listing(read(*folders), FILES), "1.2 VAELoss.forward")


def test_the_command(teams, tmp_path):
    """All gaps in the order of the tasks, archives too; the submissions are not changed, imported or run."""
    one = teams("team-01")
    change(one, LOSS[1], KL, f"open('ran', 'w')\n{INDENT}{KL}")
    (one / "lib" / "mine.py").write_text("import os\n\nopen('ran', 'w')\n")
    two = shutil.make_archive(str(tmp_path / "team-02"), "zip", str(teams("two")))
    (tmp_path / "team-03").mkdir()
    before = contents(one)
    done = run(one, two, tmp_path / "team-03", cwd=tmp_path)
    assert done.returncode == 1 and done.stderr == "read_gaps: team-03 cannot be read: an empty folder\n", done.stderr
    assert contents(one) == before and not (tmp_path / "ran").exists()
    titles = re.findall(r"^== (.*)", done.stdout, re.MULTILINE)
    assert len(titles) == 17 and titles[:15] == sorted(titles[:15], key=lambda title: title[:3]), titles
    assert titles[15:] == ["lib/mine.py (new)", "Pairs of submissions that share unusual code"]
    lines = done.stdout.splitlines()
    assert "2: team-01, team-02.zip" in section(lines, "1.1 VAE.encode")
    assert "1: team-01\n" in section(lines, "1.2 VAELoss.forward") and "! file   |" in section(lines, "1.2")
    assert "! system | import os\n! file   | open(" in section(lines, "lib/mine.py (new)")

    done = run("--task", "1.2", one, two)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.findall(r"^== (\S+)", done.stdout, re.MULTILINE) == ["1.2", "Pairs"]


@pytest.mark.parametrize("arguments, words", [
    ([], "SUBMISSION"), (["--task", "1.4", "x"], "invalid choice"), (["--task", "9", "x"], "invalid choice")])
def test_bad_commands(arguments, words):
    done = run(*arguments)
    assert done.returncode == 2 and words in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_a_correct_submission_has_no_marks(teams):
    assert not [code for submission in read(teams("team")) for code in submission.gaps.values()
                if [mark for mark, _ in code.lines if mark]]


@pytest.mark.parametrize("code, note", [
    (f"{INDENT}# ours\n\n{INDENT}a  =  ( mu\n{INDENT}     )\n{INDENT}return a   # done", "2: one, two\n"),
    (f"{INDENT}ours = mu\n{INDENT}return ours", "2: one; the same with other names or notation: two\n"),
    (f"{INDENT}kl = mu\n{INDENT}return (kl)", "2: one; the same with other names or notation: two\n"),
    (f"{INDENT}mu = mu\n{INDENT}return mu", "1: one\n"),           # mu is a name of the handout
    (f"{INDENT}a = mu\n{INDENT}return 'a'", "1: one\n"),
    (f"{INDENT}a = mu\n{INDENT}b = a\n{INDENT}return a", "1: one\n"),
    (f"{INDENT}a = mu\n{INDENT}return exec", "1: one\n"),
    (f"{INDENT}a = logvar\n{INDENT}return a", "1: one\n"),
    (f"{INDENT}a = mu\n{INDENT}return a)", "1: one\n")])
def test_groups(teams, code, note):
    text = loss_of(teams("one", f"{INDENT}a = (mu)\n{INDENT}return a"), teams("two", code))
    assert note in text, text
    assert text.count("\n2: ") + text.count("\n1: ") == (1 if note.startswith("2") else 2)


@pytest.mark.parametrize("codes", [("a, b = mu, logvar\nreturn a - b", "b, a = mu, logvar\nreturn a - b"),
                                   ("x = 1\nreturn x", "mu = 1\nreturn mu"),     # names of the handout
                                   ("a = 1\nreturn 'a'", "b = 1\nreturn 'a'")])
def test_code_that_only_looks_the_same(teams, codes):
    folders = [teams(str(number), textwrap.indent(code, INDENT)) for number, code in enumerate(codes)]
    assert "2: " not in loss_of(*folders)


@pytest.mark.parametrize("line, mark", [
    ("import pytest", "tests"), ("from unittest import mock", "tests"), ("import sys", "system"),
    ("from os import path as p", "system"), ("torch.os.getcwd()", "system"), ("builtins.abs(1)", "system"),
    ("__builtins__['abs']", "system"), ("import multiprocessing as m, math", "system"),
    ("f = x._getframe(1)", "frames"), ("f.f_back.f_locals", "frames"), ("error.tb_frame", "frames"),
    ("globals()['x'] = 1", "frames"), ("f.__globals__", "dunder"), ("f.__closure__", "dunder"),
    ("object.__subclasses__()", "dunder"), ("open('x')", "file"), ("a = Path('x').read_text()", "file"),
    ("torch.load('x')", "file"), ("np.load('x')", "file"), ("exec('1')", "exec"), ("eval('1')", "exec"),
    ("compile('1', '', 'eval')", "exec"), ("__import__('x')", "dunder"), ("getattr(torch, 'lo' + 'ad')", "exec"),
    ("\uff45xec('1')", "exec"), ("torch.exp = abs", "patch"), ("nn.Linear.forward = abs", "patch"),
    ("F.mse_loss, a = 1, 2", "patch"), ("t = torch; t.exp = abs", "patch"), ("self.a.b += 1", "patch"),
    ("del np.load_", "patch"), ("raise SystemExit", "exit"), ("raise BaseException", "exit"), ("exit()", "exit"),
    ("a = 1  \u202e", "hidden"), ("a = 1\x1b[2J", "hidden"), ("a = 1" + " " * 200 + "; b = 2", "long"),
    ("self.eval()", ""), ("torch.compile(a)", ""), ("self.a = 1", ""), ("a[0] = torch.exp(mu)", ""),
    ("closed = position = 1", ""), ("# import os, sys; open files", ""), ("a = 1  # import os", ""),
    ("super().__init__()", ""), ("model.reopen(a.cost)", "")])
def test_marks(line, mark):
    lines = ["def f(self):", "    pass", "    " + line, ""]
    assert [found for found, _ in read_code(lines, 1, 3, 4).lines] == ["", mark]


@pytest.mark.parametrize("lines, marks", [
    (["    try:", "        pass", "    except:", "        pass"], ["", "", "exit", ""]),
    (["    try:", "        pass", "    except (ValueError, BaseException):", "        pass"], ["", "", "exit", ""]),
    (["    pass", "", "a = 1", "# a comment", "def g():", "    pass"], ["", "indent", "", "indent", ""]),
    (["    a = [", "        torch.exp = 1]", "    import os"], ["", "", "system"]),     # not valid Python
    (['    a = """', "    # import os", '    """'], ["", "system", ""])])               # a string, not a comment
def test_marks_of_several_lines(lines, marks):
    assert [mark for mark, _ in read_code(["def f():", *lines], 1, 1 + len(lines), 4).lines] == marks


def test_gaps_without_a_solution_are_only_counted(teams, tmp_path):
    """Unfilled or empty gaps, and files or markers that are missing."""
    raises = INDENT + 'raise NotImplementedError("Task 1.2 is not filled in yet")'
    folders = [teams("a", raises), teams("b", f"{INDENT}# nothing\n"), teams("c"), teams("d"), teams("e")]
    (folders[2] / LOSS[1]).unlink()
    change(folders[3], LOSS[1], "# END TODO 1.2", "# END")
    text = loss_of(*folders)
    assert "not filled in: 2 of 5\n   file or markers missing: c, d\n\n1: e\n" in text and "NotImpl" not in text, text
    others = read(folders[3])[0].others
    code, = others.values()
    assert list(others) == ["lib/loss_vae.py, lines that were changed outside the gaps"]
    assert KL in [line.strip() for _, line in code.lines] and not [line for _, line in code.lines if "class " in line]


def test_code_outside_the_gaps(teams):
    """Grading copies a file with edits outside its gaps as a whole, so they are shown."""
    team = teams("team")
    change(team, "lib/model_vae.py", "import torch\n", "import torch, os\n")
    text = section(listing(read(team), FILES), "lib/model_vae.py, lines that were changed outside the gaps")
    assert text.endswith("1: team\n! system | import torch, os\n"), text
    pack(team)                      # as if that line had been given in an earlier edition
    assert not read(team)[0].others
    change(team, "lib/model_vae.py", "# END TODO 1.1", "# END")
    pack(team)                      # but a file without its markers counts as a whole, whatever handout.zip says
    assert read(team)[0].others


def pack(folder):
    """Write a tests/handout.zip that says that the folder was handed out as it is."""
    files = {name: data for name, data in contents(folder).items() if name != HANDED_OUT}
    (folder / HANDED_OUT).write_bytes(handout._pack(files))


def test_new_modules(teams):
    one, two = teams("one"), teams("two")
    for folder in (one, two):
        (folder / "lib" / "more").mkdir()
        (folder / "lib" / "more" / "m\x1b[2J.py").write_text("x = 1\n")
    for number in range(30):
        (two / "lib" / f"a{number}.py").write_text("")
    lines = list(listing(read(one, two), FILES))
    assert "2: one, two" not in section(lines, "lib/more/m.py (new)") and "more new modules in lib of two" in str(lines)
    assert "1: one\n         | x = 1\n" in section(lines, "lib/more/m.py (new)")


def test_long_code_is_cut(teams):
    """But lines with marks are shown wherever they are."""
    lines = [f"{INDENT}a = {number}" for number in range(3 * CHECKED)]
    lines[LISTED + 5] = f"{INDENT}import os"
    lines[7] = f"{INDENT}a = '{'x' * 1000}'"
    text = loss_of(teams("team", "\n".join(lines)))
    assert f"a = {LISTED - 1}\n" in text and f"a = {LISTED}\n" not in text and len(text.splitlines()) == LISTED + 6
    assert f"! system | {INDENT}import os\n" in text and f"lines after {CHECKED} are not checked" in text
    assert f"of {3 * CHECKED - LISTED} more lines" in text and f"{3 * CHECKED - LISTED - 1} more lines;" in text
    assert max(map(len, text.splitlines())) == WIDTH and "xxx..." in text


@pytest.mark.parametrize("line", ["a = " + "1+" * (LARGEST // 2 - 20) + "1", "a = " + "(" * 5000 + ")" * 5000,
                                  "a = " + "-" * 9000 + "1", "a = b" + ".c" * 9000, "a = b" + "[0]" * 6000,
                                  "a = 1" + " if a else 1" * 1500, "a = '" + "x" * 900000 + "'", "a = \0", "a = '''"])
def test_code_that_is_hard_to_parse(teams, line):
    text = loss_of(teams("team", INDENT + line))
    assert "1: team\n" in text and max(map(len, text.splitlines())) <= WIDTH


def test_pairs(teams):
    """Long code that two of many submissions share. Short code, and code that many share, do not count."""
    places = [("1.2", "lib/loss_vae.py", "VAELoss.forward")]
    long = "\n".join(f"{INDENT}a{number} = mu * {number} + logvar" for number in range(12))
    renamed = re.sub(r"\ba(\d)", r"mine\1", long)
    folders = [teams("a", long), teams("b", renamed), teams("c", long.replace("11", "13")), teams("d"), teams("e")]
    submissions = read(*folders)
    assert dict(shared(submissions, places)) == {("a", "b"): ["1.2 VAELoss.forward"]}
    three = [submissions[0], submissions[1], submissions[0]._replace(name="f")]
    assert not shared(three, places)
    assert len(shared(three + [submissions[3]._replace(name=str(number)) for number in range(27)], places)) == 3
    text = section(listing(submissions, FILES), "Pairs")
    assert text.count("\n1: a and b: 1.2 VAELoss.forward") == 1 and "d and e: 1.1" not in text.split("1.2")[0], text
    assert "proves nothing" in text
