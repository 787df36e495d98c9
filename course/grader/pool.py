"""Starting the server, and handing submissions to its workers."""
import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional

from course.grader.judge import judge
from course.grader.layout import make_pristine
from course.grader.processes import remove
from course.grader.results import UNCHANGED, not_possible, save
from tests.scoring.report import in_one_line
from tests.scoring.score import SHORT_TIMEOUT, TIMEOUT, run_tests

ROOT = Path(__file__).resolve().parents[2]
DEAD = -1                                           # instead of a status
ALL_CALLS = 120                                     # seconds for all calls of a submission, which take about six
START = ("import sys; sys.path.insert(0, sys.argv[1]); from course.grader.server import serve; "
         "serve(list(map(int, sys.argv[3:])), sys.argv[2])")
# Nothing else of the teacher's environment reaches a student's code. NumPy and PyTorch start no threads of their own.
ENVIRONMENT = {"PATH": os.defpath, "LANG": "C.UTF-8", "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}


class Pool:
    """Grades submissions, as many at a time as it has workers. Use it in a `with` statement.

    Args:
        jobs: the number of workers.
        confined: whether to shut students' code away; if not, it runs in the tests' process with your rights.

    Raises:
        RuntimeError: the server does not start, or the handout cannot be cut.
    """

    def __init__(self, jobs: int = 1, confined: bool = True) -> None:
        self.layers: Dict[str, bool] = {}           # whether each holds
        self.is_closed = False
        self.limits = TIMEOUT, SHORT_TIMEOUT, ALL_CALLS
        self.folder = Path(tempfile.mkdtemp(prefix="course-grade-")).resolve()
        self.server: Optional[subprocess.Popen] = None
        self.workers: "queue.Queue[Optional[socket.socket]]" = queue.Queue()
        self.sockets: List[socket.socket] = []
        try:
            self.folder.chmod(0o711)                # as root, another user's calls must get through
            make_pristine(self.folder / "pristine")
            if confined:
                self._start(jobs)
            for number in range(jobs):
                self.workers.put(self.sockets[number] if confined else None)
        except BaseException:
            self.close()
            raise

    def _start(self, jobs: int) -> None:
        pairs = [socket.socketpair() for _ in range(jobs)]
        self.sockets = [mine for mine, _ in pairs]
        numbers = [theirs.fileno() for _, theirs in pairs]
        with tempfile.TemporaryFile() as errors:
            self.server = subprocess.Popen(
                [sys.executable, "-I", "-B", "-c", START, str(ROOT), str(self.folder), *map(str, numbers)],
                env=ENVIRONMENT, cwd=str(self.folder), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=errors, pass_fds=numbers, start_new_session=True)
            for _, theirs in pairs:
                theirs.close()
            line = read_line(self.sockets[0])
            if not line:
                self.server.wait()
                errors.seek(0)
                said = errors.read().decode("utf-8", errors="replace").strip().split("\n")[-1]
                raise RuntimeError(f"the grader's processes cannot be started ({in_one_line(said)})")
        self.layers = json.loads(line)

    def grade(self, path: Path, name: str, output: Path, seed: Optional[int] = None, fingerprint: str = "") -> bool:
        """Grade a submission, and write NAME.md and NAME.json into the folder output.

        Args:
            seed: of the tests' random inputs; a new one if None.
            fingerprint: of an earlier result. If it still holds, nothing is written.

        Returns:
            Whether something was written.

        Raises:
            OSError: the result cannot be written.
            RuntimeError: the worker is dead.
        """
        request: Dict[str, Any] = {"name": name, "path": os.path.abspath(str(path)), "seed": seed,
                                   "output": str(output.resolve()), "fingerprint": fingerprint,
                                   "limits": self.limits, "pristine": str(self.folder / "pristine")}
        worker = self.workers.get()
        try:
            if worker is None:
                return grade_unconfined(request, output)
            status = ask(worker, request)
        finally:
            self.workers.put(worker)
        if status in (0, UNCHANGED << 8):
            return status == 0
        if self.is_closed:
            raise InterruptedError("the grading was stopped")
        if status == DEAD:                          # no row: it is not the submission's fault
            raise RuntimeError("a process of the grader is dead: is the disk or the memory full? The same command "
                               "grades what is missing")
        save(output, not_possible(request, RuntimeError(
            "grading it took too long" if status is None else f"the judge ended with status {status}")))
        return True

    def close(self) -> None:
        """End all processes and remove the scratch folder."""
        self.is_closed = True
        for mine in self.sockets:
            with contextlib.suppress(OSError):
                mine.shutdown(socket.SHUT_RDWR)     # ends a thread's wait for an answer
            mine.close()
        if self.server:
            try:
                self.server.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.server.pid, signal.SIGKILL)
                self.server.wait()
        remove(self.folder)

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def ask(worker: socket.socket, request: Dict[str, Any]) -> Optional[int]:
    """Return the status with which a worker's judge ends; None if it took too long."""
    try:
        worker.sendall(json.dumps(request).encode() + b"\n")
    except OSError:
        return DEAD
    answer = read_line(worker)
    return json.loads(answer)["status"] if answer else DEAD


def read_line(stream: socket.socket) -> bytes:
    """Return what a socket sends up to a line end; b"" if it is closed first."""
    data = b""
    try:
        while not data.endswith(b"\n"):
            more = stream.recv(4096)
            if not more:
                return b""
            data += more
    except OSError:
        return b""
    return data


def grade_unconfined(request: Dict[str, Any], output: Path) -> bool:
    """Grade a submission in this process, its tests in a new one with all our rights. As `Pool.grade`."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            result = judge(request, Path(scratch).resolve(), run_tests, {})
        except Exception as error:                  # whatever a submission causes, it becomes a row
            result = not_possible(request, error)
    if result:
        save(output, result)
    return result is not None
