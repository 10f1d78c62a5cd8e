"""`fpstate costs`: the cost profiles and where their figures come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fpstate.cli import complete

if TYPE_CHECKING:
    from fpstate.costs import Profile


def command(
    profile: Annotated[
        str | None,
        typer.Argument(
            metavar="PROFILE",
            help="A bundled profile, or a TOML file of your own; all bundled ones if none.",
            autocompletion=complete.profiles,
            show_default=False,
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON (schema fpstate.costs/1) instead of a table.")
    ] = False,
) -> None:
    """List the cost profiles, or show the costs of one: cycles, honest range, status and source.

    Exit codes: 0 good, 2 bad input.

    Example: fpstate costs altra-vhe
    """
    from dataclasses import asdict

    from fpstate.cli.output import print_json
    from fpstate.costs import load_profile, profile_names

    profiles = [load_profile(name) for name in ([profile] if profile else profile_names())]
    if json:
        print_json("fpstate.costs/1", {"profiles": [asdict(p) | {"weak": p.weak} for p in profiles]})
    elif profile:
        _print_profile(profiles[0])
    else:
        _print_list(profiles)


def _print_list(profiles: list[Profile]) -> None:
    from fpstate.cli.output import show_table

    show_table(["profile", "what it is", "CPU"], [[p.name, p.title, p.cpu] for p in profiles])


def _print_profile(profile: Profile) -> None:
    from fpstate.cli.output import Column, say, show_table

    rows, above = [], ""
    for name, op in profile.operations.items():
        status = f"{op.status} ({op.basis})" if op.basis else op.status
        source = "as above" if op.source == above else op.source
        rows.append([name, f"{op.cycles:g}", f"{op.low:g}-{op.high:g}", status, source])
        above = op.source
    say(f"{profile.name}: {profile.title}")
    say(f"{profile.cpu}, {profile.clock_ghz:g} GHz ({profile.clock_source})")
    figures = [Column("cycles", number=True), Column("low-high", number=True)]
    show_table(["operation", *figures, "status", "source"], rows)
    for text in (profile.notes, *(f"{name}: {op.note}" for name, op in profile.operations.items() if op.note)):
        say(text)
    if profile.weak:
        say("\nWeak figures:")
    for sentence in profile.weak:
        say(sentence)
