"""A call (see the package): one function of a test, on a student's lib, in a confined process."""
import ast
import contextlib
import faulthandler
import linecache
import os
import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, Iterator, Optional, Sequence, Set, Tuple

from course.grader import confine
from course.grader.values import pack

ROOT = Path(__file__).resolve().parents[2]


def answer_one_call(request: Dict[str, Any], scratch: Path, user: Optional[int], needed: Sequence[str], result: int,
                    output: int) -> None:
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
    for name in [name for name in sys.modules if name.split(".")[0] in ("lib", "course")]:
        del sys.modules[name]                       # the teacher's: only the student's lib must be found
    sys.dont_write_bytecode = True
    support.LIB = submission / "lib"
    faulthandler.dump_traceback_later(max(request["seconds"] - 0.5, 0.1), file=2)
    confine.apply([submission / "lib"], [submission], scratch, user, int(request["seconds"]) + 2, needed)
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
