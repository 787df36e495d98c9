"""Reading the git history of submissions, hostile ones included."""
import os
import re
import shutil
import subprocess
import zipfile

import pytest

from course import history


def git(folder, *arguments, date="2026-11-28T12:00:00+01:00", asked=""):
    """Run git as somebody; return its output."""
    names = {f"GIT_{role}_{key}": "x" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
    return subprocess.run(["git", "-C", str(folder), *map(str, arguments)], input=asked, stdout=subprocess.PIPE,
                          env=dict(os.environ, GIT_AUTHOR_DATE=date, GIT_COMMITTER_DATE=date, **names), check=True,
                          universal_newlines=True).stdout.strip()


def commit(folder, name, text, **options):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", name, **options)


@pytest.fixture
def team(tmp_path):
    """A repository whose branch dev is two commits ahead of main, which is checked out."""
    folder = tmp_path / "team"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "main")
    commit(folder, "lib/x.py", b"x = 1\r\n")
    git(folder, "switch", "--quiet", "--create", "dev")
    for number in range(2):
        commit(folder, f"{number}.txt", b"")
    git(folder, "switch", "--quiet", "main")
    commit(folder, "main.txt", b"", date="2026-11-29T23:59:59+01:00")
    return folder


AHEAD = "the branch dev has 2 commits that are not in main"


def zipped(folder, path):
    with zipfile.ZipFile(str(path), "w", zipfile.ZIP_DEFLATED) as archive:
        for found in sorted(folder.rglob("*")):
            archive.write(str(found), str(found.relative_to(folder.parent)))
    return path


def test_a_branch_that_is_ahead(team, tmp_path):
    """In the team's repository, in clones, and in their zip files."""
    assert history.unmerged(team) == AHEAD and history.last_commit(team) == "2026-11-29T23:59:59+01:00"
    git(tmp_path, "clone", "--quiet", team, "clone")
    git(tmp_path, "clone", "--quiet", "--bare", team, "bare.git")
    git(tmp_path / "bare.git", "gc", "--quiet")
    git(tmp_path, "clone", "--quiet", "--depth", "1", team.as_uri(), "shallow")
    for folder in ("clone", "bare.git"):
        for path in (tmp_path / folder, zipped(tmp_path / folder, tmp_path / f"{folder}.zip")):
            assert history.unmerged(path) == AHEAD, path
            assert history.last_commit(path) == "2026-11-29T23:59:59+01:00"
    assert history.last_commit(tmp_path / "shallow") == "2026-11-29T23:59:59+01:00"
    git(team, "branch", "--force", "dev", "dev~1")
    assert history.unmerged(team) == "the branch dev has 1 commit that is not in main"


def test_a_branch_that_is_merged(team, tmp_path):
    git(team, "merge", "--quiet", "--no-edit", "dev")
    assert history.unmerged(team) == ""
    git(team, "switch", "--quiet", "dev")
    git(team, "merge", "--quiet", "--no-ff", "--no-edit", "main")       # a merge is no work
    assert history.unmerged(team) == ""
    commit(team, "more.txt", b"")
    assert history.unmerged(team) == "the branch dev has 1 commit that is not in main"
    git(team, "switch", "--quiet", "main")
    git(team, "merge", "--quiet", "--squash", "dev")
    git(team, "commit", "--quiet", "--message", "all")
    assert history.unmerged(team) == ""
    git(team, "branch", "--delete", "--force", "dev")
    assert history.unmerged(team) == ""


def test_there_is_no_history(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "new").mkdir()
    git(tmp_path / "new", "init", "--quiet")
    (tmp_path / "file").write_bytes(b"PK")
    (tmp_path / "worktree").mkdir()
    (tmp_path / "worktree" / ".git").write_text("gitdir: ../new/.git\n")
    for name in ("empty", "new", "file", "worktree", "nowhere"):
        assert history.unmerged(tmp_path / name) == "" and history.last_commit(tmp_path / name) is None, name
        with pytest.raises(history.HistoryError):
            history.checkout(tmp_path / name, tmp_path / "to")
        assert not (tmp_path / "to").exists()


