"""Rules of style that neither pycodestyle nor ruff checks: docstrings, conditional expressions, lengths of modules."""
import ast
import re

import pytest

from course.tests.support import ROOT, tracked_files

MODULES = [name for name in tracked_files(ROOT) if name.endswith(".py")]
WITH_DOCSTRINGS = [name for name in MODULES
                   if name.startswith(("lib/", "tests/scoring/", "course/")) and not name.startswith("course/tests/")]
LONGEST = 250  # lines of a module in lib

# Verbs that a docstring may start with. If yours is missing and is a verb in the imperative, add it.
VERBS = set("""
    Accept Add Allow Append Apply Arrange Ask Assert Assign Average Await Begin Bend Blur Bound Bring Build Call
    Cancel Cast Catch Change Check Choose Clamp Clean Clear Clip Clone Close Collect Combine Compare Complete
    Compute Concatenate Configure Confine Connect Construct Convert Copy Count Cover Crawl Create Crop Cut Decide Decode
    Define Delete Derive Describe Detach Detect Disable Display Divide Do Download Downsample Draw Drop Duplicate
    Edit Emit Enable Encode End Ensure Enumerate Escape Estimate Evaluate Execute Exit Expand Explain Export Expose
    Extract Fail Feed Fetch Fill Filter Find Finish Fit Fix Flatten Flip Follow Forget Fork Format Generate Get Give
    Grade Guess Halve Handle Hash Hide Highlight Identify Ignore Import Include Increase Indicate Initialise
    Initialize Insert Inspect Install Interpolate Invert Iterate Join Judge Keep Kill Label Launch Lay Leave Let Limit
    Link List Load Locate Lock Log Look Make Map Mark Mask Match Measure Merge Minimise Mirror Mix Modify Move Name
    Normalise Normalize Note Offer Open Order Pack Pad Paint Parse Pass Patch Permute Pick Place Plot Point Predict
    Prepare Preserve Print Process Project Protect Provide Publish Push Put Query Quote Raise Randomise Rank Read
    Receive Recognise
    Record Reduce Refuse Release Remove Rename Render Repeat Replace Report Require Reset Resize Resolve Restore
    Resume Return Rewrite Rotate Round Run Sample Save Say Scale Scatter Score Search Seed Select Send Set Shift
    Shorten Show Shuffle Silence Simulate Skip Smooth Snap Solve Sort Split Stack Standardise Start Stop Store Strip
    Subtract Suggest Sum Swap Switch Synchronise Take Teach Terminate Test Tidy Time Track Train Transform Trim
    Truncate Try Turn Undo Unlock Unpack Unwrap Update Upsample Use Validate Verify Visit Wait Walk Warn Watch
    Weight Wrap Write Yield Zip
""".split())


def read_tree(name):
    return ast.parse((ROOT / name).read_text(encoding="utf-8"))


def public_functions(body):
    """Yield the public functions and methods, apart from properties and pytest fixtures."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_"):
            decorators = " ".join(ast.dump(decorator) for decorator in node.decorator_list)
            if "property" not in decorators and "fixture" not in decorators:
                yield node


def find_problems(tree):
    """Return what is wrong with the docstrings of public functions: {line: message}."""
    problems = {}
    for function in public_functions(tree.body):
        docstring = ast.get_docstring(function)
        first_word = re.match(r"\w*", docstring or "Return")[0]
        if first_word not in VERBS:
            problems[function.lineno] = (f"{function.name}: the docstring starts with {first_word!r}, not with an "
                                         "imperative (see VERBS in test_style_rules.py)")
    return problems


@pytest.mark.parametrize("name", WITH_DOCSTRINGS)
def test_docstrings_of_public_functions_are_imperative(name):
    problems = find_problems(read_tree(name))
    assert not problems, "\n".join(f"{name}:{line}: {problem}" for line, problem in problems.items())


@pytest.mark.parametrize("name", MODULES)
def test_modules_have_docstrings(name):
    tree = read_tree(name)
    assert not tree.body or ast.get_docstring(tree), f"{name}: begin the module with a docstring"


@pytest.mark.parametrize("name", MODULES)
def test_conditional_expressions_are_not_nested(name):
    nested = [inner.lineno for outer in ast.walk(read_tree(name)) if isinstance(outer, ast.IfExp)
              for inner in ast.walk(outer) if isinstance(inner, ast.IfExp) and inner is not outer]
    assert not nested, f"{name}, lines {nested}: use if and else statements"


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("lib/")])
def test_modules_of_lib_are_short(name):
    lines = (ROOT / name).read_text(encoding="utf-8").count("\n")
    assert lines <= LONGEST, f"{name} has {lines} lines, more than {LONGEST}: move a part to a new module"


@pytest.mark.parametrize("source, words", [
    ("def f():\n    pass", ""), ('def f():\n    """Return x."""', ""), ('def f():\n    """Return x.\n\n    y"""', ""),
    ('def _f():\n    """The x."""', ""), ('class C:\n    """A C."""\n    def __len__(self):\n        """The n."""', ""),
    ('@property\ndef f():\n    """The x."""', ""), ('@pytest.fixture\ndef f():\n    """The x."""', ""),
    ('def f():\n    """The x."""', "starts with 'The'"), ('def f():\n    """Returns x."""', "starts with 'Returns'"),
    ('def f():\n    """B,C,H,W images."""', "starts with 'B'"),
    ('class C:\n    def f():\n        """Whether x."""', "starts with 'Whether'")])
def test_problems_are_found(source, words):
    """A test of the check above."""
    found = find_problems(ast.parse(source))
    assert (words in " ".join(found.values())) if words else not found
