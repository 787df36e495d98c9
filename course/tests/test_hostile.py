"""Hostile submissions gain nothing and harm nobody: the real grader grades all of them, and honest ones in between.

The submissions are in the folder hostile, as text. A case is

    === title
    solved: 1.2 1.3         tasks whose gaps hold the reference solution; they must earn all their points
    earns: 1.1 4/5          what a task must earn otherwise; 0 if it is not mentioned
    limits: 2 0.5 4         seconds for a call, until one has taken too long and afterwards, and for all calls
    not graded: words       it gets no score; the reason matches this regular expression
    --- VAE.encode          code for a gap
    --- raw VAE.encode      the same, with its indentation
    --- run in VAE.encode   code that the gap runs, with all names of attack.txt; the gap is otherwise unfilled
    --- file lib/x.py       a file
    --- build NAME          something that the function NAME below does to the folder

The code calls `attempt`, which notes what was not refused; such a note in the result is a breach. Everything else is
found from outside: by the points, and by looking at decoys, processes, folders and servers after each grading.
"""
import contextlib
import ctypes
import gzip
import hashlib
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import threading
import time
import uuid
import zipfile
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import pytest

from course import gaps, handout
from course.grader import confine
from course.grader.pool import Pool
from course.grader.results import from_json
from course.tests.support import FEEDBACK, NUMBERS, ROOT, WITH_TESTS, tracked_files
from tests.scoring.tasks import TASKS

pytestmark = pytest.mark.skipif(not confine.is_possible(), reason="only Linux can confine students' code")

FOLDER = Path(__file__).resolve().parent / "hostile"
# Seconds for calls. The tests of task 1.1 come first: after so long, those of the last tasks no longer run.
LIMITS, LIMITS_WITH_SOLVED, HONEST_LIMITS = (3.0, 1.0, 3.0), (10.0, 3.0, 60.0), (60.0, 30.0, 300.0)
LONGEST = 5                                         # times as long as an honest submission
MOST_MEMORY = 900 * 2 ** 20                         # bytes of a trusted process; one has about 400 MB
TOKEN, SECRET = uuid.uuid4().hex, uuid.uuid4().hex       # in names of files, and in what nobody may read
POINTS = {task.number: Fraction(task.points) for task in TASKS}


# Reading the cases

class Case:
    def __init__(self, place, title):
        self.place, self.title = place, title
        self.solved, self.earns, self.limits, self.not_graded = [], {}, LIMITS, ""
        self.parts = []                             # triples of a kind, a name and a text

    def set(self, key, value):
        if key == "solved":
            self.solved = value.split()
            self.limits = LIMITS_WITH_SOLVED
        elif key == "earns":
            self.earns = {number: Fraction(points) for number, points in map(str.split, value.split(","))}
        elif key == "limits":
            self.limits = tuple(map(float, value.split()))
        else:
            self.not_graded = value

    def expected(self):
        """Return what each task with tests must earn."""
        return {number: self.earns.get(number, POINTS[number] if number in self.solved else Fraction(0))
                for number in WITH_TESTS}


def read_cases(path):
    cases = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        title = re.match("=== (.+)", line)
        part = re.match(r"--- (raw |run in |file |build |)(\S+)$", line)
        setting = re.match("(solved|earns|limits|not graded): (.+)", line)
        if title:
            cases.append(Case(f"{path.name}:{number}", title[1]))
        elif cases and part:
            cases[-1].parts.append([part[1].strip(), part[2], ""])
        elif cases and cases[-1].parts:
            cases[-1].parts[-1][2] += line + "\n"
        elif cases and setting:
            cases[-1].set(*setting.groups())
        else:
            assert not cases or not line.strip(), f"{path.name}:{number}: not understood"
    return cases


CASES = [case for path in sorted(FOLDER.glob("*.txt")) if path.name != "attack.txt" for case in read_cases(path)]


# Building the submissions

