"""Every flag of every script, as its parser knows it, with values that cannot be right."""
import argparse
import importlib
from itertools import combinations
from typing import Iterator, List
from unittest import mock

from course.tests.surroundings import REFUSED, SCRIPTS, Case, printable, tiny
from lib.script import file_name, folder_name

# right for no flag with a type or with choices, nor for a device or a density
BAD = ("--", "", "  ", "nan", "inf", "-inf", "1e400", "-1", "99999999999999999999", "0x10", "\u0663", "1\n2", "[1]",
       "1,5", "1 2", "--5", "None", "\x1b[31m", "9" * 5000)
ENDS_SOON = "--device=nowhere"                      # a value that is taken for a right one leads to another line


class Found(Exception):
    pass


def parser_of(script: str) -> argparse.ArgumentParser:
    """The parser that a script makes."""
    def stop(parser, *args, **options):
        raise Found(parser)

    with mock.patch.object(argparse.ArgumentParser, "parse_args", stop):
        try:
            importlib.import_module(script[:-3]).main()
        except Found as found:
            return found.args[0]
    raise AssertionError(f"{script} parses no flags")


def flags_of(script: str) -> List[argparse.Action]:
    return [action for action in parser_of(script)._actions if action.option_strings and action.dest != "help"]


def is_text(action: argparse.Action) -> bool:
    """Does it take any text, such as a name or a path?"""
    return action.nargs != 0 and action.type in (None, file_name, folder_name) and not action.choices


def cases() -> Iterator[Case]:
    for script in SCRIPTS:
        def case(*flags, word, script=script):
            return Case(f"flag {script[:-3]} {printable(' '.join(flags))}", script, flags, REFUSED, (word,))

        for action, flag in ((each, flag) for each in flags_of(script) for flag in each.option_strings):
            if action.nargs == 0:
                for value in "", "--", "1", "a\nb":
                    yield case(f"{flag}={value}", ENDS_SOON, word=flag)
            else:
                yield case(ENDS_SOON, flag, word=flag)
                yield case(flag, ENDS_SOON, word=flag)
            if is_text(action) and flag not in ("--device", "--dataset"):
                for value in "", "--":
                    yield tiny(script, f"flag {script[:-3]} {flag}={value}", f"{flag}={value}", status=REFUSED,
                               words=(flag,))
            elif action.nargs != 0:
                for value in BAD:
                    yield case(*([] if flag in ("--device", "--dataset") else [ENDS_SOON]), f"{flag}={value}",
                               word=flag)
            for unknown in flag[:-1], flag.upper(), flag[1:], f"{flag}s", f"{flag}\nx":
                if not unknown.startswith("-h"):    # -h has a meaning of its own
                    yield case(ENDS_SOON, unknown, word=unknown.split("\n")[0])
            if "_" in flag:
                yield case(ENDS_SOON, flag.replace("_", "-"), word=flag.replace("_", "-"))
        for more in "more", "a\nb", "\x1b[31mred":
            yield case(ENDS_SOON, more, word=more.split("\n")[0][-3:])
        for group in parser_of(script)._mutually_exclusive_groups:
            for one, other in combinations(group._group_actions, 2):
                for first, second in (one, other), (other, one):
                    yield case(ENDS_SOON, *first.option_strings, *([] if first.nargs == 0 else ["1"]),
                               *second.option_strings, *([] if second.nargs == 0 else ["1"]),
                               word=second.option_strings[-1])
