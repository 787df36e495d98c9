"""Confining a process on Linux, without privileges: limits, no new privileges, Landlock and seccomp.

Each layer works without the others. `apply` takes what the kernel gives; `probe` tries what holds here.

Landlock: https://docs.kernel.org/userspace-api/landlock.html
seccomp: https://docs.kernel.org/userspace-api/seccomp_filter.html
"""
import ctypes
import os
import platform
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple

if sys.platform == "linux":
    import resource

MEMORY = 2 ** 30                # bytes of address space, in addition to what PyTorch has taken
FILE = 64 * 2 ** 20             # bytes of one file
OPEN_FILES, PROCESSES = 256, 64
FIRST_USER = 200000             # as root: users that nobody else is

# prctl(2)
PDEATHSIG, DUMPABLE, SECCOMP, SUBREAPER, NO_NEW_PRIVS = 1, 4, 22, 36, 38

# Landlock: rights to files by their bit, and what each version of the interface added
READ_FILE, LIST = 1 << 2, 1 << 3
# Only files can be made in the scratch folder, and not be removed: so the caller sees how much is written.
WRITE = 1 << 1 | 1 << 8 | 1 << 14                               # write, make a regular file, truncate
FILES = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
TCP, SCOPES = (4, 3), (6, 3)                                    # since which version, and all bits
RULESET_CREATE, RULESET_ADD, RULESET_RESTRICT = 444, 445, 446   # the same numbers on every machine

# What seccomp refuses, with the numbers of x86_64 and aarch64 (0: not there)
REFUSED = {
    # processes, programs and signals
    "fork": (57, 0), "vfork": (58, 0), "execve": (59, 221), "execveat": (322, 281), "kill": (62, 129),
    "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "setpriority": (141, 140), "sched_setscheduler": (144, 119), "sched_setparam": (142, 118),
    "sched_setattr": (314, 274), "sched_setaffinity": (203, 122), "ioprio_set": (251, 30),
    # the memory of others, and memory that outlives the process
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "memfd_create": (319, 279), "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "semget": (64, 190),
    "semop": (65, 193), "semctl": (66, 191), "semtimedop": (220, 192), "msgget": (68, 186), "msgsnd": (69, 189),
    "msgrcv": (70, 188), "msgctl": (71, 187), "mq_open": (240, 180), "mq_unlink": (241, 181),
    # network
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200),
    # other views of the file system, and other ways into the kernel
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_by_handle_at": (304, 265), "fanotify_init": (300, 262), "inotify_init": (253, 0),
    "inotify_init1": (294, 26), "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "syslog": (103, 116),
    # what Landlock leaves open: modes, owners, attributes and times of files
    "chmod": (90, 0), "fchmod": (91, 52), "fchmodat": (268, 53), "chown": (92, 0), "fchown": (93, 55),
    "lchown": (94, 0), "fchownat": (260, 54), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "utimensat": (280, 88),
    "utime": (132, 0), "utimes": (235, 0), "futimesat": (261, 0), "truncate": (76, 45),
}
# The numbers from 424 on are the same on every machine. Of these, only some are known to be harmless.
FIRST_NEW, HARMLESS = 424, {"close_range": 436, "faccessat2": 439, "epoll_pwait2": 441, "futex_waitv": 449}
# Refused if an argument, counted from 0, has one of these bits: files without a name
BITS = {"open": ((2, 0), 1, 0x400000), "openat": ((257, 56), 2, 0x400000)}
# Refused if an argument is one of these: prctl's PDEATHSIG and DUMPABLE, so that it dies with its caller; and fcntl's
# F_SETOWN, F_SETSIG and F_SETOWN_EX, which send signals
VALUES = {"prctl": ((157, 167), 0, (PDEATHSIG, DUMPABLE)), "fcntl": ((72, 25), 1, (8, 10, 15))}
CLONE, PRLIMIT = (56, 220), (302, 261)
CLONE_THREAD, X32 = 0x10000, 0x40000000
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # the column above, and the kernel's name

LAYERS = ("another user", "limits", "no new privileges", "files", "network and processes")


