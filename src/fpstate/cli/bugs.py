"""`fpstate bugs`: the historical bugs, each caught, each fix holding."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Bugs by id; all if none.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON (schema fpstate.bugs/1).")] = False,
) -> None:
    """Check historical bugs: the faulty policy must be caught on a path no longer than recorded, the fixed one hold.

    Exit code 1 if one of them is not so.

    Example: fpstate bugs A1
    """
    from fpstate.check.gallery import bugs, gallery, left_out
    from fpstate.cli.output import compiling_notice, console, print_json, steps

    compiling_notice("checker")
    with steps("checking", len(names or bugs())) as done:
        shown = gallery(names or [], done)
    out_of_it = [] if names else left_out()
    if json:
        rows = [vars(b) for b in out_of_it]
        print_json("fpstate.bugs/1", {"bugs": [s.to_json() for s in shown], "left_out": rows})
    else:
        from rich.table import Table

        table = Table("id", "bug", "fix", "faulty", "property", "path", "states", "fixed")
        for row in (s.to_json() for s in shown):
            cells = [row["faulty"], row["property"], f"{row['path_length']} of {row['recorded_length']}"]
            style = "" if row["ok"] else "red"
            table.add_row(row["id"], row["title"], row["fix"], *cells, f"{row['states']:,}", row["fixed"], style=style)
        console().print(table)
        if out_of_it:
            table = Table("left out", "bug", "why")
            for b in out_of_it:
                table.add_row(b.id, b.title, b.reason)
            console().print(table)
    if not all(s.ok for s in shown):
        raise typer.Exit(1)
