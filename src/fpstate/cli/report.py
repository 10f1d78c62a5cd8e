"""`fpstate report`: one page that shows what the other commands say of traces and policies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fpstate.cli.options import Costs, Policies, Traces, VectorLength, chosen, refuse, takes, words
from fpstate.errors import FpstateError

if TYPE_CHECKING:
    from fpstate.costs import Profile
    from fpstate.paths.asked import ScopeGiven
    from fpstate.policies.base import Policy
    from fpstate.traces.trace import Trace

NAME = Path("report.html")


@dataclass(frozen=True)
class Given:
    """What is given on the command line."""

    traces: Traces = None
    policy: Policies = None
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The page to write, in place of one that was written so. [default: report.html; none with --json]",
            show_default=False,
        ),
    ] = None
    check: Annotated[
        bool, typer.Option("--check", help="Search for a counterexample to each property too (minutes for all).")
    ] = False
    cpus: Annotated[
        int | None, typer.Option(metavar="N", help="CPUs of --check. [default: as in check]", show_default=False)
    ] = None
    tasks: Annotated[
        int | None, typer.Option(metavar="N", help="Tasks of --check. [default: as in check]", show_default=False)
    ] = None
    vcpus: Annotated[
        int | None, typer.Option(metavar="N", help="vCPUs of --check. [default: as in check]", show_default=False)
    ] = None
    costs: Costs = "altra-vhe"
    vl: VectorLength = 64
    json: Annotated[bool, typer.Option("--json", help="Print JSON (schema fpstate.report/1).")] = False


@takes(Given)
def command(given: Given) -> None:
    """Write a page that shows traces and policies: the comparison, where its costs come from, and a timeline.

    It is one file, opens in any browser and needs no network. With --check it has the verdict on each property, and the
    shortest counterexample to step through. What a trace does not show is taken to have happened, but for the
    comparison, which has both.

    Exit codes: 0 good, 1 a policy corrupts on a trace or violates a property, 2 bad input, 3 a check is incomplete.

    Example: fpstate report contended.vhe -p linux-4.18,linux-6.14 -o report.html
    """
    from fpstate.cli.output import print_json, say
    from fpstate.files import refuse_input, write_whole
    from fpstate.pictures.page import BEGINS, page_of

    if not given.check:
        refuse(given, "without --check", "cpus", "tasks", "vcpus")
    output = given.output or (None if given.json else NAME)
    for name in given.traces or []:
        if output:
            refuse_input(output, name)
    document = _document(given)
    if output:
        names = ", ".join(t["trace"]["source"] for t in document["traces"])
        page = page_of(document, f"fpstate: {names}")
        write_whole(output, page, begins=BEGINS)
    findings, incomplete = _findings(document)
    if given.json:
        print_json(document.pop("schema"), document)
    else:
        count = len(document["policies"])
        say(f"{output}: {names}, {count} {'policy' if count == 1 else 'policies'}, {len(page):,} bytes")
        for sentence in [*findings, *incomplete]:
            say(sentence)
    if findings or incomplete:
        raise typer.Exit(1 if findings else 3)


def _document(given: Given) -> dict[str, Any]:
    """Read, compare, replay, and search if that is asked for; return the document."""
    from fpstate.cli.progress import compiling, stage, steps
    from fpstate.costs import load_profile
    from fpstate.costs.profile import profile_names
    from fpstate.pictures.document import SCHEMA, policies_json, profiles_json
    from fpstate.policies.catalogue import policies
    from fpstate.replay.compare import refuse_length
    from fpstate.traces.samples import DEFAULT_SAMPLE, open_trace

    refuse_length(given.vl)
    first = load_profile(given.costs)
    profiles = [first, *(load_profile(name) for name in profile_names() if name != first.name)]
    names = words(given.policy) or list(policies())
    asked: dict[str, tuple[str, type[Policy]]] = {}
    for name in dict.fromkeys(names):
        policy = chosen(name)
        if policy.name in asked:
            given_twice = f"'{asked[policy.name][0]}' and '{name}' are both called {policy.name}"
            raise FpstateError(given_twice, expected="policies of different names")
        asked[policy.name] = name, policy
    new = compiling("the importer", "the replay", *(["the search"] if given.check else []))
    with stage(f"compiling {new}, and reading" if new else "reading"):
        read = [open_trace(name) for name in given.traces or [DEFAULT_SAMPLE]]
    for trace in read:
        trace.refuse_idle()
    every = [policy for _, policy in asked.values()]
    with steps("replaying", 2 * len(read) * len(every)) as done:
        shown = [_of_trace(trace, every, profiles, given.vl, done) for trace in read]
    return {
        "schema": SCHEMA,
        "costs": first.name,
        "profiles": profiles_json(profiles),
        "policies": policies_json(every),
        "traces": shown,
        "checks": [_checked(*named, given) for named in asked.values()] if given.check else None,
    }


def _of_trace(
    trace: Trace, policies: list[type[Policy]], profiles: list[Profile], vl: int, done: Any
) -> dict[str, Any]:
    from fpstate.pictures.document import trace_json
    from fpstate.replay.compare import compare

    return trace_json(trace, compare(trace, policies, profiles[0], done, vl=vl), policies, profiles, vl, done)


def _checked(name: str, policy: type[Policy], given: Given) -> dict[str, Any]:
    """Search for each property of a policy, in its default scope but for what the options say."""
    from fpstate.check.each import check_each
    from fpstate.cli.progress import search
    from fpstate.paths.asked import asked_of
    from fpstate.pictures.document import checked_json

    said: ScopeGiven = {"cpus": given.cpus, "tasks": given.tasks, "vcpus": given.vcpus}
    asked = asked_of(name, policy, (), (), said)
    with search(f"searching {policy.name}") as progress:
        results = check_each(asked.policy, asked.scope, properties=asked.properties, progress=progress)
    return checked_json(policy.name, results, asked.scope.counted())


def _findings(document: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return a sentence for each policy that corrupts or violates, and for each whose check shows less than asked."""
    costs = document["costs"]
    found = [
        f"{policy['name']} corrupts registers on {t['trace']['source']}"
        for t in document["traces"]
        for policy in t["by_costs"][costs]["policies"]
        if policy["broken"]
    ]
    incomplete = []
    for checked in document["checks"] or []:
        verdicts = checked["properties"]
        violated = [name for name, verdict in verdicts.items() if verdict == "violated"]
        found += [f"{checked['policy']} violates {', '.join(violated)} at {checked['scope']}"] if violated else []
        open_ = {verdict for verdict in verdicts.values() if verdict not in ("holds", "violated")}
        incomplete += [f"{checked['policy']}: {' and '.join(sorted(open_))} at {checked['scope']}"] if open_ else []
    return found, incomplete
