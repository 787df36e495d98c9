"""Find code that Python 3.8 cannot run, by reading it; the result is the same on every Python.

All newer syntax is found. Newer names are found only if they are in NEW_NAMES, NEW_METHODS or NEW_KEYWORDS and the code
says which module it means.
"""
import ast
import io
import re
import sys
import tokenize
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from tests.scoring.report import in_one_line

# Names "module.name" of the standard library, or whole modules, by the Python version that introduced them
NEW_NAMES = """
3.9  graphlib zoneinfo ast.unparse asyncio.to_thread functools.cache importlib.resources.files math.lcm math.nextafter
     math.ulp os.pidfd_open os.waitstatus_to_exitcode random.randbytes types.GenericAlias typing.Annotated
3.10 abc.update_abstractmethods builtins.EncodingWarning builtins.aiter builtins.anext
     contextlib.AsyncContextDecorator contextlib.aclosing dataclasses.KW_ONLY
     importlib.metadata.packages_distributions inspect.get_annotations io.text_encoding itertools.pairwise
     statistics.correlation statistics.covariance statistics.linear_regression sys.orig_argv sys.stdlib_module_names
     types.EllipsisType types.NoneType types.NotImplementedType types.UnionType typing.Concatenate typing.ParamSpec
     typing.TypeAlias typing.TypeGuard typing.is_typeddict
3.11 tomllib asyncio.Barrier asyncio.Runner asyncio.TaskGroup asyncio.timeout builtins.BaseExceptionGroup
     builtins.ExceptionGroup contextlib.chdir datetime.UTC enum.EnumCheck enum.EnumType enum.FlagBoundary
     enum.ReprEnum enum.StrEnum enum.member enum.nonmember enum.property enum.verify hashlib.file_digest
     logging.getLevelNamesMapping math.cbrt math.exp2 operator.call re.NOFLAG sys.exception typing.LiteralString
     typing.Never typing.NotRequired typing.Required typing.Self typing.TypeVarTuple typing.Unpack typing.assert_never
     typing.assert_type typing.dataclass_transform typing.get_overloads typing.reveal_type
3.12 calendar.Day calendar.Month collections.abc.Buffer csv.QUOTE_NOTNULL csv.QUOTE_STRINGS itertools.batched
     logging.getHandlerByName math.sumprod os.path.isjunction os.path.splitroot os.unshare random.binomialvariate
     sys.monitoring types.get_original_bases typing.TypeAliasType typing.override
3.13 builtins.PythonFinalizationError copy.replace math.fma os.process_cpu_count pathlib.UnsupportedOperation
     queue.ShutDown re.PatternError statistics.kde statistics.kde_random types.CapsuleType typing.NoDefault
     typing.ReadOnly typing.TypeIs warnings.deprecated
3.14 annotationlib compression concurrent.futures.InterpreterPoolExecutor concurrent.interpreters pathlib.types
     string.templatelib typing.evaluate_forward_ref
"""
# Methods with unique names
NEW_METHODS = {"removeprefix": "3.9", "removesuffix": "3.9", "is_relative_to": "3.9", "with_stem": "3.9",
               "bit_count": "3.10", "hardlink_to": "3.10", "is_junction": "3.12", "with_segments": "3.12",
               "full_match": "3.13", "from_uri": "3.13"}
NEW_KEYWORDS = {"builtins.zip": {"strict": "3.10"}, "dataclasses.dataclass": {"kw_only": "3.10", "slots": "3.10"},
                "bisect.bisect": {"key": "3.10"}, "bisect.insort": {"key": "3.10"}}
TYPES = {f"builtins.{name}" for name in
         "int float str bytes bool complex list dict tuple set frozenset type object".split()}
GENERIC = {"builtins.list", "builtins.dict", "builtins.tuple", "builtins.set", "builtins.frozenset", "builtins.type",
           "collections.OrderedDict", "collections.defaultdict", "collections.deque", "collections.Counter",
           "collections.ChainMap", "os.PathLike", "queue.Queue", "re.Match", "re.Pattern", "functools.partial"}
NEEDS: Dict[str, str] = {}                              # the version by name
for _line in NEW_NAMES.replace("\n     ", " ").strip().splitlines():
    _version, *_names = _line.split()
    NEEDS.update(dict.fromkeys(_names, _version))


def find_newer(folder: Path) -> List[str]:
    """Describe what Python 3.8 cannot run in the folder's scripts and in its lib."""
    found: List[str] = []
    for path, source in _code(folder):
        line = unreadable(source)
        newer = newer_names(source) if line is None else [(line, "Python 3.8 does not understand this line")]
        found += [in_one_line(f"{path}, line {number}: {words}") for number, words in newer]
    return found


def unreadable_files(folder: Path) -> List[Tuple[str, int]]:
    """Return the files that Python 3.8 cannot parse, each with the first line that it does not understand."""
    lines = [(path, unreadable(source)) for path, source in _code(folder)]
    return [(in_one_line(path), line) for path, line in lines if line is not None]


