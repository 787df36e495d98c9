"""The workflows of GitHub Actions: each `run:` step runs as it does there, in a fresh clone."""
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from course import handout
from course.tests.support import BONUS, BY_TESTS, FEEDBACK, NUMBERS, REGULAR, ROOT, change, commit, copy_project

yaml = pytest.importorskip("yaml", reason="the packages of course/requirements.txt are not installed")
STUDENTS, OURS = "course/student/.github/workflows/tests.yml", ".github/workflows/tests.yml"


def read_workflow(path):
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def clone(folder, to):
    subprocess.check_call(["git", "clone", "--quiet", str(folder), str(to)])
    return to


def run_job(job, folder, tmp_path, **environment):
    """Return the exit status of each step with `run:`, and the job's summary. Skip the steps that GitHub would skip."""
    summary = tmp_path / "summary.md"
    statuses = {}
    for number, step in enumerate(job["steps"]):
        if "run" not in step or step.get("if") != "always()" and any(statuses.values()):
            continue
        assert "${{" not in step["run"], "GitHub's value would be run as code"
        assert step.get("shell", job["defaults"]["run"]["shell"]) == "bash"
        script = tmp_path / f"step{number}.sh"
        script.write_text(step["run"])
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
        variables = {name: str(value).replace("${{ github.token }}", "secret")
                     for name, value in step.get("env", {}).items()}
        done = subprocess.run(["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)], cwd=str(folder),
                              env={**os.environ, "GITHUB_STEP_SUMMARY": str(summary), "PATH": path, **variables,
                                   **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        statuses[step["name"]] = done.returncode
        print(done.stdout.decode())
    return statuses, summary.read_text(encoding="utf-8") if summary.exists() else ""


@pytest.fixture(scope="module")
def handouts(tmp_path_factory):
    """Two student repositories: one with all gaps filled, one with none."""
    folder = tmp_path_factory.mktemp("students")
    handout.write(ROOT, folder / "filled", keep=NUMBERS)
    handout.write(ROOT, folder / "unfilled")
    (folder / "filled" / "feedback.md").write_text(FEEDBACK)
    (folder / "filled" / "submission.pdf").write_bytes(b"%PDF-1.7")
    for repository in folder.iterdir():
        commit(repository)
    return folder


@pytest.fixture
def github():
    """A local server with GitHub's list of a repository's activities; it records the requests it gets."""
    class Handler(BaseHTTPRequestHandler):
        requests, kinds = [], ["push", "branch_creation", "force_push", "pr_merge"]

        def do_GET(self):
            self.requests.append((self.path, self.headers["Authorization"]))
            body = json.dumps([{"id": number, "activity_type": kind, "ref": "refs/heads/main"}
                               for number, kind in enumerate(self.kinds)]).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Handler.variables = dict(GITHUB_API_URL=f"http://127.0.0.1:{server.server_port}", GITHUB_REPOSITORY="team/work",
                             no_proxy="127.0.0.1")
    yield Handler
    server.shutdown()
    server.server_close()


def test_when_students_get_their_score():
    workflow = read_workflow(STUDENTS)
    assert workflow[True] == {"push": {"branches": ["main"]}, "workflow_dispatch": None}  # YAML reads `on` as true
    assert [step["name"] for step in workflow["jobs"]["tests"]["steps"] if "run" in step] == [
        "install", "score", "pushes", "code style"]


def test_a_handout_that_is_filled_in(handouts, github, tmp_path):
    job = read_workflow(STUDENTS)["jobs"]["tests"]
    statuses, summary = run_job(job, clone(handouts / "filled", tmp_path / "clone"), tmp_path, **github.variables)
    assert statuses == {"install": 0, "score": 0, "pushes": 0, "code style": 0}
    assert f"| {REGULAR} + {BONUS} |     {BY_TESTS + BONUS} |" in summary
    assert summary.count("submission.pdf is there") == 2
    assert summary.endswith("Pushes to `main`: 3, of 3 allowed.\n")
    assert github.requests == [("/repos/team/work/activity?ref=refs/heads/main&per_page=100", "Bearer secret")]


def test_a_handout_that_is_not_filled_in(handouts, github, tmp_path):
    github.kinds = github.kinds + ["push"]
    job = read_workflow(STUDENTS)["jobs"]["tests"]
    statuses, summary = run_job(job, clone(handouts / "unfilled", tmp_path / "clone"), tmp_path, **github.variables)
    assert statuses == {"install": 0, "score": 1, "pushes": 0, "code style": 0}
    assert f"| {REGULAR} + {BONUS} |      0 |" in summary and "Task 1.1 is not filled in yet: the gap in" in summary
    assert "4, of 3 allowed. Extra pushes cost points." in summary


def test_a_handout_with_a_mistake_and_bad_style(handouts, tmp_path):
    """GitHub does not answer the question about pushes; the score is shown nevertheless."""
    folder = clone(handouts / "filled", tmp_path / "clone")
    change(folder, "lib/loss_vae.py", "1 + logvar", "logvar +0")
    job = read_workflow(STUDENTS)["jobs"]["tests"]
    statuses, summary = run_job(job, folder, tmp_path, GITHUB_API_URL="http://127.0.0.1:9", GITHUB_REPOSITORY="a/b",
                                no_proxy="127.0.0.1")
    assert statuses == {"install": 0, "score": 1, "pushes": 0, "code style": 1}
    assert "the KL term lacks the 1 in its sum" in summary and "E225" in summary
    assert "could not be counted" in summary


def test_tests_that_do_not_start_say_so_in_the_summary(handouts, tmp_path):
    folder = clone(handouts / "filled", tmp_path / "clone")
    change(folder, "tests/support.py", "import torch\n", "import torch(\n")
    statuses, summary = run_job(read_workflow(STUDENTS)["jobs"]["tests"], folder, tmp_path)
    assert statuses["score"] == 1 and "tests: the tests could not be started: " in summary and "SyntaxError" in summary


def test_an_install_that_fails_ends_the_job(handouts, tmp_path):
    folder = clone(handouts / "filled", tmp_path / "clone")
    (folder / "requirements.txt").write_text("./no_such_folder\n")
    statuses, _ = run_job(read_workflow(STUDENTS)["jobs"]["tests"], folder, tmp_path)
    assert statuses["install"] != 0 and "score" not in statuses


# The workflow of this repository

@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A fresh clone of the project with the files of the working tree."""
    folder = tmp_path_factory.mktemp("project")
    copy_project(folder / "work")
    commit(folder / "work")
    return clone(folder / "work", folder / "clone")


def test_the_matrix():
    matrix = read_workflow(OURS)["jobs"]["tests"]["strategy"]["matrix"]
    assert {name.split("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}
    assert set(matrix["python"]) == {"3.8", "3.13"}
    assert matrix["exclude"] == [{"os": "macos-latest", "python": "3.8"}]


def test_our_tests(project, tmp_path):
    """All steps except runtests.bat, which needs Windows."""
    job = read_workflow(OURS)["jobs"]["tests"]
    job["steps"] = [step for step in job["steps"] if step.get("shell") != "cmd"]
    statuses, summary = run_job(job, project, tmp_path)
    assert statuses == {"install": 0, "tests and style": 0, "score": 0} and "| 1.1 the VAE" in summary


def test_our_proofs(project, tmp_path):
    """The proofs, of which this is one, are collected but not run."""
    job = read_workflow(OURS)["jobs"]["proofs"]
    statuses, _ = run_job(job, project, tmp_path, PYTEST_ADDOPTS="--collect-only")
    assert statuses == {"install": 0, "linter": 0, "types": 0, "proofs": 0}
