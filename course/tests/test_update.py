"""A new edition of the handout, in a folder in which a student has begun to work."""
import os
import shutil
import subprocess
import sys
import zipfile

import pytest

from course import handout
from course.tests.support import change, commit, contents, copy_project
from tests.scoring.edits import HANDED_OUT, find_edits, handed_out

LOSS = "lib/loss_vae.py"
MINE = "        # in progress: (\n        kl = \u00fc(\n\n        return ("  # no Python yet, and it need not be
UNFILLED = '        raise NotImplementedError("Task 1.2 is not filled in yet")\n'


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project without its pictures, as a checkout of its own. Copy it; do not change it."""
    folder = tmp_path_factory.mktemp("project") / "project"
    copy_project(folder, but=(".jpg", ".png", ".pt"))
    commit(folder)
    return folder


@pytest.fixture
def new(project, tmp_path):
    """The project, to be corrected."""
    shutil.copytree(str(project), str(tmp_path / "new"))
    return tmp_path / "new"


@pytest.fixture
def work(project, tmp_path):
    """A handout in which task 1.1 is filled in and task 1.2 is begun."""
    handout.write(project, tmp_path / "work")
    filled = handout.edition(project, keep=["1.1"])["lib/model_vae.py"][1]
    (tmp_path / "work" / "lib" / "model_vae.py").write_bytes(filled)
    change(tmp_path / "work", LOSS, UNFILLED, MINE + "\n")
    return tmp_path / "work"


def run_update(project, folder, **options):
    return subprocess.run([sys.executable, "-m", "course.handout", "--update", str(folder)], cwd=str(project),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True,
                          env=dict(os.environ, PYTHONIOENCODING="utf-8"), **options)


def test_the_same_edition_changes_nothing(project, work):
    before = contents(work)
    done = run_update(project, work)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout == f"0 files changed in {work}; the gaps are as they were\n"
    assert contents(work) == before


def test_corrections_come_and_the_work_stays(new, work):
    change(new, "docs/assignment.md", "# Assignment", "# The assignment")
    change(new, "tests/test_loss.py", '"""Task 1.2', '"""The task 1.2')
    change(new, LOSS, "A scalar, in nats", "One number, in nats")
    change(new, LOSS, "over all latents and images.", "over all latents and all images.")
    change(new, "lib/model_vae.py", "import torch\n", "import math\nimport torch\n")
    change(new, "lib/explore_latent_space.py", "# START TODO 1.3 ########################\n",
           "# START TODO 1.3 ########################\n    # Take care.\n")
    (new / "lib" / "brand_new.py").write_text("")
    (new / "lib" / "monitor_gan.py").unlink()
    subprocess.check_call(["git", "add", "--all"], cwd=str(new))
    (work / "feedback.md").write_text("mine")
    (work / "submission.pdf").write_text("mine")
    (work / "results_kl1.0").mkdir()
    (work / "results_kl1.0" / "checkpoint.pt").write_text("mine")
    before = contents(work)

    done = run_update(new, work)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout.splitlines() == [
        "docs/assignment.md is brought up to date", "lib/brand_new.py is new",
        "lib/explore_latent_space.py is brought up to date", "lib/loss_vae.py is brought up to date",
        "lib/model_vae.py is brought up to date", "tests/test_loss.py is brought up to date",
        "lib/monitor_gan.py is removed", f"7 files changed in {work}; the gaps are as they were"]
    after, edition = contents(work), {name: data for name, (_, data) in handout.edition(new).items()}
    mine = {"feedback.md", "submission.pdf", "results_kl1.0/checkpoint.pt"}
    assert set(after) == set(edition) | mine
    for name, data in after.items():
        if name in mine:
            assert data == before[name], name
        elif name == LOSS:
            old = handout.edition(new)[LOSS][1].decode()
            words = old[old.index("        # Compute the binary"):old.index(UNFILLED)]
            mine_words = words.replace("all images.", "images.")
            assert data.decode() == old.replace(words + UNFILLED, mine_words + MINE + "\n")
        elif name == "lib/model_vae.py":
            assert data == handout.edition(new, keep=["1.1"])[name][1]
        else:
            assert data == edition[name], name
    assert find_edits(work, handed_out(work)) == []
    assert run_update(new, work).stdout.startswith("0 files changed")


def test_given_code_that_was_changed_is_kept(new, work):
    """Beside the new one; in files with gaps, whose code may need it, in its place."""
    change(new, "tests/test_loss.py", '"""Task 1.2', '"""The task 1.2')
    change(new, LOSS, "A scalar, in nats", "One number, in nats")
    (new / "lib" / "monitor_gan.py").unlink()
    subprocess.check_call(["git", "add", "--all"], cwd=str(new))
    change(work, "tests/test_loss.py", "import pytest", "import pytest  # mine")
    change(work, LOSS, "import torch\n", "import torch\nimport math\n")
    change(work, "lib/model_vae.py", "import torch\n", "import torch\nimport math\n")
    change(work, "lib/monitor_gan.py", "import", "import  ")
    (work / "tests" / "test_loss.py.mine").write_text("from an earlier update")
    (work / "README.md").write_text("my own")
    before = contents(work)
    done = run_update(new, work)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "lib/loss_vae.py is as it was, for it was changed outside its gaps; the new one is lib/loss_vae.py.new",
        "tests/test_loss.py is brought up to date; it had been changed, and is kept as test_loss.py.mine1",
        f"2 files changed in {work}; the gaps are as they were"]
    after = contents(work)
    assert after.pop("tests/test_loss.py.mine1") == before["tests/test_loss.py"]
    assert after.pop("lib/loss_vae.py.new") == handout.edition(new)[LOSS][1]
    assert after.pop("tests/test_loss.py") == (new / "tests" / "test_loss.py").read_bytes()
    assert {**before, **after, HANDED_OUT: b""} == {**before, HANDED_OUT: b""}, "all else stays"


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no such permission")
def test_a_script_stays_executable(new, work):
    (new / "runtests.sh").write_bytes((new / "runtests.sh").read_bytes() + b"\n")
    assert "runtests.sh is brought up to date" in run_update(new, work).stdout
    assert os.access(str(work / "runtests.sh"), os.X_OK)


def test_line_ends_of_windows_are_no_change(new, work):
    change(new, "lib/model_vae.py", "import torch\n", "import math\nimport torch\n")
    change(work, LOSS, MINE, MINE + "\u2028 \x0c")
    for name in ("lib/model_vae.py", LOSS, "docs/assignment.md", "tests/test_vae.py"):
        (work / name).write_bytes((work / name).read_bytes().replace(b"\n", b"\r\n"))
    done = run_update(new, work)
    assert done.stdout.splitlines()[:-1] == ["lib/model_vae.py is brought up to date"]
    assert (work / "lib" / "model_vae.py").read_bytes() == handout.edition(new, keep=["1.1"])["lib/model_vae.py"][1]


@pytest.mark.parametrize("old, new_text", [
    ("        # END TODO 1.2 ########################\n", ""), ("# START TODO 1.2", "# START TODO 1.3"),
    ("    def forward", "    def backward")])
def test_gaps_that_cannot_be_found_are_left_alone(new, work, old, new_text):
    change(new, LOSS, "A scalar, in nats", "One number, in nats")
    change(work, LOSS, old, new_text)
    before = (work / LOSS).read_bytes()
    done = run_update(new, work)
    assert done.returncode == 0 and f"{LOSS} is as it was" in done.stdout
    assert (work / LOSS).read_bytes() == before
    assert (work / f"{LOSS}.new").read_bytes() == handout.edition(new)[LOSS][1]


def test_gaps_that_moved_are_found():
    def source(*functions):
        return "".join(f"def {name}():\n    # START TODO {task} ##\n    # {words}\n    {code}\n"
                       f"    # END TODO {task} ##\n" for name, task, words, code in functions)

    empty = 'raise NotImplementedError("Task {} is not filled in yet")'
    new = source(("g", "1.1", "new words", empty.format("1.1")), ("f", "1.1", "new words", empty.format("1.1")),
                 ("h", "1.2", "new words", empty.format("1.2")))
    mine = source(("f", "1.1", "old words", "return 1"), ("g", "1.1", "old words", "return 2"),
                  ("h", "1.2", "old words", empty.format("1.2")))
    old = source(("f", "1.1", "old words", empty.format("1.1")), ("g", "1.1", "old words", empty.format("1.1")),
                 ("h", "1.2", "old words", empty.format("1.2")))
    assert handout.fill(new, mine, old) == source(
        ("g", "1.1", "old words", "return 2"), ("f", "1.1", "old words", "return 1"),
        ("h", "1.2", "new words", empty.format("1.2")))
    assert handout.fill(source(("f", "1.1", "", empty.format("1.1"))), mine, old) is None
    begun = mine.replace("    return 1\n", "    x = 1\n\n    " + empty.format("1.1") + "\n")  # the raise still there
    assert "    x = 1\n\n    raise" in handout.fill(new, begun, old)


def test_a_stopped_update_is_repeated(new, work):
    """The disk is full after some files: each of them is old or new, and a second time ends it."""
    resource = pytest.importorskip("resource")
    for name in ("tests/test_vae.py", "tests/test_loss.py", "docs/kl_divergence.md", LOSS):
        (new / name).write_bytes((new / name).read_bytes() + b"\n")
    (new / "docs" / "assignment.md").write_bytes((new / "docs" / "assignment.md").read_bytes() + b"x" * 300000)
    before = contents(work)
    done = run_update(new, work, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200000, 200000)))
    assert done.returncode == 1 and done.stderr.startswith("handout: ") and done.stderr.count("\n") == 1, done.stderr
    assert set(contents(work)) == set(before)
    done = run_update(new, work)
    assert done.returncode == 0 and not [name for name in contents(work) if name.endswith((".mine", ".new", ".part"))]
    assert MINE.encode() in (work / LOSS).read_bytes()
    assert contents(work)[HANDED_OUT] == handout.edition(new)[HANDED_OUT][1]


@pytest.mark.parametrize("prepare", ["nothing", "no handout", "damaged", "no sums"])
def test_a_folder_without_a_handout(project, tmp_path, prepare):
    folder = tmp_path / "folder"
    if prepare != "nothing":
        (folder / "tests").mkdir(parents=True)
    if prepare == "damaged":
        (folder / "tests" / "handout.zip").write_bytes(b"PK")
    if prepare == "no sums":
        with zipfile.ZipFile(str(folder / "tests" / "handout.zip"), "w") as file:
            file.writestr("lib/x.py", "")
    done = run_update(project, folder)
    assert done.returncode == 2 and done.stderr == (
        f"handout: {folder} holds no handout: there is no tests/handout.zip in it that can be read\n")
