"""Programs under many policies and seeds: a row for each run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from fpstate.emulator import unicorn
from fpstate.errors import FpstateError
from fpstate.fleet.digest import code_digest, digest, file_digest, located, policy_digest, same_policy
from fpstate.fleet.job import Ask, Job, Row
from fpstate.fleet.kind import NUMBER, REAL, TEXT, YES, Kind
from fpstate.machine.dealt import Programs
from fpstate.machine.host import Settings
from fpstate.machine.run import VECTOR_LENGTH, Result, check_limits, run
from fpstate.named import chosen

ALL = "all"
"""The set of programs that is all bundled ones."""
TOGETHER = "+"
"""What joins programs that run together."""
LABEL = {
    "programs": TEXT,
    "policy": TEXT,
    "seed": NUMBER,
    "cpus": NUMBER,
    "slice": NUMBER,
    "softirq": REAL,
    "signals": REAL,
    "tasks": NUMBER,
    "vcpus": NUMBER,
    "instructions_at_most": NUMBER,
    "vl": NUMBER,
}
ANSWER = {
    "ok": YES,
    "running": NUMBER,
    "wrong": NUMBER,
    "wrong_programs": TEXT,
    "first_wrong": TEXT,
    **dict.fromkeys(("saves", "loads", "traps", "instructions", "events", "exits"), NUMBER),
}


@dataclass(frozen=True)
class Machines:
    """What machines are made of: all combinations of `seeds`, `cpus` and `slices`; the rest is the same for each."""

    seeds: Sequence[int] = (1,)
    cpus: Sequence[int] = (2,)
    slices: Sequence[int] = (10_000,)
    rest: dict[str, Any] = field(default_factory=dict)
    """softirq, signals, tasks, vcpus, instructions_at_most and vl, as in LABEL."""


def jobs(sets: Sequence[str], policies: Sequence[str], machines: Machines) -> list[Job]:
    """Return a job for each set of programs under each policy on each machine.

    Raise FpstateError for what is not there, and for a machine or run that is impossible.
    """
    unicorn()
    rest: dict[str, Any] = dict.fromkeys(("softirq", "signals", "tasks", "vcpus", "instructions_at_most", "vl"))
    rest |= machines.rest
    rest |= {"softirq": 0.1 if rest["softirq"] is None else rest["softirq"], "signals": rest["signals"] or 0.0}
    _refuse(machines, rest)
    made = []
    for programs, name in product(sets, policies):
        what, policy = policy_digest(name), chosen(name)
        _refuse_policy(name, policy.features, signals=rest["signals"], handles=hasattr(policy, "sigreturn"))
        named = [] if programs == ALL else programs.split(TOGETHER)
        Programs(policy, named, tasks=rest["tasks"], vcpus=rest["vcpus"], sve=bool(rest["vl"])).choose(frozenset())
        files = [file_digest(Path(p)) for p in named if Path(p).is_file()]
        given = {"policy": located(name), "source": policy.source, "programs": [located(p) for p in named]}
        for seed, cpus, slice_ in product(machines.seeds, machines.cpus, machines.slices):
            label = {"programs": programs, "policy": name, "seed": seed, "cpus": cpus, "slice": slice_, **rest}
            key = digest(code=code_digest(), files=files, **label | {"policy": what})
            about = f"{programs} under {name}, seed {seed}"
            made.append(Job("run", about, (Ask({n: label[n] for n in LABEL}, key),), given, code_digest()))
    return made


def _refuse(machines: Machines, rest: dict[str, Any]) -> None:
    for cpus, slice_ in product(machines.cpus, machines.slices):
        check_limits(cpus=cpus, slice=slice_, tasks=rest["tasks"] or 0, vcpus=rest["vcpus"] or 0)
    if rest["instructions_at_most"] is not None:
        check_limits(instructions=rest["instructions_at_most"])


def _refuse_policy(name: str, features: frozenset[str], *, signals: float, handles: bool) -> None:
    if features - {"sve"}:
        given = f"policy '{name}' needs {', '.join(sorted(features))}"
        raise FpstateError(given, expected="one of FPSIMD and SVE", hint=f"`fpstate bugs {name}` checks it")
    if signals and not handles:
        raise FpstateError(f"the policy '{name}' handles no signals", expected="no --signals, or another policy")


def prepare(job: Job) -> Any:
    """Return what a job is given: nothing is read for it."""
    return job.given


def answer_of(given: Any, ask: Ask) -> Row:
    """Run programs once."""
    asked, policy = ask.label, same_policy(given["policy"], given["source"])
    settings = Settings(
        asked["cpus"],
        asked["slice"],
        asked["seed"],
        asked["softirq"],
        instructions=asked["instructions_at_most"],
        signals=asked["signals"],
    )
    vl = asked["vl"] or (VECTOR_LENGTH if policy.features else 0)
    programs = Programs(policy, given["programs"], tasks=asked["tasks"], vcpus=asked["vcpus"], sve=bool(asked["vl"]))
    return _row(run(policy, programs.choose, settings, vl)[0])


def _row(result: Result) -> Row:
    wrong = [p for p in result.programs if not p.ok]
    first = next((p for p in wrong if p.first_wrong), None)
    told = None
    if first is not None and (w := first.first_wrong) is not None:
        told = f"{first.name}: {w.register} holds {w.got} of {w.owner}, expected {w.expected}"
    counts = {n: getattr(result, n) for n in ("saves", "loads", "traps", "instructions", "events", "exits")}
    about = {"ok": result.ok, "running": result.running, "wrong": result.wrong}
    return {**about, "wrong_programs": ",".join(p.name for p in wrong), "first_wrong": told, **counts}


KIND = Kind("run", LABEL, ANSWER, prepare, answer_of, ())
