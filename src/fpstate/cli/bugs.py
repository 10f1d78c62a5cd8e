"""`fpstate bugs`: the historical bugs, each caught, each fix holding."""

from __future__ import annotations

from typing import Annotated

import typer

from fpstate.cli import complete
from fpstate.cli.options import words


def command(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="BUG", help="Bugs by id; all if none.", autocompletion=complete.bugs, show_default=False
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON (schema fpstate.bugs/1).")] = False,
) -> None:
    """Check historical bugs: the faulty policy must be caught on a path no longer than recorded, the fixed one hold.

    A bug's id is also a policy, its faulty one, wherever a policy is named.

    Exit codes: 0 all are so, 1 one of them is not, 2 bad input.

    Example: fpstate bugs A1
    """
    from fpstate.check.gallery import gallery, left_out
    from fpstate.cli.output import Column, print_json, say, show_table
    from fpstate.cli.progress import compiling, steps
    from fpstate.policies.catalogue import bugs

    wanted = words(names)
    new = compiling("the search")
    with steps(f"compiling {new}, and checking" if new else "checking", len(wanted or bugs())) as done:
        shown = gallery(wanted, done)
    out_of_it = [] if wanted else left_out()
    if json:
        rows = [vars(b) for b in out_of_it]
        print_json("fpstate.bugs/1", {"bugs": [s.to_json() for s in shown], "left_out": rows})
    else:
        lines: list[list[str]] = []
        wrong = {}
        for n, row in enumerate(s.to_json() for s in shown):
            verdicts = [row["faulty"], row["fixed"]]
            length = f"{row['path_length']} of {row['recorded_length']}"
            lines.append(
                [row["id"], *verdicts, row["property"], row["title"], row["fix"], length, f"{row['states']:,}"]
            )
            if not row["ok"]:
                wrong[n] = "red"
        columns = [Column("path", number=True, spare=True), Column("states", number=True, spare=True)]
        show_table(["id", "faulty", "fixed", "property", "bug", "fix", *columns], lines, styles=wrong)
        if out_of_it:
            say("")
            show_table(["left out", "bug", "why"], [[b.id, b.title, b.reason] for b in out_of_it])
    if not all(s.ok for s in shown):
        raise typer.Exit(1)
