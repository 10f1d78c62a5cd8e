"""`fpstate policies`: the known policies, or one as a decision table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from fpstate.cli import complete
from fpstate.cli.options import Named, chosen, one_policy

if TYPE_CHECKING:
    from fpstate.policies.shown import Shown


def command(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="POLICY",
            help="A policy by name, by the id of a bug, or as FILE.py:CLASS; all if none.",
            autocompletion=complete.policies,
            show_default=False,
        ),
    ] = None,
    policy: Named = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON (schema fpstate.policies/1).")] = False,
) -> None:
    """List the policies, or print one as a decision table: what it does at each event, by what it can see.

    Exit codes: 0 good, 2 bad input.

    Example: fpstate policies linux-4.18
    """
    if name is None and policy is None:
        _all(json)
    else:
        _one(one_policy(name, policy, "fpstate policies linux-4.18"), json)


def _all(json: bool) -> None:
    from fpstate.cli.output import print_json, show_table
    from fpstate.policies.catalogue import about, policies

    known = [about(p) for p in policies().values()]
    if json:
        print_json("fpstate.policies/1", {"policies": known})
        return
    rows = [
        [p["name"], p["kernels"] or "none", p["title"], p["source"], ", ".join(p["gives_up"]) or "-",
         ", ".join(p["supports"]) or "-"]
        for p in known
    ]  # fmt: skip
    show_table(["policy", "kernels", "what it does", "source", "gives up", "beside FPSIMD"], rows)


def _one(name: str, json: bool) -> None:
    from fpstate.cli.output import print_json, say, show_table
    from fpstate.policies.catalogue import about
    from fpstate.rows.decisions import decision_table, in_rows

    policy = chosen(name)
    rules = decision_table(policy)
    if json:
        print_json("fpstate.policies/1", {"policies": [about(policy)], "rules": [vars(r) for r in rules]})
        return
    p = about(policy)
    say(": ".join(filter(None, (p["name"], p["title"]))))
    if p["kernels"]:
        say(f"kernels: {p['kernels']}")
    if p["source"]:
        say(f"source: {p['source']}")
    say(f"gives up: {', '.join(p['gives_up']) or 'nothing'}")
    for sentence in _shown(name, p["shown"]):
        say(sentence)
    show_table(["event", "when", "then"], in_rows(rules), sections=True)


def _shown(name: str, found: dict[str, Shown] | None) -> Iterator[str]:
    """Yield what was found when it was checked what a policy shows others, or how to find it out."""
    for what in ("transient-exposure", "timing"):
        if found is None:
            yield f"{what}: \N{EM DASH} (not checked: fpstate check {name} --property {what})"
        else:
            yield f"{what}: {found[what]['verdict']} at {found[what]['scope']}"
