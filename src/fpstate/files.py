"""Files that appear whole: what is written takes the place of what was there when it is done, or not at all."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from fpstate.errors import FpstateError


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a temporary file beside `path`, which gets that name at the end; on an error nothing is left of it.

    Raise FpstateError where `path` is no regular file, or cannot be written.
    """
    if not path.name or (path.exists() and not path.is_file()):
        raise FpstateError(f"'{path}' is not a regular file", expected="the name of a file to write")
    target = path.resolve() if path.is_symlink() else path  # a link stays one, and what it names is written
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:  # before the file is there: a signal may come at any point
        with temporary.open("xb") as file:
            yield file
        temporary.replace(target)
    except OSError as error:
        raise cannot_write(target, error) from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_whole(path: Path, content: bytes, *, begins: bytes) -> None:
    """Write a file that begins with `begins`; FpstateError if another is there that does not."""
    refuse_foreign(path, begins)
    with replacing(path) as file:
        file.write(content)


def refuse_foreign(path: Path, begins: bytes) -> None:
    """Raise FpstateError if a file is there that was not written so: one that does not begin with `begins`."""
    if path.is_file() and path.stat().st_size:
        with path.open("rb") as there:
            if there.read(len(begins)) != begins:
                hint = "remove it first if it is not needed any more"
                raise FpstateError(f"'{path}' is there and is none of ours", expected="another name", hint=hint)


def refuse_input(output: Path, source: str | Path, what: str = "recording") -> None:
    """Raise FpstateError if the file to write is the recording, or `what` else there is to read."""
    if output.exists() and Path(source).exists() and output.samefile(source):
        raise FpstateError(f"'{output}' is the {what} itself", expected="another name for what is written")


def cannot_write(path: Path, error: Exception) -> FpstateError:
    """Return the error for a file that could not be written, for what the system or a library says of it."""
    why = getattr(error, "strerror", None) or str(error).split("\n")[0]
    return FpstateError(f"cannot be written: {why}", expected="a folder with room where you may write", where=str(path))
