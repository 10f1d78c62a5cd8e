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
import numpy as np
from llvmlite import ir
from llvmlite.binding import Linkage
from numba.core import cgutils, types
from numba.core.ccallback import CFunc
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering
from numba.extending import intrinsic, overload, register_jitable
from numba.np.arrayobj import make_array
from numpy.typing import NDArray

from fpstate.code_cache import CodeCache, tell_not_kept

F = TypeVar("F", bound=Callable[..., Any])


def _cache_folder() -> Path:
    """Return the folder for compiled code of exactly these source files: all of which a function or constant is in it.

    Those are all but commands, and what policies and pictures are made of.
    """
    digest, package = hashlib.sha256(), Path(__file__).parent
    for file in sorted(package.rglob("*.py")):
        if file.relative_to(package).parts[0] not in ("cli", "fleet", "lab", "pictures", "policies", "search"):
            digest.update(file.read_bytes())
    root = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(root) / "fpstate" / digest.hexdigest()[:16]


if "NUMBA_CACHE_DIR" not in os.environ:
    numba.config.CACHE_DIR = str(_cache_folder())


ENGINES = {
    "the importer": ("meaning.interpret", 7),
    "the replay": ("engine.replay_plain", 3),
    "the search": ("expand.work", 14),
    "the comparison": ("lockstep.advance", 10),
}
"""What is compiled as one: the function that all of it is part of, and about how many seconds it takes on an idle core
of a server of 2023."""


def first_use(engine: str) -> bool:
    """Return whether an engine has not been compiled and kept yet, so that it takes some seconds longer now."""
    pattern = f"{ENGINES[engine][0]}-*.nbi"
    return not numba.config.DISABLE_JIT and not any(Path(numba.config.CACHE_DIR).rglob(pattern))


class _NoEnvironment:
    def set_env(self, name: str, env: object) -> None:
        """Do nothing: code that is not run by itself has no environment."""


class _PartLibrary(JITCodeLibrary):  # type: ignore[misc]
    """Code that is only ever made part of other code: it is linked into that as it is, and optimised there.

    Numba would optimise each function by itself first, down to machine code that nobody calls, which takes as long as
    all the rest; and what it then finds to be too large, since its loops are unrolled by now, it does not inline.
    """

    codegen = _NoEnvironment()

    def add_llvm_module(self, module: Any) -> None:
        self._final_module.link_in(module)

    def finalize(self) -> None:
        for library in dict.fromkeys(self._linking_libraries):
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, _: str) -> int:
        self._ensure_finalized()
        return 0


class _WholeLibrary(JITCodeLibrary):  # type: ignore[misc]
    """Code with all its parts. Nobody else calls these, so the optimiser may do with them as it likes."""

    def _optimize_final_module(self) -> None:
        for function in self._final_module.functions:
            if not function.is_declaration and function.linkage == Linkage.linkonce_odr:
                function.linkage = Linkage.internal
        super()._optimize_final_module()


def _compiler(library: type[JITCodeLibrary], name: str) -> type[CompilerBase]:
    """Return a compiler that puts the code of each function into a library of this kind."""

    @register_pass(mutates_CFG=True, analysis_only=False)
    class Lowering(NativeLowering):  # type: ignore[misc]
        _name = f"{name}_lowering"

        def run_pass(self, state: Any) -> bool:
            state.library = library(state.targetctx.codegen(), state.func_id.func_qualname)
            state.library.enable_object_caching()
            return bool(super().run_pass(state))

    class Compiler(CompilerBase):  # type: ignore[misc]
        def define_pipelines(self) -> list[Any]:
            pipeline = DefaultPassBuilder.define_nopython_pipeline(self.state)
            pipeline.passes[:] = [(Lowering if p is NativeLowering else p, about) for p, about in pipeline.passes]
            pipeline._finalized = False
            pipeline.finalize()
            return [pipeline]

    return Compiler


_WHOLE = _compiler(_WholeLibrary, "whole")
_PART = _compiler(_PartLibrary, "part")
_PART_OPTIONS = {
    "nogil": True, "_nrt": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True, "pipeline_class": _PART
}  # fmt: skip


def _compiled(function: F, **options: bool) -> F:
    dispatcher = numba.njit(nogil=True, pipeline_class=_WHOLE, **options)(function)
    if not numba.config.DISABLE_JIT:
        _keep(dispatcher, function)
    return cast("F", dispatcher)


