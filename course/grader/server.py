"""The server and its workers (see the package).

The server starts as `python -I` with an empty environment, imports PyTorch once, and forks a worker for each socket.
"""
import gc
import importlib
import json
import os
import signal
import socket
import time
from functools import partial
from itertools import count
from pathlib import Path
from typing import Sequence

from course.grader import confine
from course.grader.call import ROOT, calling_part
from course.grader.processes import end_children, has_ended, has_passed, remove, wait

PRELOADED = ("pytest", "torch", "torch._dynamo", "torch.optim", "torch.distributions", "torchvision",
             "matplotlib.figure", "tests.support")
WHOLE_TIMEOUT = 900                                 # seconds for a submission, its code style included


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
    holds = confine.probe(place)
    sockets[0].sendall(json.dumps(holds).encode() + b"\n")
    needed = [layer for layer in confine.LAYERS if holds[layer]]
    for number, mine in enumerate(sockets):
        if os.fork() == 0:
            for other in sockets:
                if other is not mine:
                    other.close()
            try:
                work(mine, Path(folder), number, needed)
            finally:
                os._exit(0)
    for mine in sockets:
        mine.close()
    for _ in sockets:
        os.wait()
    remove(Path(folder))                            # also if the command was killed


def work(command: socket.socket, scratch: Path, number: int, needed: Sequence[str]) -> None:
    """Fork a judge for each request of the command, until the command closes the socket; end what the judge leaves.

    The judge reads the request itself: nothing of it is in the memory from which the calls are forked.

    Args:
        scratch: a folder.
        number: of this worker.
        needed: the layers of confinement that hold here.
    """
    confine.guard()
    requests = count()
    while command.recv(1, socket.MSG_PEEK):
        folder = scratch / f"{number}-{next(requests)}"     # new: an old one might not be removable
        folder.mkdir(mode=0o711)
        judge = os.fork()
        if judge == 0:
            try:
                confine.die_with_parent()
                from course.grader.judge_process import judge_submission
                judge_submission(command, folder, number, needed)
            finally:
                os._exit(1)
        status, _ = wait(judge, {"time": partial(has_passed, time.monotonic() + WHOLE_TIMEOUT),
                                 "command": partial(has_ended, command)})
        end_children()
        remove(folder)
        if has_ended(command):
            return
        command.sendall(json.dumps({"status": status}).encode() + b"\n")
