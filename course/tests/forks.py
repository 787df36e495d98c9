"""Run many scripts quickly: a worker imports torch and everything else once, then forks for each case.

    worker = Worker()
    status = worker.run("run_vae_training.py", ["--lr", "0"], cwd)      # the output is in cwd.1 and cwd.2

A fork takes about 30 ms, the imports take seconds. The fork imitates what Python sets up when it starts: streams that
are closed, full or broken, and their encoding.
"""
import atexit
import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
LIMIT = 60                                          # seconds, after which a case counts as hanging
ALL = ("lib.explore_latent_space", "lib.train_diffusion", "lib.train_gan", "lib.sample_gan", "lib.train_vae",
       "torch._dynamo", "torchvision.datasets.mnist", "torchvision.utils", "sklearn.datasets", "scipy.spatial",
       "imageio.v2", "imageio.plugins.ffmpeg", "imageio_ffmpeg")
# Without matplotlib and lib: each case imports them with its own environment and configuration files.
FEW = ("torch._dynamo", "torchvision.datasets.mnist", "torchvision.utils", "sklearn.datasets", "PIL.Image", "tqdm")

# The diffusion model's distances take seconds. The proofs that fork look at files and messages, not at distances.
SMALLER = {"POINTS": 300, "FINAL_POINTS": 600, "DATA": 600}      # in lib.monitor_diffusion


class Worker:
    """A process that runs cases one after another.

    Args:
        modules: the modules that it imports before it forks.
        environment: its environment variables; a case can change them for itself.
    """

    def __init__(self, modules=ALL, environment=None):
        self.process = subprocess.Popen([sys.executable, "-m", "course.tests.forks", *modules], cwd=str(ROOT),
                                        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        universal_newlines=True)

    def close(self):
        self.process.communicate()

    def run(self, script, flags, cwd, **surroundings):
        """Run a script until it ends.

        Args:
            cwd: the working directory; stdout and stderr go to the files cwd.1 and cwd.2 next to it.
            surroundings: see `surround`.

        Returns:
            The exit status, negative if a signal ended the script (-14: it hung).
        """
        case = dict(surroundings, script=str(ROOT / script), flags=[str(flag) for flag in flags], cwd=str(cwd))
        self.process.stdin.write(json.dumps(case) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def serve(modules):
    for module in modules:
        __import__(module)
    monitor = sys.modules.get("lib.monitor_diffusion")
    for name, value in SMALLER.items() if monitor else ():
        assert hasattr(monitor, name), name
        setattr(monitor, name, value)
    answers, cases = os.fdopen(os.dup(1), "w"), os.fdopen(os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    gc.collect()
    gc.freeze()
    for line in cases:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = run_here(**json.loads(line))
            finally:
                os._exit(status)                    # a normal exit would spend a second on cleaning up the imports
        status = os.waitpid(child, 0)[1]
        answers.write(f"{os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)}\n")
        answers.flush()


def run_here(script, flags, cwd, **surroundings):
    signal.alarm(LIMIT)
    surround(cwd, **surroundings)
    sys.argv = [script] + flags
    atexit._clear()                                 # remove the exit handlers of the imports
    try:
        runpy.run_path(script, run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError as error:                        # as Python does when it ends
        print(f"Exception ignored in: {error}", file=sys.stderr)
        status = 120
    return status


def surround(cwd, environment=None, streams=None, encoding="utf-8", threads=None, remove_cwd=False):
    """Turn this process into what a shell would have started.

    Args:
        environment: variables to set, or to remove if the value is None.
        streams: "closed", "full" or "broken" (a pipe without a reader), by the stream's number from 0 to 2 as text.
        encoding: the encoding of stdout and stderr.
        threads: the number of torch's threads.
        remove_cwd: whether to remove the working directory, which is empty.
    """
    streams = streams or {}
    os.chdir(cwd)
    if remove_cwd:
        os.rmdir(cwd)
    for name, value in (environment or {}).items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    for number in 1, 2:
        file = os.open(f"{cwd}.{number}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(file, number)
        os.close(file)
    for name, kind in streams.items():
        if kind == "full":
            os.dup2(os.open("/dev/full", os.O_WRONLY), int(name))
        elif kind == "broken":
            reading, writing = os.pipe()
            os.dup2(writing, int(name))
            os.close(reading)
    sys.stdout = open(1, "w", encoding=encoding, closefd=False)
    sys.stderr = open(2, "w", encoding=encoding, errors="backslashreplace", buffering=1, closefd=False)
    for name in (name for name, kind in streams.items() if kind == "closed"):
        os.close(int(name))
        setattr(sys, ("stdin", "stdout", "stderr")[int(name)], None)
    if threads:
        import torch
        torch.set_num_threads(threads)


if __name__ == "__main__":
    serve(sys.argv[1:])
