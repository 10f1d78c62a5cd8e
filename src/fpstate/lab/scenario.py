"""Scenarios: small TOML files that say who runs what, and where."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from fpstate.errors import FpstateError, unknown_name

SETTINGS: dict[str, frozenset[str]] = {
    role: frozenset(names.split())
    for role, names in {
        "vmm": "turns vcpus fp sve hvc spin wfi mmio own guest32",
        "fp": "turns spin sleep yield",
        "int": "turns spin sleep yield",
        "sve": "turns spin sleep calls lengths",
        "hash": "turns bytes fp sleep",
        "signals": "turns period self spin own fp",
        "ptrace": "turns sleep write",
        "storm": "turns fp exec",
        "hotplug": "turns cpu sleep",
    }.items()
}
"""The payload's roles and the settings each knows; the C sources in payload/ say what they mean."""

MAX_CPUS = 8
_KEYS = {"title", "cpus", "least_cpus", "cpu_model", "seconds", "modules", "actor"}


@dataclass(frozen=True)
class Actor:
    """A process of the payload: its role and settings, the CPUs it may run on, and whether the end waits for it."""

    role: str
    settings: tuple[tuple[str, int], ...]
    pinned: tuple[int, ...]  # CPU numbers, modulo the CPUs there are; none: any
    background: bool

    def line(self, cpus: int) -> str:
        """Return the line of the payload's plan that starts this actor on a machine of `cpus` CPUs."""
        mask = sum({1 << (cpu % cpus) for cpu in self.pinned}) or (1 << cpus) - 1
        verb = "keep" if self.background else "start"
        return " ".join([verb, str(mask), self.role, *(f"{name}={value}" for name, value in self.settings)])


@dataclass(frozen=True)
class Scenario:
    """What runs while a trace is recorded, for at most `seconds` of the emulated machine's time."""

    name: str
    title: str
    cpus: int
    least_cpus: int
    cpu_model: str
    seconds: float
    modules: tuple[str, ...]
    actors: tuple[Actor, ...]


def _folder() -> Path:
    return Path(str(resources.files("fpstate.lab"))) / "scenarios"


def scenario_names() -> list[str]:
    """Return the names of the scenarios that come with the package."""
    return sorted(path.stem for path in _folder().glob("*.toml"))


def find_scenario(name: str) -> Scenario:
    """Return a scenario by name, or from a TOML file. Raise FpstateError if there is none, or it makes no sense."""
    if name in scenario_names():
        return read_scenario(_folder() / f"{name}.toml")
    path = Path(name)
    if path.suffix == ".toml" and path.is_file():
        return read_scenario(path)
    raise unknown_name("scenario", name, scenario_names())


def read_scenario(path: Path) -> Scenario:
    """Return the scenario in a file. Raise FpstateError where it makes no sense."""
    where = str(path)
    try:
        content = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise FpstateError(f"cannot read the scenario: {error}", expected="a TOML file", where=where) from None
    for key in content:
        if key not in _KEYS:
            raise unknown_name("key", key, _KEYS, where=where)
    actors = _value(content, "actor", list, where, [])
    if not actors:
        raise FpstateError("nobody runs in this scenario", expected="at least one [[actor]]", where=where)
    scenario = Scenario(
        path.stem,
        _value(content, "title", str, where, ""),
        _value(content, "cpus", int, where, 2),
        _value(content, "least_cpus", int, where, 1),
        _value(content, "cpu_model", str, where, "neoverse-n1"),
        float(_value(content, "seconds", (int, float), where, 10)),
        tuple(map(str, _value(content, "modules", list, where, []))),
        tuple(actor for number, a in enumerate(actors, 1) for actor in _actors(a, f"{where}: actor {number}")),
    )
    check_cpus(scenario, scenario.cpus, where)
    check_seconds(scenario.seconds, where)
    return scenario


def check_cpus(scenario: Scenario, cpus: int, where: str = "") -> None:
    """Raise FpstateError if a scenario cannot run on so many CPUs."""
    if not scenario.least_cpus <= cpus <= MAX_CPUS:
        expected = f"{scenario.least_cpus} to {MAX_CPUS} CPUs for '{scenario.name}'"
        raise FpstateError(f"{cpus} CPUs", expected=expected, where=where)


def check_seconds(seconds: float, where: str = "") -> None:
    """Raise FpstateError for a time that cannot be waited for."""
    if not 0.1 <= seconds <= 600:
        raise FpstateError(f"{seconds:g} seconds", expected="0.1 to 600", where=where)


def _value(content: dict[str, Any], key: str, kind: type | tuple[type, ...], where: str, otherwise: Any) -> Any:
    value = content.get(key, otherwise)
    if not isinstance(value, kind) or isinstance(value, bool):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        names = " or ".join(
            {"str": "text", "list": "a list", "float": "fraction"}.get(k.__name__, "a whole number") for k in kinds
        )
        raise FpstateError(f"{key} is {value!r}", expected=names, where=where)
    return value


def _actors(content: Any, where: str) -> list[Actor]:
    if not isinstance(content, dict):
        raise FpstateError(f"an actor is {content!r}", expected="a table, [[actor]]", where=where)
    role = content.get("role")
    if role not in SETTINGS:
        raise unknown_name("role", str(role), SETTINGS, where=where)
    known = SETTINGS[role] | {"role", "on", "background", "times"}
    for key in content:
        if key not in known:
            raise unknown_name("setting", key, known, where=where)
    settings = []
    for key in sorted(SETTINGS[role] & set(content)):
        value = _value(content, key, int, where, 0)
        if not 0 <= value < 1 << 63:
            raise FpstateError(f"{key} is {value}", expected="0 or more", where=where)
        settings.append((key, value))
    pinned = tuple(_value({"on": cpu}, "on", int, where, 0) for cpu in _value(content, "on", list, where, []))
    if any(not 0 <= cpu < MAX_CPUS for cpu in pinned):
        raise FpstateError(f"on is {list(pinned)}", expected=f"CPU numbers from 0 to {MAX_CPUS - 1}", where=where)
    background = content.get("background", False)
    if not isinstance(background, bool):
        raise FpstateError(f"background is {background!r}", expected="true or false", where=where)
    if not background and role in ("vmm", "fp", "int", "sve", "hash", "signals") and not content.get("turns"):
        raise FpstateError(f"'{role}' runs for ever", expected="turns = N, or background = true", where=where)
    times = _value(content, "times", int, where, 1)
    if not 1 <= times <= 16:
        raise FpstateError(f"times is {times}", expected="1 to 16", where=where)
    return [Actor(role, tuple(settings), pinned, background)] * times