def _keep(made: Any, function: Callable[..., Any]) -> None:
    """Have the code of `function` kept for the next run."""
    try:
        made._cache = CodeCache(function)
    except RuntimeError:
        tell_not_kept(numba.config.CACHE_DIR, "it cannot be written to")


def jit(function: F) -> F:
    """Return `function` compiled on its first call, without the interpreter's lock while it runs."""
    return _compiled(function)


def bare(function: F) -> F:
    """Return `function` compiled without reference counting: it may only work on arrays it is given.

    A loop that is handed many arrays runs several times faster so.
    """
    return _compiled(function, _nrt=False)


def callback(function: Callable[..., Any], result: Any, arguments: tuple[Any, ...]) -> CFunc[Callable[..., Any]]:
    """Return `function` compiled for a library of C that calls it at its `address`; types are Numba's."""
    made: Any = CFunc(function, (arguments, result), {}, {})
    _keep(made, function)
    made.compile()
    return cast("CFunc[Callable[..., Any]]", made)


def find_byte(b: NDArray[np.uint8], i: int, hi: int, byte: int) -> int:
    """Return where `byte` first stands in `b[i:hi]`, or `hi`. Compiled it is one call of the C library's memchr."""
    while i < hi and b[i] != byte:
        i += 1
    return i


def same_bytes(a: NDArray[np.uint8], i: int, b: NDArray[np.uint8], j: int, n: int) -> bool:
    """Return whether `n` bytes of `a` from `i` are those of `b` from `j`. Compiled it is one call of memcmp."""
    return a[i : i + n].tobytes() == b[j : j + n].tobytes()


_POINTER, _INT, _WORD = ir.IntType(8).as_pointer(), ir.IntType(32), ir.IntType(64)


def _called(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    """Return what a function of the C library returns."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


@intrinsic  # type: ignore[untyped-decorator]
def _memchr(_: Any, array: Any, i: Any, hi: Any, byte: Any) -> Any:  # noqa: ARG001
    """Return what `find_byte` does, of an array whose bytes lie one after the other; `i` is not beyond `hi`."""

    def code(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        data = make_array(array)(context, builder, arguments[0]).data
        i, hi, byte = arguments[1:]
        size = builder.sub(hi, i)
        found = _called(builder, "memchr", _POINTER, builder.gep(data, [i]), builder.trunc(byte, _INT), size)
        away = builder.sub(builder.ptrtoint(found, _WORD), builder.ptrtoint(data, _WORD))
        return builder.select(cgutils.is_null(builder, found), hi, away)

    return types.int64(array, types.int64, types.int64, types.int64), code


@intrinsic  # type: ignore[untyped-decorator]
def _memcmp(_: Any, one: Any, i: Any, two: Any, j: Any, n: Any) -> Any:  # noqa: ARG001
    """Return what `same_bytes` does, of arrays whose bytes lie one after the other."""

    def code(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        a, i, b, j, n = arguments
        first = builder.gep(make_array(one)(context, builder, a).data, [i])
        second = builder.gep(make_array(two)(context, builder, b).data, [j])
        return builder.icmp_signed("==", _called(builder, "memcmp", _INT, first, second, n), _INT(0))

    return types.boolean(one, types.int64, two, types.int64, types.int64), code


@overload(find_byte, jit_options=_PART_OPTIONS)  # type: ignore[untyped-decorator]
def _find_byte(b: Any, i: Any, hi: Any, byte: Any) -> Any:  # noqa: ARG001
    def found(b: Any, i: Any, hi: Any, byte: Any) -> Any:
        return _memchr(b, i, hi, byte)

    return found


@overload(same_bytes, jit_options=_PART_OPTIONS)  # type: ignore[untyped-decorator]
def _same_bytes(a: Any, i: Any, b: Any, j: Any, n: Any) -> Any:  # noqa: ARG001
    def same(a: Any, i: Any, b: Any, j: Any, n: Any) -> Any:
        return _memcmp(a, i, b, j, n)

    return same


def inline(function: F) -> F:
    """Return `function` to be compiled as part of those that call it, and not by itself.

    Called from Python it runs interpreted.
    """
    return cast("F", register_jitable(**_PART_OPTIONS)(function))