def fill_gaps(solved, code):
    """Return the files of lib, by path. A module in which no gap is filled says so at its import: that is quicker.

    Args:
        solved: tasks whose gaps keep the reference solution.
        code: lines for gaps, by their names.
    """
    files, left = {}, set(code)
    for path in sorted((ROOT / "lib").glob("*.py")):
        name, text = f"lib/{path.name}", ""
        pieces = gaps.split(name, gaps.read_source(ROOT, name))
        found = [piece for piece in pieces if isinstance(piece, gaps.Gap)]
        if found and not any(piece.task in solved or piece.name in code for piece in found):
            files[name] = "".join(f"# START TODO {piece.task}\n" + unfilled(piece._replace(indent=""))
                                  + f"# END TODO {piece.task}\n" for piece in found)
            continue
        for piece in pieces:
            if isinstance(piece, str) or piece.task in solved and piece.name not in code:
                text += piece if isinstance(piece, str) else piece.region
            elif piece.name in code:
                text += code[piece.name](piece)
                left.discard(piece.name)
            else:
                text += unfilled(piece)
        files[name] = text
    assert not left, f"there is no gap named {left}"
    return files


def unfilled(gap):
    return f'{gap.indent}raise NotImplementedError("Task {gap.task} is not filled in yet")\n'


