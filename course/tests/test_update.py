"""Updating a handout that a student has already started on to a new edition."""
import os
import shutil
import subprocess
import sys
import zipfile

import pytest

from course import handout
from course.tests.support import NUMBERS, ROOT, TODAYS_EDITION, change, commit, contents, copy_project
from tests.scoring.edition import CHANGELOG
from tests.scoring.edits import HANDED_OUT, find_edits, handed_out

LOSS = "lib/loss_vae.py"
MINE = "        # in progress: (\n        kl = \u00fc(\n\n        return ("  # not valid Python, and it need not be
LAST_OF_EDITION_1 = "addc31d18615672e3d4780719d7c2e2a8cbd26c2"
TODAY = TODAYS_EDITION.number
UNFILLED = '        raise NotImplementedError("Task 1.2 is not filled in yet")\n'


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A git checkout of the project without its images. Copy it; do not change it."""
    folder = tmp_path_factory.mktemp("project") / "project"
    copy_project(folder, but=(".jpg", ".png", ".pt"))
    commit(folder)
    return folder


@pytest.fixture
def new(project, tmp_path):
    """A copy of the project, for changes."""
    shutil.copytree(str(project), str(tmp_path / "new"))
    return tmp_path / "new"


@pytest.fixture
def work(project, tmp_path):
    """A handout in which task 1.1 is filled in and task 1.2 is started."""
    handout.write(project, tmp_path / "work")
    filled = handout.build(project, keep=["1.1"])["lib/model_vae.py"][1]
    (tmp_path / "work" / "lib" / "model_vae.py").write_bytes(filled)
    change(tmp_path / "work", LOSS, UNFILLED, MINE + "\n")
    return tmp_path / "work"


def summary(count, folder, editions=f"which already has edition {TODAY}"):
    return f"{count} files changed in {folder}, {editions}; the contents of the gaps are kept"


def run_update(project, *folders, **options):
    return subprocess.run([sys.executable, "-m", "course.handout", "--update", *map(str, folders)], cwd=str(project),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True,
                          env=dict(os.environ, PYTHONIOENCODING="utf-8"), **options)


def test_the_same_edition_changes_nothing(project, work):
    before = contents(work)
    done = run_update(project, work)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout == summary(0, work) + "\n"
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
        "docs/assignment.md is updated", "lib/brand_new.py is new",
        "lib/explore_latent_space.py is updated",
        "lib/loss_vae.py is updated; instructions in a gap of forward have changed: read them in lib/loss_vae.py.new",
        "lib/model_vae.py is updated", "tests/test_loss.py is updated",
        "lib/monitor_gan.py is removed", summary(7, work)]
    after, edition = contents(work), {name: data for name, (_, data) in handout.build(new).items()}
    assert after.pop("lib/loss_vae.py.new") == edition[LOSS]
    mine = {"feedback.md", "submission.pdf", "results_kl1.0/checkpoint.pt"}
    assert set(after) == set(edition) | mine
    for name, data in after.items():
        if name in mine:
            assert data == before[name], name
        elif name == LOSS:
            old = handout.build(new)[LOSS][1].decode()
            words = old[old.index("        # Compute the binary"):old.index(UNFILLED)]
            mine_words = words.replace("all images.", "images.")
            assert data.decode() == old.replace(words + UNFILLED, mine_words + MINE + "\n")
        elif name == "lib/model_vae.py":
            assert data == handout.build(new, keep=["1.1"])[name][1]
        else:
            assert data == edition[name], name
    assert find_edits(work, handed_out(work)) == []
    assert run_update(new, work).stdout.startswith("0 files changed")


def test_given_code_that_was_changed_is_kept(new, work):
    """As NAME.mine; a file with gaps stays in place, because the student's solution may need the change."""
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
        "lib/loss_vae.py was changed outside its gaps and is left alone; the new version is lib/loss_vae.py.new",
        "tests/test_loss.py is updated; your changed version is kept as test_loss.py.mine1",
        summary(2, work)]
    after = contents(work)
    assert after.pop("tests/test_loss.py.mine1") == before["tests/test_loss.py"]
    assert after.pop("lib/loss_vae.py.new") == handout.build(new)[LOSS][1]
    assert after.pop("tests/test_loss.py") == (new / "tests" / "test_loss.py").read_bytes()
    assert {**before, **after, HANDED_OUT: b""} == {**before, HANDED_OUT: b""}, "everything else stays"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permission")
