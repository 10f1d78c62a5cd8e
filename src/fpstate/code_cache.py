"""Where compiled code is kept for the next run: never trusted when damaged, never needed.

Numba's own cache reads what it finds: a damaged file raises an error of any kind, or is run. Here each file ends in the
SHA-256 of the rest; one that does not is taken not to be there, and is written anew. Where its folder cannot be written
to, Numba would also turn to that of the sources, where it looks at one source file only; here it does not.
"""

from __future__ import annotations

import hashlib
import pickle
import sys
from pathlib import Path
from typing import Any, Final

from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    IndexDataCacheFile,
    UserProvidedCacheLocator,
)

DIGEST: Final = hashlib.sha256().digest_size


class _CheckedFile(IndexDataCacheFile):  # type: ignore[misc]
    """An index and its data files, each with its digest at its end."""

    def _load_index(self) -> dict[Any, str]:
        try:
            stamp, names = pickle.loads(_checked(self._index_path))  # noqa: S301
        except OSError:
            return {}
        return dict(names) if stamp == (self._version, self._source_stamp) else {}

    def _save_index(self, overloads: dict[Any, str]) -> None:
        self._write(self._index_path, ((self._version, self._source_stamp), overloads))

    def _load_data(self, name: str) -> Any:
        return pickle.loads(_checked(self._data_path(name)))  # noqa: S301

    def _save_data(self, name: str, data: Any) -> None:
        self._write(self._data_path(name), data)

    def _write(self, path: str, what: Any) -> None:
        content = self._dump(what)
        with self._open_for_write(path) as file:
            file.write(content + hashlib.sha256(content).digest())


def _checked(path: str) -> bytes:
    """Return what was written to a file; raise OSError if that is not what the file holds now."""
    whole = Path(path).read_bytes()
    content, digest = whole[:-DIGEST], whole[-DIGEST:]
    if hashlib.sha256(content).digest() != digest:
        raise OSError(f"{path} is damaged")
    return content


class _InOneFolder(CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = (UserProvidedCacheLocator,)


class CodeCache(FunctionCache):  # type: ignore[misc]
    """The compiled code of one function, in the folder that `numba.config.CACHE_DIR` names.

    Raise RuntimeError if that folder can be neither made nor written to.
    """

    _impl_class = _InOneFolder
    told: bool = False

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        base, stamp = self._impl.filename_base, self._impl.locator.get_source_stamp()
        self._cache_file = _CheckedFile(self._cache_path, base, stamp)

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the code compiled for a signature; where that cannot be done, say so once and go on."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            tell_not_kept(self._cache_path, error.strerror or str(error))


def tell_not_kept(folder: str, why: str) -> None:
    """Say on stderr, once in a process, that compiled code cannot be kept."""
    if not CodeCache.told:
        CodeCache.told = True
        hint = "it is compiled anew each time; XDG_CACHE_HOME can name another folder"
        sys.stderr.write(f"fpstate: note: cannot keep compiled code in '{folder}': {why}: {hint}\n")
