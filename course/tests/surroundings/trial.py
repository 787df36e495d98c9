"""Running cases, two at a time, and judging what came of them."""
import os
import re
import shutil
import signal
import subprocess
import unicodedata
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import matplotlib

from course.tests import support
from course.tests.forks import ALL, FEW, Worker
from course.tests.support import DIFFUSION, GAN, PLOT, SAMPLE, TRAIN, read_until, start
from course.tests.surroundings import MINE, NEEDS, QUIET, RESULTS, TINY, TRAINERS, Case, images, put

WORKERS = 2                                         # at the same time; each takes a core
Files = Dict[str, Any]


class Outcome(NamedTuple):
    case: Case
    complaints: List[str]
    said: str                                       # on stdout and stderr

    def __str__(self) -> str:
        flags = " ".join(ascii(flag)[1:-1] if flag.isprintable() else ascii(flag) for flag in self.case.flags)
        return f"{self.case.name}\n    {'; '.join(self.complaints)}\n    {self.case.script} {flags[:300]}\n" + "".join(
            f"    | {ascii(line)[1:-1][:200]}\n" for line in self.said.splitlines()[-4:])


class Bench:
    """A folder with the stock and the working directories of cases, and the workers that run them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.stock, self.lock = folder, folder / "stock", Lock()
        self.workers: Dict[Tuple[int, bool], Worker] = {}
        make_stock(self.stock, self.worker(0, False))

    def worker(self, number: int, few: bool) -> Worker:
        if (number, few) not in self.workers:
            self.workers[number, few] = Worker(FEW if few else ALL, support.environment())
        return self.workers[number, few]

    def close(self) -> None:
        for worker in self.workers.values():
            worker.close()

    def run(self, cases: Iterable[Case]) -> List[Outcome]:
        """Run cases in several threads, each with its own workers."""
        outcomes: List[Outcome] = []
        todo = enumerate(cases)
        errors: List[BaseException] = []

        def work(number: int) -> None:
            try:
                while not errors:
                    with self.lock:
                        count, case = next(todo, (0, None))
                    if case is None:
                        return
                    run = self.worker(number, case.few).run
                    outcomes.append(self.run_case(case, self.folder / f"{number}_{count}", run))
            except BaseException as error:
                errors.append(error)

        threads = [Thread(target=work, args=(number,)) for number in range(WORKERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return outcomes

    def run_case(self, case: Case, cwd: Path, run: Callable[..., int]) -> Outcome:
        """run: as Worker.run"""
        cwd.mkdir()
        try:
            step, complaints = case, []             # type: Any, List[str]
            while step and not complaints:
                said = [Path(f"{cwd}.{stream}") for stream in (1, 2)]
                for path in said:
                    path.write_bytes(b"")
                put(self.stock, step.needs, cwd)
                step.prepare(cwd)
                before = snapshot(cwd)
                surroundings = dict(step.surroundings, environment={
                    name: value and value.replace("{cwd}", str(cwd))
                    for name, value in step.surroundings.get("environment", {}).items()})
                status = run(step.script, step.flags, cwd, **surroundings)
                texts = [path.read_bytes().decode(step.surroundings.get("encoding", "utf-8"), "surrogateescape")
                         for path in said]
                after = snapshot(cwd) if cwd.exists() else {}
                complaints = [*judge_words(step, status, *texts), *judge_files(step, status, before, after)]
                if status == 0 and not complaints:
                    try:
                        step.check(cwd)
                    except (AssertionError, OSError) as error:
                        complaints.append(str(error) or type(error).__name__)
                step = step.then
            return Outcome(case, complaints, "".join(texts))
        finally:
            shutil.rmtree(os.fsencode(cwd), ignore_errors=True)


def run_really(script: str, flags: Sequence[str], cwd: Path, environment: Optional[Dict[str, Any]] = None,
               streams: Optional[Dict[str, str]] = None, encoding: str = "") -> int:
    """As Worker.run, by a process of its own that a shell has started."""
    places = {"closed": ">&-", "full": ">/dev/full", "broken": "> >(:)"}
    shell = " ".join(['exec "$0" "$@"', *(f"{number}{places[kind]}" for number, kind in (streams or {}).items())])
    variables = {**support.environment(), **({"PYTHONIOENCODING": encoding} if encoding else {}),
                 "MPLCONFIGDIR": matplotlib.get_configdir(), **(environment or {})}     # not a new one in a case's home
    with open(f"{cwd}.1", "wb") as stdout, open(f"{cwd}.2", "wb") as stderr:
        return subprocess.call(["bash", "-c", shell, *support.command(script, *flags)], cwd=str(cwd), stdout=stdout,
                               stderr=stderr, timeout=300, env={name: value for name, value in variables.items()
                                                                if value is not None})


def snapshot(folder: Path) -> Files:
    """The bytes of all files below a folder and the targets of all links. Files that lock a folder do not count."""
    found: Files = {}
    for place, folders, files in os.walk(str(folder)):
        for name in folders + files:
            path = os.path.join(place, name)
            if os.path.islink(path):
                found[os.path.relpath(path, str(folder))] = ("link", os.readlink(path))
            elif os.path.isfile(path) and "lock" not in name:
                with open(path, "rb") as file:
                    found[os.path.relpath(path, str(folder))] = file.read()
    return found


def judge_words(case: Case, status: int, stdout: str, stderr: str) -> Iterator[str]:
    """What is wrong with the exit status and with what was said."""
    if status not in case.status:
        yield "it hangs" if status == -signal.SIGALRM else f"status {status}"
    if "Traceback" in stderr:
        yield f"traceback: {stderr.strip().splitlines()[-1][:150]}"
    lines = [line for line in stderr.split("\n") if line]
    if status == 0 and lines and not case.noise:
        yield f"{len(lines)} lines on stderr"
    if status and "2" not in case.surroundings.get("streams", {}) and not case.noise:
        if len(lines) != 1 and (lines or case.surroundings.get("streams") != {"1": "broken"}):
            yield f"{len(lines)} lines on stderr"
        elif lines and not lines[0].startswith(f"{case.script}: "):
            yield "the line does not begin with the script's name"
        for word in case.words:
            if not any(text in stderr for text in ([word] if isinstance(word, str) else word)):
                yield f"the line does not name {word}"
    for word in case.says if status == 0 else ():
        if not any(text in stdout for text in ([word] if isinstance(word, str) else word)):
            yield f"stdout does not name {word}"
    if any(unicodedata.category(letter) == "Cc" and letter != "\n" for letter in stdout + stderr):
        yield "a control character"


def judge_files(case: Case, status: int, before: Files, after: Files) -> Iterator[str]:
    """What is lost, or made where nothing should be."""
    def may_change(path: str) -> bool:
        return status != 2 and any(path == made or path.startswith(f"{made.rstrip('/')}/") for made in case.made)

    for path, content in before.items():
        if after.get(path) != content and (content == MINE or isinstance(content, tuple) or not may_change(path)):
            yield f"{'changed' if path in after else 'lost'}: {ascii(path)}"
    made = sorted(set(after) - set(before))
    for path in made:
        if not may_change(path) and not (status != 2 and "*" in case.made):
            yield f"made: {ascii(path)}"
        elif status >= 0 and re.search(r"\.part($|\.)", os.path.basename(path)):
            yield f"left: {ascii(path)}"


def make_stock(stock: Path, worker: Worker) -> None:
    """Make what cases copy: data, and finished runs of all scripts."""
    stock.mkdir()
    support.write_mnist(stock / "data", support.small_mnist(64, 32))
    support.write_images(stock / "images", 4)
    images.bar("uint8", 1).save(str(stock / "image.png"))

    def run(script: str, place: str, *flags: str) -> Path:
        cwd = stock / place
        cwd.mkdir()
        put(stock, NEEDS[script], cwd)
        status = worker.run(script, [*TINY[script], *flags], cwd)
        assert status == 0, Path(f"{cwd}.2").read_text()
        return cwd

    for folder in "done", "drawn":
        (stock / folder).mkdir()
    for script in TRAINERS:
        cwd = run(script, f"quiet_{script}", *QUIET[script])
        shutil.move(str(cwd / RESULTS[script]), str(stock / "done" / script[:-3]))
        cwd = run(script, f"drawing_{script}")
        shutil.move(str(cwd / RESULTS[script]), str(stock / "drawn" / script[:-3]))
    shutil.copytree(str(stock / "done" / TRAIN[:-3]), str(stock / "vae"))
    shutil.copytree(str(stock / "done" / GAN[:-3]), str(stock / "gan"))
    shutil.copy(str(stock / "gan" / "generator.pt"), str(stock / "generator.pt"))
    for script, place in (PLOT, "plotted"), (SAMPLE, "sampled"):
        shutil.move(str(run(script, f"making_{place}") / RESULTS[script]), str(stock / place))
    stop_diffusion(stock)


def stop_diffusion(stock: Path) -> None:
    """A run of the diffusion model that was stopped after the first of its two epochs, of which the second is long."""
    cwd = stock / "stopping"
    cwd.mkdir()
    process = start(DIFFUSION, *TINY[DIFFUSION], "--no_video", "--epochs", 2, cwd=cwd)
    read_until(process, 1)
    process.kill()
    process.communicate()
    shutil.move(str(cwd / RESULTS[DIFFUSION]), str(stock / "stopped"))


def summary(outcomes: Sequence[Outcome], limit: int = 40) -> str:
    """The failed cases by their first complaint."""
    groups: Dict[str, List[Outcome]] = {}
    for outcome in outcomes:
        if outcome.complaints:
            groups.setdefault(re.sub(r"'.*|\d\d+", "", outcome.complaints[0]), []).append(outcome)
    text = [f"{sum(map(len, groups.values()))} of {len(outcomes)} cases fail"]
    for complaint, members in sorted(groups.items(), key=lambda item: -len(item[1])):
        text += [f"\n{len(members)} times: {complaint}", *map(str, members[:limit])]
    return "\n".join(text)