def test_a_script_stays_executable(new, work):
    (new / "runtests.sh").write_bytes((new / "runtests.sh").read_bytes() + b"\n")
    assert "runtests.sh is updated" in run_update(new, work).stdout
    assert os.access(str(work / "runtests.sh"), os.X_OK)


def test_windows_line_endings_are_no_change(new, work):
    change(new, "lib/model_vae.py", "import torch\n", "import math\nimport torch\n")
    change(work, LOSS, MINE, MINE + "\u2028 \x0c")
    for name in ("lib/model_vae.py", LOSS, "docs/assignment.md", "tests/test_vae.py"):
        (work / name).write_bytes((work / name).read_bytes().replace(b"\n", b"\r\n"))
    done = run_update(new, work)
    assert done.stdout.splitlines()[:-1] == ["lib/model_vae.py is updated"]
    assert (work / "lib" / "model_vae.py").read_bytes() == handout.build(new, keep=["1.1"])["lib/model_vae.py"][1]


@pytest.mark.parametrize("old, new_text", [
    ("        # END TODO 1.2 ########################\n", ""), ("# START TODO 1.2", "# START TODO 1.3"),
    ("    def forward", "    def backward")])
def test_gaps_that_cannot_be_found_are_left_alone(new, work, old, new_text):
    change(new, LOSS, "A scalar, in nats", "One number, in nats")
    change(work, LOSS, old, new_text)
    before = (work / LOSS).read_bytes()
    done = run_update(new, work)
    assert done.returncode == 0 and f"{LOSS} was changed outside its gaps" in done.stdout
    assert (work / LOSS).read_bytes() == before
    assert (work / f"{LOSS}.new").read_bytes() == handout.build(new)[LOSS][1]


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


def test_a_function_with_a_gap_is_renamed(new, work):
    """Its gaps are matched by their order, here and in grading."""
    for name in ("def encode(", "def decode("):
        change(new, "lib/model_vae.py", name, name.replace("code(", "coded("))
    before = handout.build(new, keep=["1.1"])["lib/model_vae.py"][1]
    mine = (work / "lib" / "model_vae.py").read_text(encoding="utf-8")
    assert handout.fill(handout.build(new)["lib/model_vae.py"][1].decode(), mine) == before.decode()
    assert run_update(new, work).stdout.splitlines() == ["lib/model_vae.py is updated", summary(1, work)]
    assert (work / "lib" / "model_vae.py").read_bytes() == before


def test_a_correction_that_a_teacher_made_by_hand(new, work):
    """It is no edit of the team, even if only a part of it was made."""
    for project in (new, work):
        change(project, LOSS, "import torch\n", "import math\nimport torch\n")
        change(project, "lib/model_vae.py", "import torch\n", "import math\nimport torch\n")
    change(new, LOSS, "A scalar, in nats", "One number, in nats")
    assert run_update(new, work).stdout.splitlines() == ["lib/loss_vae.py is updated", summary(1, work)]
    assert find_edits(work, handed_out(work)) == []


def test_new_instructions_in_gaps(new, work):
    """They can be read in NAME.new if the gap is filled; nothing else of the file need be new."""
    change(new, LOSS, "over all latents and images.", "over all latents and all images.")
    change(new, "lib/explore_latent_space.py", "# START TODO 1.3 ########################\n",
           "# START TODO 1.3 ########################\n    # Take care.\n")
    before = (work / LOSS).read_bytes()
    assert run_update(new, work).stdout.splitlines() == [
        "lib/explore_latent_space.py is updated",
        "lib/loss_vae.py is updated; instructions in a gap of forward have changed: read them in lib/loss_vae.py.new",
        summary(2, work)]
    assert (work / LOSS).read_bytes() == before and not (work / "lib" / "explore_latent_space.py.new").exists()
    assert (work / f"{LOSS}.new").read_bytes() == handout.build(new)[LOSS][1]
    assert find_edits(work, handed_out(work)) == []
    assert run_update(new, work).stdout.startswith("0 files changed")


