"""What course/running.md tells teachers to do with the repositories of teams."""
import os
import re
import shutil
import subprocess
import sys

import pytest

from course import handout
from course.tests.support import ROOT, TODAYS_EDITION, change, commit, copy_project
from tests.scoring.edition import CHANGELOG
from tests.scoring.edits import find_edits, handed_out

LOSS = "lib/loss_vae.py"
PAGE = ROOT / "course" / "running.md"


@pytest.fixture
def project(tmp_path):
    copy_project(tmp_path / "project", but=(".jpg", ".png", ".pt"))
    commit(tmp_path / "project")
    return tmp_path / "project"


def git(folder, *arguments):
    """Run git as somebody; return its output."""
    return subprocess.check_output(["git", "-C", str(folder), *arguments], universal_newlines=True, env=somebody())


def somebody():
    names = {f"GIT_{role}_{key}": "x" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
    tools = os.path.dirname(sys.executable)
    return dict(os.environ, GIT_MERGE_AUTOEDIT="no", PATH=os.pathsep.join([tools, os.environ["PATH"]]), **names)


@pytest.fixture
def github(project, tmp_path):
    """Bare repositories of two teams, of which the first has a branch dev."""
    handout.write(project, tmp_path / "template")
    git(tmp_path / "template", "init", "--quiet", "--initial-branch", "main")
    git(tmp_path / "template", "add", "--all")
    git(tmp_path / "template", "commit", "--quiet", "--message", "all")
    for team in ("team-01", "team-02"):
        git(tmp_path, "clone", "--quiet", "--bare", "template", f"github/{team}.git")
    git(tmp_path / "github" / "team-01.git", "branch", "dev")
    return tmp_path / "github"


def publish(project, number, word):
    """Start an edition that changes given code and instructions, and run the commands of the page."""
    change(project, CHANGELOG, "# Changelog\n", f"# Changelog\n\n## Edition {number} (2030-01-31)\n\n* News.\n")
    change(project, LOSS, "A scalar", f"A scalar {word}")
    change(project, "docs/assignment.md", "# Assignment", f"# Assignment {word}")
    section = PAGE.read_text(encoding="utf-8").split("## Correct the handout during the term")[1]
    script = re.search("```\n(.*?)```", section, re.DOTALL)[1].replace("git@github.com:ORGANISATION/", "../github/")
    done = subprocess.run(["bash", "-c", script], cwd=str(project), env=somebody(), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, universal_newlines=True)
    assert done.returncode == 0 and "rejected" not in done.stdout and "CONFLICT" not in done.stdout, done.stdout
    assert done.stdout.count(f"to {number}; the contents of the gaps are kept") == 2, done.stdout
    assert not (project.parent / "update").exists()


def work(github, text):
    """Fill a gap as the first team, and push it to dev."""
    clone = github.parent / "clone"
    git(github.parent, "clone", "--quiet", "--branch", "dev", str(github / "team-01.git"), str(clone))
    path = clone / LOSS
    path.write_text(re.sub("raise NotImplementedError.*", text, path.read_text(encoding="utf-8")), encoding="utf-8")
    git(clone, "commit", "--quiet", "--all", "--message", text)
    return clone


@pytest.mark.parametrize("merged", ["neither", "the first", "in a clone"])
def test_two_corrections(project, github, merged):
    """The team has not merged the first one, or has merged it, or has not pushed the merge yet."""
    today = TODAYS_EDITION.number
    publish(project, today + 1, "first")
    clone = work(github, "return 1")
    if merged != "neither":
        git(clone, "merge", "--quiet", "--no-edit", "origin/update")
    if merged != "in a clone":
        git(clone, "push", "--quiet", "origin", "dev")
    publish(project, today + 2, "second")
    git(clone, "pull", "--quiet", "--no-rebase", "--no-edit", "origin", "dev")
    git(clone, "fetch", "--quiet")
    git(clone, "merge", "--quiet", "--no-edit", "origin/update")
    text = (clone / LOSS).read_text(encoding="utf-8")
    assert "A scalar second first" in text and "        return 1\n" in text
    assert handout.base_edition(clone, None) == str(today + 2) and find_edits(clone, handed_out(clone)) == []
    assert git(clone, "status", "--porcelain") == ""
    shutil.rmtree(str(clone))
    publish(project, today + 3, "third")


def test_submissions_do_not_disturb_our_own_checks(project):
    """The page clones them to handed_in/, and scores go to scores/."""
    pytest.importorskip("ruff")
    for folder in ("handed_in/team-01", "scores"):
        (project / folder / "tests").mkdir(parents=True)
        (project / folder / "tests" / "test_x.py").write_text("import nothing_of_that_name\nx = = 1\n")
    assert "handed_in/team-01" in PAGE.read_text(encoding="utf-8") and git(project, "status", "--porcelain") == ""
    for command in (["tests/scoring/style.py", "--max-line-length", "120", "."], ["-m", "ruff", "check", "."],
                    ["-m", "pytest", "--collect-only", "-q", "."]):
        done = subprocess.run([sys.executable, *command], cwd=str(project), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, universal_newlines=True)
        assert done.returncode == 0, done.stdout[-2000:]