def test_what_a_repository_configures_does_not_run(team, tmp_path):
    """Neither is another folder read through alternates or links, or an object replaced."""
    script = tmp_path / "evil.sh"
    script.write_text(f"#!/bin/sh\necho ran $0 $* >> '{tmp_path}/evil'\n")
    script.chmod(0o755)
    for key in ("core.fsmonitor", "core.pager", "core.editor", "core.sshCommand", "gpg.program", "diff.external",
                "credential.helper", "filter.x.smudge", "filter.x.clean", "core.alternateRefsCommand",
                "uploadpack.packObjectsHook"):
        git(team, "config", key, script)
    git(team, "config", "log.showSignature", "true")
    git(team, "config", "core.hooksPath", tmp_path / "hooks")
    (tmp_path / "hooks").mkdir()
    for hook in ("post-checkout", "reference-transaction", "post-index-change", "pre-commit"):
        shutil.copy(str(script), str(tmp_path / "hooks" / hook))
        shutil.copy(str(script), str(team / ".git" / "hooks" / hook))
    (team / ".git" / "info" / "attributes").write_text("* filter=x\n")
    if (tmp_path / "evil").exists():
        (tmp_path / "evil").unlink()
    assert history.unmerged(team) == AHEAD and history.last_commit(team) == "2026-11-29T23:59:59+01:00"
    history.checkout(team, tmp_path / "to")
    assert (tmp_path / "to" / "lib" / "x.py").read_bytes() == b"x = 1\r\n"
    assert not (tmp_path / "evil").exists(), (tmp_path / "evil").read_text()

    git(tmp_path, "clone", "--quiet", "--shared", team, "shared")       # its objects are in the other repository
    assert (tmp_path / "shared" / ".git" / "objects" / "info" / "alternates").exists()
    assert history.last_commit(tmp_path / "shared") is None
    shutil.rmtree(str(tmp_path / "shared" / ".git" / "objects"))
    (tmp_path / "shared" / ".git" / "objects").symlink_to(team / ".git" / "objects")
    assert history.last_commit(tmp_path / "shared") is None
    for name in ("HEAD", "packed-refs"):
        (tmp_path / "linked" / ".git").mkdir(parents=True, exist_ok=True)
        (tmp_path / "linked" / ".git" / name).symlink_to(team / ".git" / name)
    shutil.copytree(str(team / ".git" / "objects"), str(tmp_path / "linked" / ".git" / "objects"))
    assert history.last_commit(tmp_path / "linked") is None


@pytest.mark.parametrize("content", ["ref: refs/heads/../../../x", "ref: /etc/passwd", "--help", ""])
def test_a_head_that_leads_elsewhere(team, content):
    (team / ".git" / "HEAD").write_text(content)
    assert history.last_commit(team) is None


def test_names_in_a_zip_file_cannot_leave_the_copy(team, tmp_path):
    path = zipped(team, tmp_path / "team.zip")
    head = git(team, "rev-parse", "main")
    with zipfile.ZipFile(str(path), "a") as archive:
        archive.writestr("team/.git/refs/heads/../../config", head)
        archive.writestr("team/.git/refs/heads/../../../../evil", head)
        archive.writestr("team/.git/objects/info/alternates", "/tmp")
    assert history.unmerged(path) == AHEAD


def test_the_files_of_a_bare_repository(team, tmp_path):
    """Links do not become links, and names that lead elsewhere are left out."""
    (team / "link.py").symlink_to("/etc/passwd")
    (team / "lib" / "a b\u00fc.py").write_bytes(bytes(range(256)) * 1000)
    (team / "empty.py").write_bytes(b"")
    commit(team, "lib/run.sh", b"#!/bin/sh\n")
    sha = git(team, "rev-parse", "HEAD:lib/x.py")
    for name in ("a\\..\\evil.py", "c:x.py"):
        git(team, "update-index", "--add", "--cacheinfo", f"100644,{sha},{name}")
    git(team, "commit", "--quiet", "--message", "names")
    git(tmp_path, "clone", "--quiet", "--bare", team, "bare.git")
    for number, path in enumerate((tmp_path / "bare.git", zipped(tmp_path / "bare.git", tmp_path / "bare.zip"))):
        to = tmp_path / f"to{number}"
        left_out = history.checkout(path, to)
        files = {found.relative_to(to).as_posix(): found.read_bytes() for found in to.rglob("*") if found.is_file()}
        assert files == {"lib/x.py": b"x = 1\r\n", "main.txt": b"", "empty.py": b"", "lib/run.sh": b"#!/bin/sh\n",
                         "lib/a b\u00fc.py": bytes(range(256)) * 1000}
        assert sorted(left_out) == ["a\\..\\evil.py is no valid name", "c:x.py is no valid name",
                                    "link.py is a link"]


def test_limits(team, tmp_path, monkeypatch):
    """Of the copied files, of what git writes (a tree can have any number of files), and of time."""
    monkeypatch.setattr(history, "MOST_FILES", 3)
    assert history.unmerged(team) == ""
    monkeypatch.setattr(history, "MOST_FILES", 20000)
    monkeypatch.setattr(history, "TIMEOUT", 0)
    assert history.unmerged(team) == ""
    monkeypatch.setattr(history, "TIMEOUT", 60)
    blob = git(team, "rev-parse", "HEAD:main.txt")
    entry = f"100644 blob {blob}"
    for _ in range(12):                             # 10 ** 12 files
        tree = git(team, "mktree", asked="".join(f"{entry}\t{number}\n" for number in range(10)))
        entry = f"040000 tree {tree}"
    head = git(team, "commit-tree", tree, "-m", "x")
    git(team, "update-ref", "refs/heads/main", head)
    with pytest.raises(history.HistoryError, match="too many files"):
        history.checkout(team, tmp_path / "to")


def test_git_is_not_installed(team, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert history.unmerged(team) == "" and history.last_commit(team) is None


def test_a_damaged_repository(team):
    for path in (team / ".git" / "objects").rglob("*"):
        if path.is_file() and re.fullmatch("[0-9a-f]{38}", path.name):
            path.chmod(0o644)
            path.write_bytes(b"x")
    assert history.unmerged(team) == "" and history.last_commit(team) is None
