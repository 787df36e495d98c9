"""Settings of the whole process: a call of your code may change them, and they are restored before the next call."""
import contextlib
import os
import signal
import sys
import warnings
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import numpy as np
import torch


def attribute(module: Any, name: str) -> Tuple[Callable, Callable]:
    """Return how to read and how to set an attribute of a module."""
    return (lambda: getattr(module, name)), (lambda value: setattr(module, name, value))


def default_device() -> Optional[torch.device]:
    try:
        return torch.empty(0).device
    except Exception:                               # the device does not exist on this machine
        return None


def working_directory() -> str:
    try:
        return os.getcwd()
    except OSError:                                 # it was deleted
        return ""


def set_environment(variables: Dict[str, str]) -> None:
    for name in set(os.environ) - set(variables):
        del os.environ[name]
    os.environ.update(variables)


def set_warning_filters(filters: List[Any]) -> None:
    warnings.resetwarnings()                        # also clears Python's cache of which filter matched which warning
    warnings.filters[:] = filters                   # type: ignore[index]


# How to read each setting, and how to set it
SETTINGS: List[Tuple[Callable, Callable]] = [
    (sys.getrecursionlimit, sys.setrecursionlimit),
    (default_device, lambda _: torch.set_default_device(None)),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.is_anomaly_enabled, torch.set_anomaly_enabled),
    (lambda: torch.is_autocast_enabled("cpu"), lambda on: torch.set_autocast_enabled("cpu", on)),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
     lambda modes: torch.use_deterministic_algorithms(modes[0], warn_only=modes[1])),
    (np.geterr, lambda modes: np.seterr(**modes)),
    (np.geterrcall, np.seterrcall),
    (np.get_printoptions, lambda options: np.set_printoptions(**options)),
    (lambda: list(warnings.filters), set_warning_filters),
    attribute(warnings, "showwarning"),
    (working_directory, os.chdir),
    (lambda: dict(os.environ), set_environment),
    (lambda: list(sys.path), lambda paths: sys.path.__setitem__(slice(None), paths)),
    *(attribute(sys, name) for name in ("stdin", "stdout", "stderr", "excepthook", "displayhook")),
    (sys.gettrace, sys.settrace),
]
if hasattr(signal, "setitimer"):                    # an alarm would go off in a later test
    SETTINGS.append((lambda: signal.getitimer(signal.ITIMER_REAL)[0] > 0,
                     lambda _: signal.setitimer(signal.ITIMER_REAL, 0)))
SETTINGS += [(lambda number=number: signal.getsignal(number), lambda handler, number=number: signal.signal(
    number, handler)) for number in signal.Signals if number in (signal.SIGINT, getattr(signal, "SIGALRM", None))]


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """Restore all settings afterwards.

    A module of lib may change them when it is imported, which happens once. If anything has changed, these modules are
    forgotten: the next call imports them again, so that the settings are the same whichever test runs first.
    """
    before = [read() for read, _ in SETTINGS]
    try:
        yield
    finally:
        changed = False
        for (read, restore), value in zip(SETTINGS, before):
            if read() != value:
                restore(value)
                changed = True
        for name in list(sys.modules) if changed else ():
            if name.split(".")[0] == "lib":
                del sys.modules[name]
