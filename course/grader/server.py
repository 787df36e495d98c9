"""The processes of the grader (see the package): the server, its workers, and the callers that run students' code.

The server starts as `python -I` with an empty environment, imports PyTorch once, and forks a worker for each socket.
"""
import ast
import contextlib
import faulthandler
import gc
import importlib
import json
import linecache
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from functools import lru_cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from course.grader import confine
from course.grader.values import LARGEST, pack, unpack

ROOT = Path(__file__).resolve().parents[2]
PRELOADED = ("pytest", "torch", "torch._dynamo", "torch.optim", "torch.distributions", "torchvision",
             "matplotlib.figure", "tests.support")
WHOLE_TIMEOUT = 900                                 # seconds for a submission, its code style included
LARGEST_SCRATCH, MOST_FILES = confine.FILE, 500     # bytes and files that a call may have written
RESULT, OUTPUT, SCRATCH = "result", "output.txt", "scratch"


# The server and its workers

def serve(numbers: Sequence[int], folder: str) -> None:
    """Fork a worker for each socket; wait for them.

    Args:
        numbers: the sockets' file descriptors. Which layers hold is written to the first one, as a line of JSON.
        folder: for scratch; exists.
    """
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)      # the command ends its workers by closing their sockets
    for name in PRELOADED:
        importlib.import_module(name)
    for path in sorted((ROOT / "tests").glob("test_*.py")):
        calling_part(f"tests.{path.stem}")
    gc.collect()
    gc.freeze()                                     # collecting garbage would copy the pages that the forks share
    confine.guard()
    sockets = [socket.socket(fileno=number) for number in numbers]
    place = Path(folder, "probe")
    place.mkdir(mode=0o711)
    sockets[0].sendall(json.dumps(confine.probe(place)).encode() + b"\n")
    for number, mine in enumerate(sockets):
        if os.fork() == 0:
            for other in sockets:
                if other is not mine:
                    other.close()
            try:
                work(mine, Path(folder, str(number)), number)
            finally:
                os._exit(0)
    for mine in sockets:
        mine.close()
    for _ in sockets:
        os.wait()
    remove(Path(folder))                            # also if the command was killed


def work(command: socket.socket, folder: Path, number: int) -> None:
    """Fork a judge for each request of the command, until the command closes the socket; end what the judge leaves.

    The judge reads the request itself: nothing of it is in the memory from which the calls are forked.
    """
    confine.guard()
    while command.recv(1, socket.MSG_PEEK):
        folder.mkdir(mode=0o711)
        judge = os.fork()
        if judge == 0:
            try:
                confine.die_with_parent()
                from course.grader.judge_process import judge_submission
                judge_submission(command, folder, number)
            finally:
                os._exit(1)
        status, _ = wait(judge, {"time": partial(has_passed, time.monotonic() + WHOLE_TIMEOUT),
                                 "command": partial(has_ended, command)})
        end_children()
        remove(folder)
        if has_ended(command):
            return
        command.sendall(json.dumps({"status": status}).encode() + b"\n")


def has_ended(command: socket.socket) -> bool:
    """Return whether the other side has closed the socket."""
    readable, _, _ = select.select([command], [], [], 0)
    return bool(readable) and not command.recv(1, socket.MSG_PEEK)


def wait(child: int, reasons: Dict[str, Callable[[], bool]]) -> Tuple[Optional[int], str]:
    """Wait for a child process; kill it as soon as there is a reason.

    Returns:
        Its status and "", or None and the reason.
    """
    pause = 0.0005
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status, ""
        for reason, holds in reasons.items():
            if holds():
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return None, reason
        time.sleep(pause)
        pause = min(2 * pause, 0.02)


def end_children() -> None:
    """Kill all children of this process, and theirs, which it inherits as a subreaper, until none is left."""
    while True:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        for child in children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        time.sleep(0.001)


