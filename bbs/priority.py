"""Threads that take what others leave of the processors."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from platform import machine

NICENESS = 15
"""How far work in the background stands back, of at most 19. Measured on two cores where a hundred
log in: with 10, who has a place waits four to six times as long for an answer when the machine is
busy besides; with 15 under two and a half times. It leaves hashing 3.5 % of processors that others
want wholly."""

SLICE = 100_000
"""Nanoseconds for which such a thread goes on before whoever wakes up is let in: the least that
Linux takes. What it has by itself, some milliseconds, is waited for at every step of an answer that
passes through several processes."""

_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274, "riscv64": 274}
"""The system call's number, as the kernel's tables have it; Python and the C library have no name
for it."""


class _Attributes(ctypes.Structure):
    """struct sched_attr, in its first version (sched_setattr(2))."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),  # 0: SCHED_OTHER
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    )


def stand_back() -> None:
    """Have the thread that calls run while others want no processor, where a thread can have a
    priority of its own. Linux has slices of one's own from 6.12 on; before, it ignores them."""
    if sys.platform != "linux":
        return  # To lower the priority would be for the whole process.
    nice = os.nice(NICENESS)
    number = _SCHED_SETATTR.get(machine())
    if number is not None:
        attributes = _Attributes(nice=nice, runtime=SLICE)
        attributes.size = ctypes.sizeof(attributes)
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).syscall(number, 0, ctypes.byref(attributes), 0)
