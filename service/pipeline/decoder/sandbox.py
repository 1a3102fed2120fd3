"""The sandbox of a process that reads untrusted files: privileges it drops first (Linux)."""

import ctypes
import errno
import os
import resource
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

try:
    import pyseccomp
except (ImportError, RuntimeError, OSError) as error:  # which it raises without libseccomp
    pyseccomp, MISSING = None, f"system calls are not filtered ({error}): install libseccomp"

# <linux/prctl.h>
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38

FILES = 8  # descriptors it may hold: its channel, three that lead nowhere, memory that is renewed
# To take and give memory, to receive a job and to answer it, to see the time, and to end.
SYSTEM_CALLS = (
    *("read", "write", "recvmsg", "recvfrom", "sendmsg", "sendto", "close", "fstat", "lseek"),
    *("mmap", "munmap", "mremap", "mprotect", "madvise", "brk", "futex", "sched_yield"),
    *("clock_gettime", "gettimeofday", "getrandom", "getpid", "gettid", "getrusage"),
    *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "tgkill", "restart_syscall"),
    *("prlimit64", "setrlimit", "getrlimit", "ugetrlimit", "mmap2", "fcntl", "fcntl64"),
    *("exit", "exit_group"),
)


@dataclass(frozen=True)
class SandboxLimits:
    """What a confined process may take."""

    memory_bytes: int  # beyond what it has when it begins
    files: int = FILES


def confine(bounds: SandboxLimits, parent: int) -> str | None:
    """
    Drop all privileges but memory, time and the open descriptors; ends with process `parent`.

    Gives a sentence if system calls are not filtered; raises OSError for the rest.
    """
    _control(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits: Mapping[int, int] = {
        resource.RLIMIT_AS: taken + bounds.memory_bytes,
        resource.RLIMIT_NOFILE: bounds.files,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
    }
    _control(PR_SET_NO_NEW_PRIVS, 1)
    _control(PR_SET_DUMPABLE, 0)
    unfiltered = _filter_calls()
    for kind, limit in limits.items():
        resource.setrlimit(kind, (limit, limit))
    return unfiltered


def limit_cpu(seconds: int) -> None:
    """Limit this process to so many more seconds of CPU time; the system then ends it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    until = int(used.ru_utime + used.ru_stime) + seconds + 1
    _, hardest = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (until, hardest))


def _control(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option} is refused")


def _filter_calls() -> str | None:
    """Have all other system calls fail with EPERM."""
    if not pyseccomp:
        return MISSING
    try:
        allowed = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.EPERM))
        for name in SYSTEM_CALLS:
            try:
                allowed.add_rule(pyseccomp.ALLOW, name)
            except (OSError, ValueError, RuntimeError):
                continue  # a call that this machine does not have
        allowed.load()
    except (OSError, RuntimeError) as error:
        return f"system calls are not filtered: the kernel refuses ({error})"
    return None
