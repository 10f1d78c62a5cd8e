"""`fpstate policies`: the known policies, or one as a decision table."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    name: Annotated[str | None, typer.Argument(help="A policy by name, or FILE.py:CLASS; all if none.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON (schema fpstate.policies/1).")] = False,
) -> None:
    """List the policies, or print one as a decision table: what it does at each event, by what it can see.

    Example: fpstate policies linux-4.18
    """
    if name is None:
        _all(json)
    else:
        _one(name, json)


def _all(json: bool) -> None:
    from rich.table import Table

    from fpstate.cli.output import console, print_json
    from fpstate.policies.catalogue import about, policies

    known = [about(p) for p in policies().values()]
    if json:
        print_json("fpstate.policies/1", {"policies": known})
        return
    table = Table("policy", "what it does", "source", "gives up", "beside FPSIMD")
    for p in known:
        table.add_row(
            p["name"], p["title"], p["source"], ", ".join(p["gives_up"]) or "-", ", ".join(p["supports"]) or "-"
        )
    console().print(table)


def _one(name: str, json: bool) -> None:
    from rich.table import Table

    from fpstate.cli.output import console, print_json
    from fpstate.policies.catalogue import about, find_policy
    from fpstate.rows.decisions import decision_table

    policy = find_policy(name)
    rules = decision_table(policy)
    if json:
        print_json("fpstate.policies/1", {"policies": [about(policy)], "rules": [vars(r) for r in rules]})
        return
    p = about(policy)
    out = console()
    out.print(f"{p['name']}: {p['title']}\nsource: {p['source']}", highlight=False)
    out.print(f"gives up: {', '.join(p['gives_up']) or '-'}", highlight=False)
    table = Table("event", "when", "then", show_lines=False)
    last = ""
    for r in rules:
        if r.event != last and last:
            table.add_section()
        table.add_row("" if r.event == last else r.event, ", ".join(r.when) or "always", ", ".join(r.then) or "-")
        last = r.event
    out.print(table)
