"""Digests of what an answer hangs on: an answer is kept as long as they stay the same."""

from __future__ import annotations

import hashlib
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

from fpstate.costs import load_profile
from fpstate.errors import FpstateError
from fpstate.kernel.named import PREFIX
from fpstate.named import chosen
from fpstate.policies.base import Policy
from fpstate.traces.samples import trace_path

PACKAGE = Path(__file__).parent.parent
NO_MATTER = {"cli", "pictures", "lab"}
"""Rooms of the package that no answer hangs on."""
DIGITS = 24


def digest(**parts: Any) -> str:
    """Return a digest of values that JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:DIGITS]


@cache
def code_digest() -> str:
    """Return a digest of this package's Python, as far as answers hang on it."""
    files = [f for f in sorted(PACKAGE.rglob("*.py")) if f.relative_to(PACKAGE).parts[0] not in NO_MATTER]
    return digest(**{str(f.relative_to(PACKAGE)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files})


def file_digest(path: Path) -> str:
    """Return a digest of a file's content; one of what went wrong if it cannot be read: that comes out later."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"{error.strerror}"


def trace_digest(name: str) -> str:
    """Return a digest of a trace: a file, or a bundled recording. Raise FpstateError when it is neither."""
    return file_digest(trace_path(name))


def policy_digest(name: str) -> str:
    """Return a digest of a policy by its name, beyond this package's own code.

    Of a file of a user's own it covers all Python in its folder, since it may import from there; FpstateError if there
    is no such policy.
    """
    policy = chosen(name)
    file, colon, _ = name.rpartition(":")
    if name.startswith(PREFIX):
        image = Path(name.removeprefix(PREFIX).partition("@")[0])
        return digest(name=name, source=policy.source, image=file_digest(image) if image.is_file() else "")
    if colon:
        own = {str(f): file_digest(f) for f in sorted(Path(file).resolve().parent.glob("*.py"))}
        return digest(name=name.rpartition("/")[2], files=list(own.values()))
    return name


def same_policy(name: str, source: str) -> type[Policy]:
    """Return a policy where it is asked about, by its name and the `source` it has where it was asked for.

    Raise FpstateError if it is another one: Debian's kernels go on, and one fetched there may be a later one.
    """
    policy = chosen(name)
    if policy.source != source:
        given = f"policy '{name}' is from {policy.source} on this worker, and from {source} where it was asked for"
        raise FpstateError(given, expected="the same on all machines")
    return policy


def costs_digest(name: str) -> str:
    """Return a digest of a cost profile; FpstateError if there is none of that name."""
    return digest(profile=repr(load_profile(name)))


def located(name: str) -> str:
    """Return a name of a trace, policy or profile so that it means the same in another folder."""
    prefix = PREFIX if name.startswith(PREFIX) else ""
    path, mark, rest = name.removeprefix(prefix).partition("@") if prefix else name.rpartition(":")
    if not prefix and not path.endswith(".py"):
        path, mark, rest = name, "", ""
    return f"{prefix}{os.path.abspath(path)}{mark}{rest}" if Path(path).exists() else name  # noqa: PTH100