def build(case, folder, base, words):
    """Write a submission.

    Args:
        base: a handout.
        words: what the words between @ mean.
    """
    code, more = {}, {}
    for kind, name, text in case.parts:
        text = re.sub("@([A-Z]+)@", lambda match: str(words[match[1]]), text)
        if kind == "":
            code[name] = lambda gap, text=text: textwrap.indent(textwrap.dedent(text).strip("\n"), gap.indent) + "\n"
        elif kind == "raw":
            code[name] = lambda gap, text=text: text
        elif kind == "run in":
            module = "hostile_" + re.sub(r"\W", "_", name).lower()
            more[f"lib/{module}.py"] = ("from lib.attack import *\n\n\ndef run():\n" + textwrap.indent(text, "    ")
                                        + "    finish()\n")
            code[name] = lambda gap, module=module: textwrap.indent(
                f"from lib import {module}\n{module}.run()\n", gap.indent) + unfilled(gap)
        elif kind == "file":
            more[name] = text
    attack = (FOLDER / "attack.txt").read_text(encoding="utf-8")
    more["lib/attack.py"] = re.sub("@([A-Z]+)@", lambda match: str(words[match[1]]), attack)
    (folder / "lib").mkdir(parents=True)
    (folder / "tests").mkdir()
    for name in ("tests/handout.zip", "CHANGELOG.md"):
        shutil.copy(str(base / name), str(folder / name))
    (folder / "feedback.md").write_text(FEEDBACK)
    for name, text in list(fill_gaps(case.solved, code).items()) + list(more.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    for kind, name, _ in case.parts:
        if kind == "build":
            folder = globals()[name](folder) or folder
    return folder


def nothing(folder):
    shutil.rmtree(str(folder))
    folder.mkdir()


def much_code(folder):
    (folder / "lib" / "large.py").write_text("x = [1, 2]\n" * (30 * 2 ** 20 // 11))
    (folder / "lib" / "medium.py").write_text("x=[1,2]\n" * (2 ** 18 // 8))


def repeated_lines(folder):
    """The original code is the submission's own: it also decides how long the comparison takes."""
    name, lines = "lib/loss_vae.py", 400
    with zipfile.ZipFile(str(folder / "tests" / "handout.zip"), "w") as file:
        file.writestr(name, "# x\n# y\n" * lines)
    with open(str(folder / name), "a") as file:
        file.write("\n" + "# y\n# y\n# x\n" * lines)


def nested_code(folder):
    for number, text in enumerate(("-" * 300000 + "1", "(" * 90 + "[" * 90, "1" + "+1" * 100000, "x" + ".x" * 100000,
                                   "not " * 100000 + "x", "lambda: " * 50000 + "x", "f'{" * 1000, "x" + "[x" * 50000)):
        (folder / "lib" / f"deep{number}.py").write_text(f"y = {text}\n")


def large_handout_zip(folder):
    with zipfile.ZipFile(str(folder / "tests" / "handout.zip"), "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        with file.open("lib/loss_vae.py", "w", force_zip64=True) as entry:
            for _ in range(64):
                entry.write(bytes(2 ** 24))


def zip_bomb(folder):
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(str(path), "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for number in range(8):
            file.writestr(f"lib/submission{number}.pdf", bytes(50 * 2 ** 20))
    return path


def many_entries(folder):
    path = folder.with_suffix(".tar.gz")
    with tarfile.open(str(path), "w:gz", compresslevel=1) as file:
        file.add(str(folder / "lib"), "lib")
    with gzip.open(str(path), "rb") as old:
        data = old.read().rstrip(b"\0")
    data += bytes(-len(data) % 512)
    header = tarfile.TarInfo("data").tobuf()
    with gzip.open(str(path), "wb", compresslevel=1) as new:
        new.write(data)
        for _ in range(1000):
            new.write(header * 1000)
    return path


def link_for_lib(folder):
    shutil.rmtree(str(folder / "lib"))
    (folder / "lib").symlink_to(ROOT / "lib")


def links_in_lib(folder):
    for name in ("model_vae.py", "explore_latent_space.py", "own.py"):
        with contextlib.suppress(FileNotFoundError):
            (folder / "lib" / name).unlink()
        (folder / "lib" / name).symlink_to(ROOT / "lib" / name)
    (folder / "lib" / "other").symlink_to(ROOT)
    (folder / "feedback.md").unlink()
    (folder / "feedback.md").symlink_to("/dev/zero")


def fifo(folder):
    (folder / "lib" / "model_vae.py").unlink()
    os.mkfifo(str(folder / "lib" / "model_vae.py"))
    os.mkfifo(str(folder / "submission.pdf"))


def large_feedback(folder):
    (folder / "feedback.md").write_text("## Hours\n[" + "1," * 1500000 + "]")


def slow_feedback(folder):
    (folder / "feedback.md").write_text("-->" * 35000 + "<!--" * 35000)


# What surrounds the grading

class World:
    """Decoys that nobody may touch, and servers that must receive nothing."""

    def __init__(self, folder):
        self.folder = folder
        self.home, self.scores, self.others = folder / "home", folder / "scores", folder / "others" / "team"
        self.temp = folder / "temp"
        for place in (self.home / ".ssh", self.home / "empty", self.scores, self.others.parent, self.temp):
            place.mkdir(parents=True)
        for name in ("document.txt", ".ssh/id_rsa", ".bashrc"):
            (self.home / name).write_text(f"secret {SECRET}")
        with contextlib.suppress(OSError):
            os.setxattr(str(self.home / "document.txt"), "user.kept", b"1")
        self.received = []
        self.closing = contextlib.ExitStack()
        self.tcp, self.udp = self.listen(socket.AF_INET, socket.SOCK_STREAM), self.listen(
            socket.AF_INET, socket.SOCK_DGRAM)
        self.unix = str(folder / "unix")
        self.listen(socket.AF_UNIX, socket.SOCK_STREAM, self.unix)
        self.listen(socket.AF_UNIX, socket.SOCK_DGRAM, self.unix + "-datagrams")
        self.listen(socket.AF_UNIX, socket.SOCK_STREAM, "\0hostile-" + TOKEN)
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.shmat.restype = ctypes.c_void_p
        self.shm = self.libc.shmget(0, 4096, 0o1600)
        self.queue = f"hostile-victim-{TOKEN}"
        self.queues = ctypes.CDLL("librt.so.1", use_errno=True)
        self.number_of_queue = self.queues.mq_open(f"/{self.queue}".encode(), os.O_CREAT | os.O_RDWR, 0o600, None)
        self.victim = subprocess.Popen(["sleep", "10000"])
        self.closing.callback(self.remove_kernel_objects)

    def listen(self, family, kind, address=("127.0.0.1", 0)):
        server = socket.socket(family, kind)
        server.bind(address)
        if kind == socket.SOCK_STREAM:
            server.listen(16)
        threading.Thread(target=self.note_calls, args=(server, kind), daemon=True).start()
        self.closing.callback(server.close)
        return server.getsockname()[1] if family == socket.AF_INET else 0

    def note_calls(self, server, kind):
        with contextlib.suppress(OSError):
            while True:
                self.received.append(server.accept()[1] if kind == socket.SOCK_STREAM else server.recv(100))

    def remove_kernel_objects(self):
        self.victim.kill()
        self.victim.wait()
        self.libc.shmctl(self.shm, 0, None)
        self.queues.mq_unlink(f"/{self.queue}".encode())
        if self.number_of_queue >= 0:
            os.close(self.number_of_queue)

    def words(self, grader):
        return {"PROJECT": ROOT, "HOME": self.home, "OTHER": self.others, "SCORES": self.scores, "TEMP": self.temp,
                "TCP": self.tcp, "UDP": self.udp, "UNIX": self.unix, "VICTIM": self.victim.pid, "GRADER": grader,
                "SHM": self.shm, "QUEUE": self.queue, "TOKEN": TOKEN}

    def memory(self):
        place = self.libc.shmat(self.shm, None, 0o10000)
        if place in (None, 2 ** 64 - 1):
            return "gone"
        data = ctypes.string_at(place, 16)
        self.libc.shmdt(ctypes.c_void_p(place))
        return data

    def queue_is_there(self):
        number = self.queues.mq_open(f"/{self.queue}".encode(), os.O_RDWR)
        if number >= 0:
            os.close(number)
        return number >= 0

    def state(self, grader):
        """Return what no submission may change, by name; quick enough for a look after each grading."""
        found = {"received": len(self.received), "memory": self.memory(), "queue": self.queue_is_there(),
                 "victim": self.victim.poll(), "left": left_behind()}
        for place in (self.home, self.others):
            found.update(described(place))
        for name, pid in (("victim", self.victim.pid), ("grader", grader)):
            found[f"settings of {name}"] = settings_of(pid)
        return found


def described(folder):
    """Return mode, owner, time, attributes and content of all files in a folder."""
    found = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        status = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        attributes = []
        with contextlib.suppress(OSError):
            attributes = os.listxattr(str(path), follow_symlinks=False)
        found[str(path)] = (oct(status.st_mode), status.st_uid, status.st_gid, status.st_nlink, status.st_mtime_ns,
                            attributes, content)
    return found


def settings_of(pid):
    """Return the limits and priorities of a process."""
    try:
        return (resource.prlimit(pid, resource.RLIMIT_NOFILE), os.sched_getscheduler(pid), os.getpriority(
            os.PRIO_PROCESS, pid), sorted(os.sched_getaffinity(pid)))
    except ProcessLookupError:
        return "ended"


def left_behind():
    """Return files with the token where they could be left."""
    found = []
    for place in ("/tmp", "/var/tmp", "/dev/shm", "/run", "/etc", "/usr/lib", "/usr/lib/python3",
                  f"{sys.prefix}/lib", str(ROOT), f"{ROOT}/lib", f"{ROOT}/tests"):
        with contextlib.suppress(OSError):
            found += [os.path.join(place, name) for name in os.listdir(place)
                      if TOKEN in name and name != f"hostile-world-{TOKEN}"]
    return found


def checksums():
    return {name: hashlib.sha256((ROOT / name).read_bytes()).hexdigest() for name in tracked_files(ROOT)
            if (ROOT / name).is_file()}


def children():
    """Return the processes whose parent is this one."""
    found = {}
    for path in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            number, rest = int(path.name), (path / "stat").read_text().rpartition(")")[2].split()
            if int(rest[1]) == os.getpid():
                found[number] = rest[0]
    return found


class ThreadsOwnLimits(Pool):
    """A pool whose limits each thread sets for itself."""
    own = threading.local()
    limits = property(lambda self: getattr(self.own, "limits", LIMITS), lambda self, value: None)
    not_closed = ""

    def close(self):
        try:
            super().close()
        except RecursionError as error:
            self.not_closed = f"{self.folder} is left: {error!r}"
            subprocess.call(["rm", "-rf", str(self.folder)])


def watch_memory(pool, stop, largest):
    """Note the largest memory of a trusted process: those of the server's session.

    Only what a process has written counts: how much of PyTorch's files is in memory depends on the machine.
    """
    while not stop.wait(0.1):
        for path in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError, IndexError):
                int(path.name)
                fields = (path / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == pool.server.pid:
                    own = re.search(r"RssAnon:\s+(\d+) kB", (path / "status").read_text())
                    if own and int(own.group(1)) * 1024 > MOST_MEMORY:
                        largest.append((int(own.group(1)) * 1024, time.monotonic()))


# Grading all

class Graded:
    """What came of a submission."""

    def __init__(self, name, text, page, started, ended, changed):
        self.name, self.text, self.page, self.started, self.ended = name, text, page, started, ended
        self.took = ended - started
        self.changed = changed                      # of the world, while it was graded
        self.result = from_json(text)

    def earned(self):
        return {row.task.number: row.earned for row in self.result.score.rows if row.task.number in WITH_TESTS}


class Finished:
    def __init__(self):
        self.graded, self.harm, self.largest = {}, {}, []


@pytest.fixture(scope="module")
def finished():
    """Grade everything, two submissions at a time."""
    folder = Path(tempfile.gettempdir()).resolve() / f"hostile-world-{TOKEN}"
    folder.mkdir()
    confine.prctl(confine.SUBREAPER, 1)             # a process that escapes becomes a child of this one
    world = World(folder)
    all_before, children_before = checksums(), set(children()) - {world.victim.pid}
    old = tempfile.tempdir, os.environ.get("HOME")
    tempfile.tempdir, os.environ["HOME"] = str(world.temp), str(world.home)
    os.environ["HOSTILE_SECRET"] = SECRET
    done, stop = Finished(), threading.Event()
    try:
        handout.write(ROOT, folder / "base")
        honest = {"full": NUMBERS, "partial": ["1.2", "2.2"]}
        with contextlib.ExitStack() as closing:
            pool = closing.enter_context(ThreadsOwnLimits(2))
            words = world.words(pool.server.pid)
            watcher = threading.Thread(target=watch_memory, args=(pool, stop, done.largest))
            watcher.start()
            shutil.rmtree(str(world.others.parent))
            tasks = []
            for kind, solved in honest.items():
                case = Case("", kind)
                case.solved, case.limits = solved, HONEST_LIMITS
                if kind == "partial":
                    case.parts.append(["", "VAE.encode", "return x.flatten(1), x"])
                    case.parts.append(["", "VAE.__init__", "self.layer = nn.Linear(in_size, hidden_size)"])
                path = build(case, world.others if kind == "full" else folder / kind, folder / "base", words)
                tasks.append((case, path))
            before = world.state(pool.server.pid)
            todo = [("partial 1", tasks[1][1], HONEST_LIMITS)]
            for number, case in enumerate(chosen()):
                path = build(case, folder / "hostile" / str(number), folder / "base", words)
                todo.append((case.title, path, case.limits))
            half = len(todo) // 2
            todo[half:half] = [("full 1", tasks[0][1], HONEST_LIMITS)]
            todo += [(f"{case.title} 2", path, HONEST_LIMITS) for case, path in tasks]

            pools, lock = [pool], threading.Lock()

            def grade(name, path, limits):
                mine = pools[-1]
                mine.own.limits = limits
                started, earlier = time.monotonic(), world.state(pool.server.pid)
                file_name = "".join(char if char.isalnum() else " " for char in name)
                try:
                    mine.grade(path, file_name, world.scores, 7)
                except Exception as error:          # a worker has ended: the others go on with a new pool
                    done.graded[name] = error
                    print(f"{name}: {error!r}", file=sys.stderr, flush=True)
                    with lock:
                        if pools[-1] is mine:
                            pools.append(closing.enter_context(ThreadsOwnLimits(2)))
                    return
                text, page = ((world.scores / f"{file_name}.{end}").read_text(encoding="utf-8")
                              for end in ("json", "md"))
                now = world.state(pool.server.pid)
                changed = [f"{key}: {earlier.get(key)} became {now.get(key)}" for key in {*earlier, *now}
                           if earlier.get(key) != now.get(key)]
                print(f"{time.monotonic() - started:.1f} s: {name}", file=sys.stderr, flush=True)
                done.graded[name] = Graded(name, text, page, started, time.monotonic(), changed)

            with ThreadPoolExecutor(2) as threads:
                futures = [threads.submit(grade, *one) for one in todo]
                for future in futures:
                    future.result()
            after = world.state(pool.server.pid)
        time.sleep(0.5)
        left = {number: state for number, state in children().items()
                if number not in children_before and number != world.victim.pid}
        done.harm = {
            "the decoys": {key: (before.get(key), after.get(key)) for key in {*before, *after}
                           if before.get(key) != after.get(key)},
            "the project": dict(set(all_before.items()) ^ set(checksums().items())),
            "what was received": list(world.received),
            "processes": left,
            "the temporary folder": [one.not_closed for one in pools if one.not_closed] + os.listdir(str(world.temp)),
            "the scores": {path.name for path in world.scores.iterdir()} - {
                "".join(char if char.isalnum() else " " for char in name) + end
                for name, _, _ in todo for end in (".json", ".md")}}
        stop.set()
        watcher.join()
    finally:
        stop.set()
        tempfile.tempdir = old[0]
        del os.environ["HOSTILE_SECRET"]
        os.environ.pop("HOME")
        if old[1] is not None:
            os.environ["HOME"] = old[1]
        confine.prctl(confine.SUBREAPER, 0)
        world.closing.close()
        for path in left_behind():                  # of a grader that does not confine
            shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) else os.unlink(path)
        subprocess.call(["rm", "-rf", str(folder)])
    return done


def chosen():
    """Return the cases to run: all, or those whose titles match the regular expression in HOSTILE."""
    return [case for case in CASES if re.search(os.environ.get("HOSTILE", ""), case.title)]


def test_the_bank():
    titles = [case.title for case in CASES]
    assert len(titles) == len(set(titles)) >= 60 and all(case.parts for case in CASES)


@pytest.mark.parametrize("case", [pytest.param(case, id=case.title) for case in chosen()])
def test_a_hostile_submission(finished, case):
    """It earns what it may, no attempt succeeds, nothing around it changes, and it gets a row in time."""
    graded = finished.graded[case.title]
    assert not isinstance(graded, Exception), f"the grader itself has ended: {graded!r}"
    breaches = set(re.findall(r'BREACH: ([^\\"]+)', graded.text))
    assert not breaches
    assert SECRET not in graded.text and SECRET not in graded.page, "a secret is in the result"
    assert "BEGIN SOLUTION" not in graded.text
    if case.not_graded:
        assert not graded.result.score and re.search(case.not_graded, graded.result.not_graded), graded.result
    else:
        assert graded.result.score, graded.result.not_graded
        assert graded.earned() == case.expected(), [row.failures[:1] for row in graded.result.score.rows]
    assert not graded.changed, "while it was graded, or the other one at this time"
    honest = max(finished.graded[name].took for name in ("full 1", "full 2"))
    assert graded.took < LONGEST * honest
    assert len(graded.text) < 2 ** 20 and len(graded.page) < 2 ** 20
    for line in graded.page.split("\n"):            # what they wrote is in blocks of code
        assert line.startswith("    ") or not re.search(r"hostile|<\w|^::|\x1b", line), line
    large = [memory for memory, when in finished.largest if graded.started < when < graded.ended]
    assert not large, f"a trusted process has used {max(large) // 2 ** 20} MB"


def test_honest_submissions_are_not_affected(finished):
    full = {number: POINTS[number] for number in WITH_TESTS}
    partial = {number: POINTS[number] if number in ("1.2", "2.2") else Fraction(0) for number in WITH_TESTS}
    for number in (1, 2):
        assert finished.graded[f"full {number}"].earned() == full, finished.graded[f"full {number}"].page
        assert finished.graded[f"partial {number}"].earned() == partial, finished.graded[f"partial {number}"].page
        assert not finished.graded[f"full {number}"].result.printed
    for kind in ("full", "partial"):
        pages = {finished.graded[f"{kind} {number}"].page for number in (1, 2)}
        assert len(pages) == 1, pages


@pytest.mark.parametrize("what", ["the decoys", "the project", "what was received", "processes", "the temporary folder",
                                  "the scores"])
def test_nothing_around_has_changed(finished, what):
    assert not finished.harm[what]