def _code(folder: Path) -> List[Tuple[str, bytes]]:
    """Return path and contents of the scripts and of all files in lib."""
    return [(path.relative_to(folder).as_posix(), path.read_bytes())
            for path in sorted(set(folder.glob("*.py")) | set(folder.glob("lib/**/*.py"))) if path.is_file()]


# Syntax

def unreadable(source: bytes) -> Optional[int]:
    """Return the first line of a file that Python 3.8 cannot compile, or None."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")             # about invalid escapes
            encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
            text = source.decode(encoding)              # imports accept other bytes in comments, scripts do not
            tree = ast.parse(text)
            compile(text, "<unknown>", "exec", dont_inherit=True)  # also finds a `return` outside of functions
    except SyntaxError as error:
        lines = source.decode("utf-8", errors="replace").splitlines()
        inside = (error.text or "").strip("()\n ")      # up to 3.11, an f-string is parsed separately, as line 1
        if error.filename == "<fstring>" and any(inside in line for line in lines):
            return next(number for number, line in enumerate(lines, 1) if inside in line)
        return error.lineno or 1
    except (ValueError, RecursionError, MemoryError):   # zero bytes; code nested too deeply
        return 1
    if sys.version_info < (3, 9):
        return None
    encoded = [line.encode() for line in re.split(r"\r\n|\r|\n", text)]  # columns of the syntax tree count bytes
    found = [line for node in ast.walk(tree) for line in _newer_nodes(node, encoded)]
    return min(found + list(_newer_tokens(text)), default=None)


def _newer_nodes(node: Any, lines: List[bytes]) -> Iterator[int]:
    """Yield the lines that Python 3.8 cannot parse because of a node of the syntax tree."""
    kind = type(node).__name__
    if kind in ("Match", "TypeAlias", "TemplateStr"):
        yield node.lineno
    elif kind == "TryStar":
        yield node.handlers[0].lineno
    elif kind == "Try":
        yield from (handler.lineno for handler in node.handlers if _is_bare_tuple(handler.type, lines))
    elif kind in ("FunctionDef", "AsyncFunctionDef", "ClassDef"):
        yield from (parameter.lineno for parameter in getattr(node, "type_params", []))
        yield from (decorator.lineno for decorator in node.decorator_list if not _is_dotted_name(
            decorator.func if isinstance(decorator, ast.Call) else decorator))
    elif kind == "arg" and isinstance(node.annotation, ast.Starred):
        yield node.annotation.lineno
    elif kind in ("Subscript", "Set"):
        parts = node.elts if kind == "Set" else [node.slice]
        parts = parts + (node.slice.elts if kind == "Subscript" and _is_bare_tuple(node.slice, lines) else [])
        yield from (part.lineno for part in parts if isinstance(part, ast.Starred) and kind == "Subscript"
                    or isinstance(part, ast.NamedExpr) and not _is_after_bracket(part, lines))
    elif kind in ("For", "AsyncFor") and _is_bare_tuple(node.iter, lines):
        yield from (part.lineno for part in node.iter.elts if isinstance(part, ast.Starred))


def _is_bare_tuple(node: Any, lines: List[bytes]) -> bool:
    """Return whether a node is a tuple without brackets around it."""
    if not isinstance(node, ast.Tuple) or node.end_lineno is None:
        return False
    return not (lines[node.lineno - 1][node.col_offset:].startswith(b"(")
                and lines[node.end_lineno - 1][:node.end_col_offset].endswith(b")"))


def _is_after_bracket(node: Any, lines: List[bytes]) -> bool:
    before = lines[node.lineno - 1][:node.col_offset].rstrip()
    return not before or before.endswith(b"(")


def _is_dotted_name(node: Any) -> bool:
    return isinstance(node, ast.Name) or isinstance(node, ast.Attribute) and _is_dotted_name(node.value)


def _newer_tokens(text: str) -> Iterator[int]:
    """Yield the lines with `as` inside the brackets of a `with`, and those where an f-string needs Python 3.12."""
    quotes: List[str] = []                              # quotes of the f-strings around a token
    depth, is_import = 0, False
    for kind, string, (line, _), _, _ in tokenize.generate_tokens(io.StringIO(text, newline="").readline):
        name = tokenize.tok_name[kind]
        if name == "FSTRING_END":
            quotes.pop()
            continue
        around = quotes[:-1] if name == "FSTRING_MIDDLE" else quotes  # the token is inside their expressions
        if around and (name == "COMMENT" or any(banned in string for banned in around + ["\\"])
                       or "\n" in string and min(map(len, around)) == 1):
            yield line
        if name == "FSTRING_START":
            quotes.append(string.lstrip("fFrR"))
        elif name == "OP" and string in "([{":
            depth += 1
        elif name == "OP" and string in ")]}":
            depth -= 1
        elif name == "NEWLINE":
            is_import = False
        elif name == "NAME" and string in ("from", "import") and not depth:
            is_import = True
        elif name == "NAME" and string == "as" and depth and not is_import:
            yield line


# Names

def newer_names(source: bytes) -> List[Tuple[int, str]]:
    """Return the lines that need a newer Python when they run, and why. Python 3.8 must be able to compile the file."""
    tree = ast.parse(source)
    aliases = _imported(tree)
    bound = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    bound |= {getattr(node, "arg", "") or getattr(node, "name", "") for node in ast.walk(tree)
              if isinstance(node, (ast.arg, ast.FunctionDef, ast.ClassDef, ast.ExceptHandler))}

    def dotted(node: Any) -> str:
        if isinstance(node, ast.Attribute):
            return f"{dotted(node.value)}.{node.attr}"
        if isinstance(node, ast.Name):
            return aliases.get(node.id) or ("" if node.id in bound else f"builtins.{node.id}")
        return ""

    def is_type(node: Any) -> bool:
        return dotted(node) in TYPES or isinstance(getattr(node, "value", node), type(None)) or (
            isinstance(node, ast.Subscript) and dotted(node.value) in GENERIC)

    found = set()
    lazy = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" and node.names[0].name == "annotations"
               for node in tree.body)
    for node, is_annotation in _nodes_that_run(tree, lazy):
        found |= {(node.lineno, f"`{name[9:] if name.startswith('builtins.') else name}` needs Python {version}")
                  for name, version in _of_later_library(node, dotted)}
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            sides = [node.left, node.right]
            if is_annotation or any(map(is_type, sides)):
                found.add((node.lineno, "a type like `int | None` needs Python 3.10: write Optional or Union"))
            elif any(isinstance(side, (ast.Dict, ast.DictComp)) or dotted(getattr(side, "func", 0)) == "builtins.dict"
                     for side in sides):
                found.add((node.lineno, "`|` between dicts needs Python 3.9: write {**one, **other}"))
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and (
                dotted(node.value) in GENERIC or dotted(node.value).startswith("collections.abc.")):
            name = dotted(node.value).split(".")[-1]
            found.add((node.lineno, f"`{name}[...]` needs Python 3.9: use the type from typing"))
    return sorted(found)


def _imported(tree: ast.AST) -> Dict[str, str]:
    """Return the full names of imported names, like {"np": "numpy", "cache": "functools.cache"}."""
    aliases = {}
    for node in ast.walk(tree):
        for alias in node.names if isinstance(node, (ast.Import, ast.ImportFrom)) else ():
            if isinstance(node, ast.ImportFrom):
                aliases[alias.asname or alias.name] = f"{'.' * node.level}{node.module}.{alias.name}"
            elif alias.asname:
                aliases[alias.asname] = alias.name
            else:
                aliases[alias.name.split(".")[0]] = alias.name.split(".")[0]
    return aliases


def _nodes_that_run(node: Any, lazy: bool, in_function: bool = False, is_annotation: bool = False
                    ) -> Iterator[Tuple[Any, bool]]:
    """Yield the nodes that Python 3.8 evaluates, and whether each is in an annotation.

    Args:
        lazy: annotations are not evaluated, because of `from __future__ import annotations`.
    """
    yield node, is_annotation
    in_function = in_function or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
    for field, value in ast.iter_fields(node):
        annotates = field in ("annotation", "returns")
        if annotates and (lazy or in_function and isinstance(node, ast.AnnAssign)) or _is_guarded(node, field):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _nodes_that_run(child, lazy, in_function, is_annotation or annotates)


def _is_guarded(node: Any, field: str) -> bool:
    """Return whether the code first checks that Python can run what is in a field of the node."""
    if isinstance(node, ast.Try) and field == "body":
        caught = {part.id for handler in node.handlers for part in ast.walk(handler.type or ast.Name("Exception"))
                  if isinstance(part, ast.Name)}
        return bool(caught & {"ImportError", "ModuleNotFoundError", "AttributeError", "NameError", "Exception"})
    return isinstance(node, (ast.If, ast.IfExp)) and field != "test" and any(
        getattr(part, "attr", getattr(part, "id", "")) in ("version_info", "TYPE_CHECKING", "hasattr")
        for part in ast.walk(node.test))


def _of_later_library(node: Any, dotted: Callable[[Any], str]) -> Iterator[Tuple[str, str]]:
    """Yield the names newer than Python 3.8 that a node uses from the standard library, and their versions."""
    names: List[str] = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and not node.level:
        names = [str(node.module)] + [f"{node.module}.{alias.name}" for alias in node.names]
    elif isinstance(node, ast.Attribute) or isinstance(node, ast.Name) and dotted(node).startswith("builtins."):
        names = [dotted(node)]                          # an imported name is reported at its import
    elif isinstance(node, ast.Call):
        method = getattr(node.func, "attr", "")
        if method in NEW_METHODS:
            yield f".{method}()", NEW_METHODS[method]
        given = NEW_KEYWORDS.get(dotted(node.func), {})
        for keyword in node.keywords:
            if keyword.arg in given:
                yield f"{dotted(node.func)}({keyword.arg}=...)", given[keyword.arg]
    for name in names:
        if name in NEEDS:
            yield name, NEEDS[name]
