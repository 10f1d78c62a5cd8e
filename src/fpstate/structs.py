"""Named arrays that compiled code is handed as one thing: `w.context[x, MODE]` reads the same, interpreted or compiled.

Numba takes a named tuple of arrays apart into some ten values an array, in each function it is handed to, so a function
with a dozen arrays takes seconds to compile. A struct is one pointer there: to a list of words, made once with the
object, that says where each array begins, how large it is and how far apart its elements lie. Compiled code reads those
words when it needs them, and may take for granted that they do not change.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any, Self

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    NativeValue,
    infer_getattr,
    lower_getattr_generic,
    models,
    register_model,
    typeof_impl,
    unbox,
)
from numba.np.arrayobj import make_array, populate_array
from numba.np.numpy_support import from_dtype

_INT = ir.IntType(64)
_WORD = 8  # bytes


class StructType(types.Type):
    """What Numba knows of a struct: the names and types of its parts, in order."""

    def __init__(self, name: str, parts: tuple[tuple[str, types.Type], ...]) -> None:
        self.parts = parts
        super().__init__(name=f"{name}({','.join(_short(t) for _, t in parts)})")


def _short(part: types.Type) -> str:
    if isinstance(part, types.Array):
        return f"{part.dtype}x{part.ndim}{part.layout}"
    return str(part.name)


class Struct:
    """The base of structs. A subclass is a frozen dataclass of arrays, integers and other structs."""

    _words: Any
    _address: int
    _numba_type_: StructType

    def __post_init__(self) -> None:
        """Write down where each part is."""
        words: list[int] = []
        parts: list[tuple[str, types.Type]] = []
        for f in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, f.name)
            if isinstance(value, Struct):
                words.append(value._address)
                parts.append((f.name, value._numba_type_))
            elif isinstance(value, np.ndarray):
                words += [value.ctypes.data, *value.shape, *value.strides]
                layout = "C" if value.flags.c_contiguous else "A"
                parts.append((f.name, _array(value.dtype, value.ndim, layout)))
            else:
                words.append(int(value))
                parts.append((f.name, types.int64))
        kept = np.array(words, np.uint64)
        object.__setattr__(self, "_words", kept)
        object.__setattr__(self, "_address", kept.ctypes.data)
        object.__setattr__(self, "_numba_type_", _struct(type(self).__name__, tuple(parts)))

    def but(self, **parts: object) -> Self:
        """Return the same with other `parts`."""
        return dataclasses.replace(self, **parts)  # type: ignore[type-var]


@cache
def _array(element: Any, dimensions: int, layout: Any) -> types.Type:
    return types.Array(from_dtype(element), dimensions, layout)


@cache
def _struct(name: str, parts: tuple[tuple[str, types.Type], ...]) -> StructType:
    return StructType(name, parts)


@register_model(StructType)
class _StructModel(models.OpaqueModel):  # type: ignore[misc]
    pass


@typeof_impl.register(Struct)  # type: ignore[untyped-decorator]
def _typeof(value: Struct, _: object) -> StructType:
    return value._numba_type_


@infer_getattr
class _Parts(AttributeTemplate):  # type: ignore[misc]
    key = StructType

    def generic_resolve(self, struct: StructType, name: str) -> types.Type | None:
        return dict(struct.parts).get(name)


@unbox(StructType)  # type: ignore[untyped-decorator]
def _unbox(_: StructType, value: Any, c: Any) -> NativeValue:
    """Take the address of the words; whoever calls keeps the object alive."""
    address = c.pyapi.object_getattr_string(value, "_address")
    pointer = c.builder.inttoptr(c.pyapi.long_as_longlong(address), cgutils.voidptr_t)
    c.pyapi.decref(address)
    return NativeValue(pointer)


@lower_getattr_generic(StructType)  # type: ignore[untyped-decorator]
def _getattr(context: Any, builder: Any, struct: StructType, pointer: Any, name: str) -> Any:
    """Read one part: an integer, the pointer of another struct, or an array made of where it begins and its shape."""
    at = 0
    for part, kind in struct.parts:
        if part == name:
            return _part(context, builder, kind, builder.bitcast(pointer, _INT.as_pointer()), at)
        at += 1 + (2 * kind.ndim if isinstance(kind, types.Array) else 0)
    raise AssertionError(name)


def _part(context: Any, builder: Any, kind: types.Type, words: Any, at: int) -> Any:
    def word(i: int) -> Any:
        read = builder.load(builder.gep(words, [ir.Constant(ir.IntType(32), at + i)]))
        read.set_metadata("invariant.load", builder.module.add_metadata([]))
        return read

    if not isinstance(kind, types.Array):
        return builder.inttoptr(word(0), cgutils.voidptr_t) if isinstance(kind, StructType) else word(0)
    size = context.get_abi_sizeof(context.get_data_type(kind.dtype))
    shape = [word(1 + i) for i in range(kind.ndim)]
    strides = [word(1 + kind.ndim + i) for i in range(kind.ndim)]
    if kind.layout == "C":
        strides[-1] = ir.Constant(_INT, size)
    array = make_array(kind)(context, builder)
    data = builder.inttoptr(word(0), context.get_data_type(kind.dtype).as_pointer())
    populate_array(array, data, shape, strides, ir.Constant(_INT, size), None)
    return array._getvalue()