def is_possible() -> bool:
    """Return whether this system has what the grader needs; only Linux does."""
    return sys.platform == "linux"


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def prctl(option: int, value: int = 0, *more: Any) -> None:
    """Set an attribute of this process. Raises OSError."""
    if _libc().prctl(option, ctypes.c_ulong(value), *(list(more) + [0, 0, 0])[:3]):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def guard() -> None:
    """Protect a trusted process: no other one reads its memory, and it inherits orphans, which it can end."""
    prctl(DUMPABLE, 0)
    prctl(SUBREAPER, 1)


def die_with_parent() -> None:
    """Let the kernel kill this process when its parent ends."""
    prctl(PDEATHSIG, signal.SIGKILL)


def another_user(number: int) -> Optional[int]:
    """Return the user to become, or None if this process is not root's, or others cannot read the interpreter."""
    if os.geteuid():
        return None
    folders = {folder for path in _interpreter() for folder in [path, *path.parents]}
    return FIRST_USER + number if all(folder.stat().st_mode & 1 for folder in folders) else None


def _interpreter() -> List[Path]:
    """Return the folders from which Python and its packages are read."""
    places = [Path(prefix, name) for prefix in {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
              for name in ("lib", "lib64")] + [Path(path) for path in sys.path if "-packages" in path]
    return sorted({place.resolve() for place in places if place.is_dir()})


def apply(read: Sequence[Path], listed: Sequence[Path], scratch: Path, user: Optional[int], seconds: int,
          needed: Sequence[str] = ()) -> None:
    """Confine this process, and all that it starts, for ever.

    Args:
        read: folders with what the process may read, beside the interpreter.
        listed: folders whose names it may list.
        scratch: the only folder in which it may write.
        user: the user to become.
        seconds: of CPU time.
        needed: those of LAYERS that hold here, as `probe` has found.

    Raises:
        OSError: the process could not be confined by a needed layer.
    """
    limits = {"CPU": seconds, "FSIZE": FILE, "NOFILE": OPEN_FILES, "CORE": 0, "AS": _address_space() + MEMORY}
    for name, value in dict(limits, **({} if user is None else {"NPROC": PROCESSES})).items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
    if user is not None:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    die_with_parent()                               # a change of user resets this
    prctl(DUMPABLE, 0)
    _drop_capabilities()
    for layer, add in ((LAYERS[2], lambda: prctl(NO_NEW_PRIVS, 1)),
                       (LAYERS[3], lambda: _landlock(read, listed, scratch)), (LAYERS[4], _seccomp)):
        try:
            add()
        except OSError:                             # not in this kernel: `probe` reports it
            if layer in needed:
                raise


def limit_memory(more: int) -> None:
    """Limit this process's address space to what it has and some more bytes."""
    most = _address_space() + more
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _drop_capabilities() -> None:
    header, data = struct.pack("<Ii", 0x20080522, 0), bytes(24)
    if _libc().capset(header, data):
        raise OSError(ctypes.get_errno(), "capset")


def _landlock(read: Sequence[Path], listed: Sequence[Path], scratch: Path) -> None:
    """Allow only reading some folders and writing into one; no TCP, and no signals to outside."""
    syscall = _libc().syscall
    version = syscall(RULESET_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint(1))
    if version < 1:
        raise OSError("no Landlock")
    everything = sum(bits for since, bits in FILES.items() if since <= version)
    attributes = struct.pack("<QQQ", everything, *(bits if since <= version else 0 for since, bits in (TCP, SCOPES)))
    ruleset = syscall(RULESET_CREATE, attributes[:8 * (1 + (version >= 4) + (version >= 6))],
                      ctypes.c_size_t(8 * (1 + (version >= 4) + (version >= 6))), ctypes.c_uint(0))
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "Landlock")
    system = [Path(path) for path in ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/share/zoneinfo",
                                      "/etc/ld.so.cache", "/etc/localtime", "/proc/cpuinfo", "/proc/meminfo",
                                      "/sys/devices/system/cpu", "/sys/devices/system/node", "/dev/urandom")]
    rules = [(path, READ_FILE | LIST) for path in [*_interpreter(), *system, *read]] + [(path, LIST) for path in listed]
    rules += [(scratch, everything & (READ_FILE | LIST | WRITE)), (Path("/dev/null"), 1 << 1 | READ_FILE)]
    for path, rights in rules:
        try:
            place = os.open(str(path), os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        if not path.is_dir():
            rights &= 1 << 1 | READ_FILE
        if syscall(RULESET_ADD, ruleset, 1, struct.pack("<Qi", rights, place), 0):
            raise OSError(ctypes.get_errno(), f"Landlock: {path}")
        os.close(place)
    if syscall(RULESET_RESTRICT, ruleset, 0):
        raise OSError(ctypes.get_errno(), "Landlock")
    os.close(ruleset)


def _seccomp() -> None:
    """Refuse the system calls above, new processes, and limits of other processes; threads are allowed."""
    if platform.machine() not in MACHINES:
        raise OSError("no table of system calls for this machine")
    column, name = MACHINES[platform.machine()]
    load, equal, at_least, has_bits, end = 0x20, 0x15, 0x35, 0x45, 0x06     # instructions of BPF
    allow, refuse, missing, kill = 0x7fff0000, 0x00050001, 0x00050026, 0x80000000   # EPERM is 1, ENOSYS is 38
    filters: List[Tuple[int, int, int, int]] = [
        (load, 0, 0, 4), (equal, 1, 0, name), (end, 0, 0, kill),            # another machine's numbers
        (load, 0, 0, 0), (at_least, 0, 1, X32), (end, 0, 0, refuse)]
    for number in sorted({numbers[column] for numbers in REFUSED.values()} - {0}):
        filters += [(equal, 0, 1, number), (end, 0, 0, refuse)]
    for number in HARMLESS.values():
        filters += [(equal, 0, 1, number), (end, 0, 0, allow)]
    filters += [(at_least, 0, 1, FIRST_NEW), (end, 0, 0, missing)]          # glibc then uses an older one

    def unless(number: int, argument: int, *conditions: Tuple[int, int, int, int]) -> None:
        """Add: if it is this call, load an argument; allow the call where the conditions do not refuse it."""
        if number:
            lines = [(load, 0, 0, 16 + 8 * argument), *conditions, (end, 0, 0, allow)]
            filters.extend([(equal, 0, len(lines), number), *lines])

    for numbers, argument, bits in BITS.values():
        unless(numbers[column], argument, (has_bits, 0, 1, bits), (end, 0, 0, refuse))
    for numbers, argument, values in VALUES.values():
        unless(numbers[column], argument, *(
            line for value in values for line in ((equal, 0, 1, value), (end, 0, 0, refuse))))
    unless(CLONE[column], 0, (has_bits, 1, 0, CLONE_THREAD), (end, 0, 0, refuse))
    unless(PRLIMIT[column], 0, (equal, 1, 0, 0), (end, 0, 0, refuse))       # 0: this process itself
    filters.append((end, 0, 0, allow))
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *line) for line in filters))
    program = struct.pack("<HxxxxxxQ", len(filters), ctypes.addressof(code))
    prctl(SECCOMP, 2, program)


