"""Grade what students hand in: python -m course.grade SUBMISSION ...

Each SUBMISSION is a student's repository: a folder, a zip file or a tar file. The contents of its gaps, the files it
adds to lib, its feedback.md and submission.pdf are copied into a fresh handout, so today's tests and given code apply.
A file that was changed outside its gaps is copied as a whole. All other edits are listed. The code runs in processes
that Linux confines. Results of earlier runs in DIR are kept: a submission is graded again if it, the handout or the
seed has changed. Without a SUBMISSION, scores.csv is made from the results in DIR.
"""
import argparse
import io
import os
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import count
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from course.grader import confine
from course.grader.pool import Pool
from course.grader.results import Result, from_json, load_all, one_line, save_table
from tests.scoring.report import in_one_line
from tests.scoring.score import Score


def grade(path: Path, seed: Optional[int] = None) -> Score:
    """Return the score of one submission, which is a folder or an archive.

    Raises:
        ValueError: it cannot be graded; the message is the reason.
        RuntimeError, OSError: the grader does not start.
    """
    with Pool() as pool, tempfile.TemporaryDirectory() as output:
        pool.grade(path, "submission", Path(output), seed)
        result = from_json(Path(output, "submission.json").read_text(encoding="utf-8"))
    if not result.score:
        raise ValueError(result.not_graded)
    return result.score


def shortened(name: str) -> str:
    """Return the start of a name: file systems allow 255 bytes."""
    return name[:80].encode("utf-8", errors="replace")[:200].decode("utf-8", errors="ignore").strip()


def names_of(paths: Sequence[Path], known: Dict[str, str]) -> List[str]:
    """Return for each submission a unique name that can also be a file name.

    Args:
        known: the absolute paths of submissions by their names in earlier runs; they keep these.
    """
    taken = {name.lower(): path for name, path in known.items()}
    names: List[str] = []
    for path in paths:
        where = os.path.abspath(str(path))
        name = first = shortened(in_one_line(os.path.basename(where))) or "submission"
        for number in count(2):
            if taken.get(name.lower(), where) == where and name.lower() not in [other.lower() for other in names]:
                break
            name = f"{first} ({number})"
        names.append(name)
    return names


def check_output(output: Path) -> List[Result]:
    """Return the results of earlier runs in a folder, which is created if needed. Raises ValueError."""
    if output.exists() and not output.is_dir():
        raise ValueError(f"{output} is not a folder")
    results = load_all(output)
    if output.exists() and any(output.iterdir()) and not results and not (output / "scores.csv").exists():
        raise ValueError(f"{output} is not empty, and holds no results of this command")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{output} cannot be created ({error.strerror})") from None
    return results


def grade_all(args: argparse.Namespace, names: Sequence[str], earlier: Sequence[Result]) -> None:
    """Grade the submissions, print a line for each, and keep scores.csv up to date."""
    from tqdm import tqdm
    fingerprints = {result.name: result.fingerprint for result in earlier if not args.again}
    saved = time.monotonic()
    with Pool(min(args.jobs, len(names)), not args.unconfined) as pool, ThreadPoolExecutor(args.jobs) as threads:
        say_layers(pool.layers)
        futures = {threads.submit(pool.grade, path, name, args.output, args.seed, fingerprints.get(name, "")): name
                   for name, path in zip(names, args.submissions)}
        try:
            with tqdm(total=len(names), unit="submission", disable=not sys.stderr.isatty()) as bar:
                for future in as_completed(futures):
                    name, is_new = futures[future], future.result()
                    result = from_json((args.output / f"{name}.json").read_text(encoding="utf-8"))
                    bar.write(one_line(result) + ("" if is_new else ", unchanged"), file=sys.stdout)
                    sys.stdout.flush()
                    bar.update()
                    if time.monotonic() - saved > 5:
                        save_table(args.output, names)
                        saved = time.monotonic()
        finally:
            for future in futures:
                future.cancel()
            pool.close()                            # now, so that the threads end
            save_table(args.output, names)


def say_layers(layers: Dict[str, bool]) -> None:
    """Say which layers hold."""
    if layers:
        active = ", ".join(layer for layer, holds in layers.items() if holds)
        missing = ", ".join(layer for layer, holds in layers.items() if not holds)
        print(f"students' code is confined by: {active or 'nothing'}" + (f" (not by: {missing})" if missing else ""),
              flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m course.grade", description=(__doc__ or "").split("\n\n", 1)[-1])
    parser.add_argument("submissions", nargs="*", type=Path, metavar="SUBMISSION",
                        help="a student's repository: a folder, a zip file or a tar file")
    parser.add_argument("--output", type=Path, default=Path("scores"), metavar="DIR",
                        help="a folder for scores.csv, and for NAME.md and NAME.json of each submission "
                             "(default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N",
                        help="grade N submissions at a time (default: the number of cores, %(default)s)")
    parser.add_argument("--seed", type=int, metavar="N", help="repeat the random inputs of an earlier run")
    parser.add_argument("--again", action="store_true", help="grade again what has not changed")
    parser.add_argument("--unconfined", action="store_true",
                        help="run students' code with your own rights; on macOS and Windows there is no other way")
    args = parser.parse_args()
    if args.jobs < 1:
        parser.error("--jobs: must be at least 1")
    if not args.unconfined and not confine.is_possible():
        parser.error(f"this system cannot confine students' code (missing: {', '.join(confine.LAYERS)}); --unconfined "
                     "runs it with your rights, or use Linux, in a container for example")
    try:
        earlier = check_output(args.output)
    except ValueError as error:
        parser.error(f"--output: {error}")
    if not args.submissions and not earlier:
        parser.error(f"name a SUBMISSION: {args.output} holds no results yet")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")    # characters that this terminal cannot show
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    names = names_of(args.submissions, {result.name: result.path for result in earlier})
    if names:
        grade_all(args, names, earlier)
    results = save_table(args.output, names)
    not_graded = [result for result in results if not result.score]
    print(f"graded {len(results) - len(not_graded)} of {len(results)}; the scores are in {args.output}", flush=True)
    for result in not_graded:
        print(f"grade: {result.name} could not be graded: {result.not_graded}", file=sys.stderr)
    sys.exit(bool(not_graded))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except (OSError, RuntimeError) as error:
        print(f"grade: {error}", file=sys.stderr)
        sys.exit(1)