def children() -> List[int]:
    """Return this process's children."""
    found = []
    for path in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            if int((path / "stat").read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.append(int(path.name))
    return found


def remove(folder: Path) -> None:
    """Remove a folder that a student's code has written into."""
    shutil.rmtree(str(folder), ignore_errors=True)
    if folder.exists():                             # nested too deeply for Python
        subprocess.call(["rm", "-rf", "--", str(folder)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL)


# The caller

class Caller:
    """The judge's side of a caller: a process, forked now, that runs functions of the tests, each in a new process.

    Args:
        folder: for the results; the caller makes what it needs in it.
        number: of the worker.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self.folder = folder
        mine, theirs = socket.socketpair()
        if os.fork() == 0:
            try:
                mine.close()
                confine.die_with_parent()
                confine.guard()
                answer_calls(theirs, folder, confine.another_user(number))
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


def answer_calls(judge: socket.socket, folder: Path, user: Optional[int]) -> None:
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
                answer_one_call(request, folder / SCRATCH, user, *files)
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


def has_passed(until: float) -> bool:
    return time.monotonic() > until


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


# The call

def answer_one_call(request: Dict[str, Any], scratch: Path, user: Optional[int], result: int, output: int) -> None:
    """Confine this process, run a function of a test, and write what it returns. Never returns."""
    import torch

    from tests import support
    os.setsid()
    os.dup2(result, 3)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number in map(int, os.listdir("/proc/self/fd")):
        if number > 3:
            with contextlib.suppress(OSError):      # the one of the list itself
                os.close(number)
    os.environ.clear()
    os.environ.update({"HOME": str(scratch), "TMPDIR": str(scratch), "MPLBACKEND": "Agg", "PATH": os.defpath,
                       "LANG": "C.UTF-8"})
    os.chdir(str(scratch))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="replace", line_buffering=True)  # type: ignore[union-attr]
    submission = Path(request["submission"])
    function = getattr(calling_part(request["module"]), request["function"])
    torch.set_num_threads(1)
    sys.path[:] = [str(submission)] + [path for path in sys.path if path and Path(path).resolve() != ROOT]
    sys.dont_write_bytecode = True
    support.LIB = submission / "lib"
    faulthandler.dump_traceback_later(max(request["seconds"] - 0.5, 0.1), file=2)
    confine.apply([submission / "lib"], [submission], scratch, user, int(request["seconds"]) + 2)
    write, leave, as_bytes, call = os.write, os._exit, pack, support.call
    try:
        answer = {"value": call(function, **request["inputs"])}
    except support.Mistake as mistake:
        answer = {"mistake": str(mistake)}
    data = memoryview(as_bytes(answer))
    while data:
        data = data[write(3, data):]
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    leave(0)


@lru_cache(maxsize=None)
def calling_part(name: str) -> ModuleType:
    """Return a module with those functions of a test module that touch lib, and all that they use, and no more.

    What a test expects is not in it. The lines keep their numbers.
    """
    path = ROOT.joinpath(*name.split(".")).with_suffix(".py")
    text = path.read_text(encoding="utf-8")
    lines = text.split("\n")
    kept = [""] * len(lines)
    for node in needed_by_calls(ast.parse(text)):
        decorated = [node.lineno] + [one.lineno for one in getattr(node, "decorator_list", [])]
        for number in range(min(decorated) - 1, node.end_lineno or node.lineno):
            kept[number] = lines[number]
    module = ModuleType(name)
    module.__file__ = str(path)
    linecache.cache[str(path)] = len(text), None, [f"{line}\n" for line in kept], str(path)    # for tracebacks
    exec(compile("\n".join(kept), str(path), "exec"), vars(module))
    return module


def needed_by_calls(tree: ast.Module) -> Iterator[ast.stmt]:
    """Yield the statements of a test module that the functions given to `call` need, and its imports."""
    defined: Dict[str, ast.stmt] = {}
    for node in tree.body:
        for name in names_defined(node):
            defined[name] = node
    todo = {call.args[0].id for call in ast.walk(tree) if isinstance(call, ast.Call) and call.args
            and isinstance(call.func, ast.Name) and call.func.id == "call" and isinstance(call.args[0], ast.Name)}
    needed: Set[str] = set()
    while todo:
        name = todo.pop()
        needed.add(name)
        todo |= {one.id for one in ast.walk(defined[name]) if isinstance(one, ast.Name) and one.id in defined} - needed
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)) or names_defined(node) & needed:
            yield node


def names_defined(node: ast.stmt) -> Set[str]:
    """Return the names that a statement at the top of a module defines."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return {node.name}
    targets: Tuple[ast.expr, ...] = tuple(node.targets) if isinstance(node, ast.Assign) else ()
    return {one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)}