def probe(folder: Path) -> Dict[str, bool]:
    """Return for each of LAYERS whether it holds here: a confined process tries what it must not be able to do.

    Args:
        folder: an empty one, for this alone.
    """
    inside, outside = folder / "scratch", folder / "outside"
    inside.mkdir()
    outside.write_text("secret")
    user = another_user(0)
    if user is not None:
        os.chown(str(inside), user, user)
    parent = os.getpid()

    def refused(*attempts: Callable[[], object]) -> bool:
        for attempt in attempts:
            try:
                attempt()
                return False
            except OSError:
                continue
        return True

    def holds() -> Iterable[bool]:
        apply([], [], inside, user, seconds=10)
        yield user is not None and os.getuid() == user
        yield resource.getrlimit(resource.RLIMIT_FSIZE)[0] == FILE
        yield _libc().prctl(NO_NEW_PRIVS + 1, 0, 0, 0, 0) == 1      # PR_GET_NO_NEW_PRIVS
        yield refused(outside.read_bytes, lambda: outside.write_text(""), lambda: os.listdir("/"),
                      (folder / "new").touch) and not refused((inside / "new").touch)
        yield refused(socket.socket, os.fork, lambda: os.kill(parent, 0), lambda: os.chmod(str(inside), 0o700))

    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, bytes(holds()))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        found = file.read()
    os.waitpid(child, 0)
    return {layer: number < len(found) and bool(found[number]) for number, layer in enumerate(LAYERS)}
