"""The threads that torch computes with on a CPU, for compiled functions of our own.

Threads of a second pool would wait actively for work, and on two cores each pool would stall the
other. So functions are started by the OpenMP library that torch itself has loaded.
"""

import ctypes
import os
from functools import cache
from pathlib import Path
from typing import Any

import torch

INLINE = 256 * 1024
"""Fewer bytes than these are worked through sooner than a second thread has woken up."""


def run(function: int, arguments: Any, size: int) -> None:
    """Run the compiled `void function(void *arguments)` at an address on torch's threads.

    Each thread calls it once; they divide the work by a counter in the ctypes buffer `arguments`.
    Work on about `size` bytes is done by the calling thread alone where that is little, and all of
    it where torch uses one thread or an OpenMP library that does not have GNU's interface.
    """
    threads = torch.get_num_threads()
    parallel = _parallel() if threads > 1 and size > INLINE else None
    if parallel is None:
        _CALL(function)(arguments)
    else:
        parallel(function, arguments, threads, 0)


def release() -> None:
    """End the OpenMP threads that wait for the calling thread.

    GNU's library stops waiting actively as soon as it has more threads than there are processors,
    whoever started them; from then on the kernel wakes a thread at each parallel region. A model
    that is loaded in one thread and answers in another would have twice as many. Does nothing where
    the library does not know the call (OpenMP 5.0's `omp_pause_resource_all`).
    """
    pause = _symbol("omp_pause_resource_all")
    if pause is not None:
        pause.argtypes, pause.restype = [ctypes.c_int], ctypes.c_int
        pause(_SOFT)


_SOFT = 1
_CALL = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@cache
def _parallel() -> Any:
    """GOMP_parallel(function, arguments, threads, flags) as torch's own library finds it."""
    parallel = _symbol("GOMP_parallel")
    if parallel is None:
        return None
    parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    parallel.restype = None
    return parallel


def _symbol(name: str) -> Any:
    """A function of the OpenMP library that torch has loaded; None where it has none."""
    path = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    try:
        return getattr(ctypes.CDLL(str(path), mode=os.RTLD_NOLOAD | os.RTLD_NOW), name)
    except (AttributeError, OSError):
        return None
