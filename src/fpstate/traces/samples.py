"""The recordings that come with the package, made on an emulated arm64 machine with real KVM guests."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from fpstate.errors import FpstateError, unknown_name
from fpstate.traces.trace import Trace

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


DEFAULT_SAMPLE = "smp4-mixed.vhe"
"""The recording commands use when none is named: two VMs, tasks with FP and without on four CPUs, every use seen."""


def open_trace(name: str) -> Trace:
    """Read a trace: a file, or a bundled recording by its name. Raise FpstateError when it is neither."""
    from fpstate.traces.read import read_trace

    path = trace_path(name)
    trace = read_trace(path)
    if path != Path(name):
        trace.header.source = f"{name} (bundled)"
    return trace


def trace_path(name: str) -> Path:
    """Return where a trace is: a file, or a bundled recording by its name. Raise FpstateError when it is neither."""
    path = Path(name)
    if path.exists():
        return path
    if name in sample_names():
        return sample_path(name)
    near = unknown_name("sample", name, sample_names())
    hint = f"bundled recordings are {', '.join(sample_names())}"
    raise FpstateError(f"there is no file '{name}'", expected="a trace file", hint=near.hint or hint)
