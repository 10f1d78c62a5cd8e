"""What the commands of a fleet ask for, as functions: each returns what is asked, and iterating that yields the rows.

Policies, traces and programs are named, since other processes have to find them: a class, or a trace in memory, cannot
be handed to them. What is wrong before anything begins is refused at once by FpstateError; what has no answer is a row
whose `error` says why.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from fpstate.check.run import MAX_STATES
from fpstate.errors import FpstateError
from fpstate.fleet.checking import Scopes
from fpstate.fleet.go import Asked
from fpstate.fleet.running import Machines
from fpstate.fleet.searching import Searches
from fpstate.fleet.where import HERE, Where
from fpstate.named import words

AFile = str | os.PathLike[str]


def compare(
    traces: AFile | Sequence[AFile],
    policies: str | Iterable[str] | None = None,
    *,
    costs: str = "altra-vhe",
    vl: int = 64,
    output: AFile | None = None,
    where: Where = HERE,
) -> Asked:
    """Return a row for each policy on each trace: its figures, as `fpstate fleet compare` has them.

    `traces`: files, folders of them, names of bundled recordings. `policies`: by name (several by comma), by the id of
    a bug, as FILE.py:CLASS or kernel:NAME; all if none. `output`: a table in which rows are kept, and which answers
    what it has already. `where`: this process, or workers.

    Raise FpstateError for what cannot be used.
    """
    from fpstate.fleet import comparing
    from fpstate.replay.compare import refuse_length

    refuse_length(vl)
    several = [traces] if isinstance(traces, str | os.PathLike) else traces
    read = traces_of([os.fspath(each) for each in several], _path(output))
    return Asked("compare", comparing.jobs(read, _named_or_all(policies), costs, vl), _path(output), where)


def check(
    policies: str | Iterable[str] | None = None,
    scopes: Scopes | None = None,
    *,
    properties: str | Iterable[str] = (),
    max_states: int = MAX_STATES,
    output: AFile | None = None,
    where: Where = HERE,
) -> Asked:
    """Return a row for each policy in each scope: its verdict, as `fpstate fleet check` has it.

    `policies` as in `compare`. `scopes`: of what numbers and features; each policy's own if none. `properties`: all
    end-to-end ones if none. A verdict is "incomplete" beyond `max_states`. `left_out` of what is returned says what
    combinations cannot be.

    Raise FpstateError for what cannot be used.
    """
    from fpstate.fleet import checking

    made, left_out = checking.jobs(_named_or_all(policies), scopes or Scopes(), words(properties), max_states)
    return Asked("check", made, _path(output), where, left_out)


def run(
    programs: str | Iterable[str] = "all",
    policies: str | Iterable[str] = "linux-6.14",
    machines: Machines | None = None,
    *,
    output: AFile | None = None,
    where: Where = HERE,
) -> Asked:
    """Return a row for each set of programs under each policy on each machine, as `fpstate fleet run` has it.

    `programs`: sets, in each of which + joins programs that run together; "all" is all bundled ones. `machines`: seeds,
    CPUs and time slices in all combinations; seed 1 on two CPUs if none.

    Raise FpstateError for what cannot be used.
    """
    from fpstate.fleet import running

    sets = list(dict.fromkeys([programs] if isinstance(programs, str) else programs))
    asked = list(dict.fromkeys(words(policies)))
    return Asked("run", running.jobs(sets, asked, machines or Machines()), _path(output), where)


def search(
    skeletons: str | Iterable[str], searches: Searches, *, output: AFile | None = None, where: Where = HERE
) -> Asked:
    """Return a row for each skeleton in each search, as `fpstate fleet search` has it.

    Raise FpstateError for what cannot be used.
    """
    from fpstate.fleet import searching

    named = list(dict.fromkeys([skeletons] if isinstance(skeletons, str) else skeletons))
    return Asked("search", searching.jobs(named, searches), _path(output), where)


def _named_or_all(policies: str | Iterable[str] | None) -> list[str]:
    """Return policies as they are named, each once; all there are if none."""
    from fpstate.policies import catalogue

    return list(dict.fromkeys(words(policies))) or list(catalogue.policies())


def _path(given: AFile | None) -> Path | None:
    return None if given is None else Path(given)


def traces_of(named: Sequence[str], output: Path | None) -> list[str]:
    """Return traces, each once, with those in folders, less the table itself and hidden files.

    Raise FpstateError for what is not there, and for a folder without files.
    """
    from fpstate.traces.samples import trace_path

    own = {f.resolve() for f in (output, output.with_name(f"{output.name}.journal"))} if output and output.name else ()
    found: dict[str, None] = {}
    for name in named:
        path = Path(name)
        if path.is_dir():
            files = [f for f in sorted(path.iterdir()) if f.is_file() and not f.name.startswith(".")]
            files = [f for f in files if f.resolve() not in own]
            if not files:
                raise FpstateError(f"the folder '{name}' holds no files", expected="traces in it")
            found |= dict.fromkeys(map(str, files))
            continue
        trace_path(name)
        found[name] = None
    return list(found)
