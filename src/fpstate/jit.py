"""The compiler of hot loops, with types kept for the checker.

Compiled code is kept on disk for the next run, in a folder named after the content of the compiled source files:
Numba itself only looks at the file that holds a function, not at the files of the functions it calls.
With NUMBA_DISABLE_JIT=1 everything runs interpreted, with the same results.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.extending import register_jitable

F = TypeVar("F", bound=Callable[..., Any])


def _cache_folder() -> Path:
    """Return the folder for compiled code of exactly these source files: all that import this one."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        text = file.read_bytes()
        if b"from fpstate.jit import" in text:
            digest.update(text)
    root = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(root) / "fpstate" / digest.hexdigest()[:16]


if "NUMBA_CACHE_DIR" not in os.environ:
    numba.config.CACHE_DIR = str(_cache_folder())


def first_use(engine: str = "") -> bool:
    """Return whether nothing of `engine` has been compiled and kept yet, so that it takes some seconds longer now.

    The engines are "checker" and the rest.
    """
    pattern = "search.expand*.nbi" if engine == "checker" else "*.nbi"
    return not numba.config.DISABLE_JIT and not any(Path(numba.config.CACHE_DIR).rglob(pattern))


def _compiled(function: F, **options: bool) -> F:
    try:
        return cast("F", numba.njit(cache=True, nogil=True, **options)(function))
    except RuntimeError:  # no folder to keep the compiled code in
        return cast("F", numba.njit(nogil=True, **options)(function))


def jit(function: F) -> F:
    """Return `function` compiled on its first call, without the interpreter's lock while it runs."""
    return _compiled(function)


def bare(function: F) -> F:
    """Return `function` compiled without reference counting: it may only work on arrays it is given.

    A loop that is handed many arrays runs several times faster so.
    """
    return _compiled(function, _nrt=False)


def inline(function: F) -> F:
    """Return `function` to be compiled into those that call it, and not by itself.

    By itself it would also get code to be called from Python and a file in the cache, which takes longer to make than
    the function. Called from Python it runs interpreted.
    """
    options = {"nogil": True, "_nrt": False, "forceinline": True}
    wrappers = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return cast("F", register_jitable(**options, **wrappers)(function))
