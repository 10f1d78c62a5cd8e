"""The compiler of hot loops, with types kept for the checker.

Compiled code is kept beside the source for the next run. It is looked up by the time stamp of the file that
holds the function, so after editing a file delete the `__pycache__` of files that call into it.
With NUMBA_DISABLE_JIT=1 everything runs interpreted, with the same results.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def jit(function: F) -> F:
    """Return `function` compiled on its first call, without the interpreter's lock while it runs."""
    try:
        return cast(F, numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # no folder to keep the compiled code in
        return cast(F, numba.njit(nogil=True)(function))


def inline(function: F) -> F:
    """Return `function` compiled into its compiled callers: for small ones, whose call would cost more than they do."""
    try:
        return cast(F, numba.njit(cache=True, nogil=True, forceinline=True)(function))
    except RuntimeError:
        return cast(F, numba.njit(nogil=True, forceinline=True)(function))


def interpreted(function: F) -> F:
    """Return the plain Python form of a compiled `function`, to compare the two."""
    return cast(F, getattr(function, "py_func", function))
