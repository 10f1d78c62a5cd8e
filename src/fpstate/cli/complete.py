"""Names for the shell's completion, read from the files that declare them: nothing is imported for it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent
NO_PROGRAMS = {"kernel", "pattern", "vmm"}
"""What runs beside programs, on its own account."""
_POLICY = re.compile(r'^    name = "([^"]+)"', re.MULTILINE)
_KERNEL = re.compile(r'"(debian-[^"]+)":')
_BUG = re.compile(r'\bBug\(\s*(?:id=)?"([^"]+)"')


def policies(incomplete: str) -> list[str]:
    """Return the names of policies and the ids of bugs that begin like this; the part behind the last comma counts."""
    before, comma, last = incomplete.rpartition(",")
    names = _declared(ROOT.glob("policies/*.py"), _POLICY) + bugs("")
    names += [f"kernel:{name}" for name in kernels("")]
    return [f"{before}{comma}{name}" for name in _beginning(last, names)]


def of_kernels(incomplete: str) -> list[str]:
    """Return the same for `validate`, where `auto` tries all that describe a kernel."""
    return sorted([*_beginning(incomplete, ["auto"]), *policies(incomplete)])


def kernels(incomplete: str) -> list[str]:
    """Return the names of Debian's kernels that begin like this."""
    return _beginning(incomplete, _declared([ROOT / "lab/apt.py"], _KERNEL))


def bugs(incomplete: str) -> list[str]:
    """Return the ids of bugs that begin like this."""
    return _beginning(incomplete, _declared(ROOT.glob("policies/bugs/**/*.py"), _BUG))


def samples(incomplete: str) -> list[str]:
    """Return the names of bundled recordings that begin like this."""
    return _beginning(incomplete, _files("traces/samples", ".trace.txt.gz"))


def programs(incomplete: str) -> list[str]:
    """Return the names of programs of `run` that begin like this."""
    return _beginning(incomplete, set(_files("machine/programs", ".elf")) - NO_PROGRAMS)


def scenarios(incomplete: str) -> list[str]:
    """Return the names of scenarios of `capture` that begin like this."""
    return _beginning(incomplete, _files("lab/scenarios", ".toml"))


def profiles(incomplete: str) -> list[str]:
    """Return the names of cost profiles that begin like this."""
    return _beginning(incomplete, _files("costs", ".toml"))


def _declared(files: Iterable[Path], pattern: re.Pattern[str]) -> list[str]:
    return [name for file in files for name in pattern.findall(file.read_text("utf-8"))]


def _files(folder: str, suffix: str) -> list[str]:
    return [path.name.removesuffix(suffix) for path in (ROOT / folder).glob(f"*{suffix}")]


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return sorted({name for name in names if name.lower().startswith(incomplete.lower())})
