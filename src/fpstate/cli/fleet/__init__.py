"""`fpstate fleet`: what compare, check, run and search say of all combinations, as one table; a file for each."""

from __future__ import annotations

import typer

from fpstate.cli.fleet import check, compare, run, search

app = typer.Typer(
    help="All combinations of traces, policies, seeds and scopes, as rows of one Parquet table.\n\n"
    "They are answered one after the other in this process, by --workers N processes, or by the workers of a Dask "
    "--scheduler. Started again, the same command goes on where it was.",
    epilog="Exit codes: 0 good, 1 a finding (corrupts, violated, wrong), 2 bad input or usage, 3 not all was "
    "answered.\n\n"
    "Example: fpstate fleet compare traces/ -o compared.parquet --workers 2",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS = {
    "compare": (compare.command, "Policies on many traces: quantiles of what each costs."),
    "check": (check.command, "Policies in many scopes: where each holds."),
    "run": (run.command, "Programs under many policies and seeds: who computes wrong results."),
    "search": (search.command, "Skeletons in many scopes, on many sets of recordings."),
}
for name, (function, sentence) in COMMANDS.items():
    app.command(name, short_help=sentence)(function)
