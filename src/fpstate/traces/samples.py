"""The recordings that come with the package, made on an emulated arm64 machine with real KVM guests."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from fpstate.errors import unknown_name

_SUFFIX = ".trace.txt.gz"


def _folder() -> Path:
    return Path(str(resources.files("fpstate.traces"))) / "samples"


def sample_names() -> list[str]:
    """Return the names of the bundled recordings, like `contended.vhe`."""
    return sorted(path.name.removesuffix(_SUFFIX) for path in _folder().glob(f"*{_SUFFIX}"))


def sample_path(name: str) -> Path:
    """Return the file of a bundled recording. Raise FpstateError for a name that is not among them."""
    if name not in sample_names():
        raise unknown_name("sample", name, sample_names())
    return _folder() / f"{name}{_SUFFIX}"