def test_several_teams(new, work, tmp_path):
    """A folder that cannot be updated gets a line; the others are updated."""
    change(new, "lib/model_vae.py", "import torch\n", "import math\nimport torch\n")
    shutil.copytree(str(work), str(tmp_path / "blocked"))
    (tmp_path / "blocked" / "lib" / "model_vae.py").unlink()
    (tmp_path / "blocked" / "lib" / "model_vae.py").mkdir()
    shutil.copytree(str(work), str(tmp_path / "other"))
    done = run_update(new, work, tmp_path / "nothing", tmp_path / "blocked", tmp_path / "other")
    assert done.returncode == 1
    assert done.stdout.splitlines() == ["lib/model_vae.py is updated", summary(1, work),
                                        "lib/model_vae.py is updated", summary(1, tmp_path / "other")]
    nothing, blocked = done.stderr.splitlines()
    assert nothing == f"handout: {tmp_path / 'nothing'} contains no handout (no readable tests/handout.zip in it)"
    assert blocked.startswith(f"handout: {tmp_path / 'blocked'} could not be updated: ")
    done = subprocess.run([sys.executable, "-m", "course.handout", "one", "two"], cwd=str(new), stderr=subprocess.PIPE,
                          universal_newlines=True)
    assert done.returncode == 2 and "only --update accepts several" in done.stderr and not (new / "one").exists()


def test_an_interrupted_update_can_be_repeated(new, work):
    """The disk is full after some files: each file is either old or new, and a second update completes it."""
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
    assert contents(work)[HANDED_OUT] == handout.build(new)[HANDED_OUT][1]


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
    assert done.returncode == 1 and done.stderr == (
        f"handout: {folder} contains no handout (no readable tests/handout.zip in it)\n")


# Editions

def add_edition(project):
    new_heading = f"## Edition {TODAY + 1} (2030-01-31)\n\n* News.\n\n"
    change(project, CHANGELOG, f"## Edition {TODAY} (", f"{new_heading}## Edition {TODAY} (")


def test_the_update_says_from_which_edition_to_which(new, work):
    add_edition(new)
    assert run_update(new, work).stdout.splitlines() == [
        "CHANGELOG.md is updated", summary(1, work, f"from edition {TODAY} to {TODAY + 1}")]
    assert f"which already has edition {TODAY + 1}" in run_update(new, work).stdout


def test_an_interrupted_update_still_knows_the_old_edition(new, work):
    """CHANGELOG.md is already the new one; the record of what was handed out is not."""
    add_edition(new)
    shutil.copy(str(new / CHANGELOG), str(work / CHANGELOG))
    assert run_update(new, work).stdout == summary(0, work, f"from edition {TODAY} to {TODAY + 1}") + "\n"


def test_a_handout_of_edition_1(project, tmp_path):
    """It records no edition, and its scoring code is directly in tests/. After the update, its tests give a score."""
    git = ["git", "-C", str(ROOT)]
    if subprocess.run(git + ["cat-file", "-e", LAST_OF_EDITION_1], stderr=subprocess.PIPE).returncode:
        pytest.skip("this checkout lacks the history of edition 1")
    archive = subprocess.check_output(git + ["archive", LAST_OF_EDITION_1, ":!*.jpg", ":!*.png"])
    (tmp_path / "old").mkdir()
    subprocess.run(["tar", "-x", "-C", str(tmp_path / "old")], input=archive, check=True)
    commit(tmp_path / "old")
    work = tmp_path / "work"
    script = "import sys; from course import handout; handout.write('.', sys.argv[1], keep=sys.argv[2:])"
    subprocess.check_call([sys.executable, "-c", script, str(work), *NUMBERS], cwd=str(tmp_path / "old"))
    assert (work / "tests" / "score.py").is_file() and not (work / CHANGELOG).exists()

    done = run_update(project, work)
    assert done.returncode == 0 and "changed outside its gaps" not in done.stdout
    assert done.stdout.endswith(f", from an edition before {TODAY} to {TODAY}; the contents of the gaps are kept\n")
    after = {name for name in contents(work) if not name.endswith(".py.new")}
    assert after == set(handout.build(project)) and find_edits(work, handed_out(work)) == []
    done = subprocess.run([sys.executable, "-m", "tests"], cwd=str(work), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, universal_newlines=True)
    assert done.returncode == 0 and f"\nEdition {TODAY} of " in done.stdout, done.stdout
    assert "| 16 + 2 |     12 |" in done.stdout, done.stdout
