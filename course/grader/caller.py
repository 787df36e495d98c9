"""The caller (see the package): it forks a process for each call, and ends all that the call leaves."""
import contextlib
import json
import os
import socket
import time
from functools import partial
from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional, Sequence

from course.grader import confine
from course.grader.call import answer_one_call
from course.grader.processes import end_children, has_ended, has_passed, remove, wait
from course.grader.values import LARGEST, pack, unpack

LARGEST_SCRATCH, MOST_FILES = confine.FILE, 500     # bytes and files that a call may have written
RESULT, OUTPUT, SCRATCH = "result", "output.txt", "scratch"


class Caller:
    """The judge's side of a caller: a process, forked now, that runs functions of the tests, each in a new process.

    Args:
        folder: for the results; the caller makes what it needs in it.
        number: of the worker.
        needed: the layers of confinement that hold here.
    """

    def __init__(self, folder: Path, number: int, needed: Sequence[str]) -> None:
        self.folder = folder
        mine, theirs = socket.socketpair()
        if os.fork() == 0:
            try:
                mine.close()
                confine.die_with_parent()
                confine.guard()
                answer_calls(theirs, folder, confine.another_user(number), needed)
            finally:
                os._exit(0)
        theirs.close()
        self.stream = mine.makefile("rwb")

    def run(self, submission: Path, module: str, function: str, inputs: Dict[str, Any], seconds: float) -> "Ended":
        """Run a function of a test on the lib of a submission, confined, and end all its processes."""
        start = time.monotonic()
        request = pack({"submission": str(submission), "module": module, "function": function, "inputs": inputs,
                        "seconds": seconds})
        self.stream.write(len(request).to_bytes(8, "little") + request)
        self.stream.flush()
        answer = json.loads(self.stream.readline())
        output = read_regular(self.folder / OUTPUT, 2 ** 16)
        try:
            result = unpack(read_regular(self.folder / RESULT, LARGEST))
        except (OSError, ValueError):
            result = None
        return Ended(result if isinstance(result, dict) else {}, answer["problem"],
                     output.decode("utf-8", errors="replace"), time.monotonic() - start)


class Ended(NamedTuple):
    """A call that has ended: what it wrote, why it was ended or "", what it printed, and how long it took."""
    result: Dict[Any, Any]
    problem: str
    output: str
    seconds: float


def read_regular(path: Path, most: int) -> bytes:
    """Return the bytes of a regular file, at most so many. Raises OSError if it is not one."""
    with open(os.open(str(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        if not os.path.isfile(file.fileno()):
            raise OSError(f"{path} is not a regular file")
        return file.read(most)


def answer_calls(judge: socket.socket, folder: Path, user: Optional[int], needed: Sequence[str]) -> None:
    """Run each call that the judge asks for; end when the judge does."""
    stream = judge.makefile("rwb")
    while True:
        length = stream.read(8)
        if len(length) < 8:
            return
        request = unpack(stream.read(int.from_bytes(length, "little")))
        remove(folder / SCRATCH)
        (folder / SCRATCH).mkdir()
        os.chmod(str(folder), 0o711)
        if user is not None:
            os.chown(str(folder / SCRATCH), user, user)
        files = []
        for name in RESULT, OUTPUT:
            with contextlib.suppress(FileNotFoundError):
                (folder / name).unlink()
            files.append(os.open(str(folder / name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        child = os.fork()
        if child == 0:
            try:
                answer_one_call(request, folder / SCRATCH, user, needed, *files)
            finally:
                os._exit(1)
        for number in files:
            os.close(number)
        problem = wait(child, {
            "time": partial(has_passed, time.monotonic() + request["seconds"]),
            "disk": partial(is_too_large, folder / SCRATCH), "judge": partial(has_ended, judge)})[1]
        end_children()
        stream.write(json.dumps({"problem": problem}).encode() + b"\n")
        stream.flush()


def is_too_large(folder: Path) -> bool:
    """Return whether a folder holds more than a call may write."""
    size = count = 0
    for place, folders, files in os.walk(str(folder)):
        count += len(folders) + len(files)
        for name in files:
            with contextlib.suppress(OSError):
                size += os.lstat(os.path.join(place, name)).st_size
        if count > MOST_FILES or size > LARGEST_SCRATCH:
            return True
    return False
