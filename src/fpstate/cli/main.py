"""The `fpstate` program: its commands, and how errors leave it."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

from fpstate import __version__
from fpstate.cli import (
    bugs,
    capture,
    check,
    compare,
    costs,
    describe,
    diff,
    export,
    fleet,
    import_,
    policies,
    repair,
    report,
    run,
    search,
    validate,
)
from fpstate.errors import FpstateError

GOOD, FINDING, BAD_INPUT, INCOMPLETE, OUR_FAULT, NO_MEMORY = 0, 1, 2, 3, 70, 71
INTERRUPTED, READER_GONE, TERMINATED = 130, 141, 143  # as shells have it: 128 and the number of the signal

app = typer.Typer(
    name="fpstate",
    help="A laboratory for FP/SIMD register switching in kernels and hypervisors.",
    epilog="Example: fpstate compare   (all policies on a bundled trace of a real Linux/KVM)\n\n"
    "Exit codes: 0 good, 1 a finding (corrupts, differs), 2 bad input or usage, 3 incomplete; 70 an error of fpstate "
    "itself, 71 not enough memory: then nothing is said about what was asked.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS: dict[str, tuple[Callable[..., None] | typer.Typer, str]] = {
    "compare": (
        compare.command,
        "Saves, loads, traps and cycles of each policy on a trace, beside the fewest possible.",
    ),
    "check": (check.command, "Try every order of events: it holds, or the shortest path that corrupts or leaks."),
    "diff": (diff.command, "Two policies, or two kernels' own code, row by row: the same, or where they differ."),
    "run": (run.command, "Real AArch64 programs on a machine whose registers a policy shares out."),
    "search": (search.command, "Fill in what a policy leaves open, so that it holds and is cheapest on recordings."),
    "repair": (repair.command, "Single edits after which a faulty policy holds, cheapest first."),
    "bugs": (bugs.command, "Historical bugs as pairs of policies: each fault is caught, each fix holds."),
    "validate": (validate.command, "Predict what the kernel did about FP state, and hold it against what it did."),
    "describe": (describe.command, "What a trace holds, and what its recorder could not see."),
    "import": (import_.command, "Read a recording once; every command takes the result."),
    "export": (export.command, "What a policy does along a trace, for Perfetto's viewer."),
    "report": (report.command, "One page that shows traces and policies: costs, counterexamples, a timeline."),
    "policies": (policies.command, "All policies with their sources, or one as a decision table."),
    "capture": (capture.command, "Record a trace of a real Linux/KVM on an emulated machine."),
    "costs": (costs.command, "Cycle costs, with the source and standing of each figure."),
    "fleet": (fleet.app, "Many traces, policies, seeds and scopes at once, as one table; on Dask's workers too."),
}
"""What each command does, and in one sentence."""
for name, (function, sentence) in COMMANDS.items():
    if isinstance(function, typer.Typer):
        app.add_typer(function, name=name, short_help=sentence)
    else:
        app.command(name, short_help=sentence)(function)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fpstate {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Have options of the program itself."""


def main() -> None:
    """Run the program; whatever a user can get wrong leaves as one message on stderr and exit code 2.

    An error of its own is one message too, with a code of its own; with FPSTATE_TRACEBACK set it is a traceback.
    """
    if sys.stdout is None:
        sys.exit(BAD_INPUT)  # nowhere to write to, not even about that
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the output's encoding lacks is escaped
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # as an exception: what is half-written is removed
    try:
        app()
        sys.stdout.flush()
    except FpstateError as error:
        _give_up(BAD_INPUT, error, "input")
    except SystemExit as done:  # the library of the command line has turned what happened into a code of its own
        if isinstance(done.__context__, BrokenPipeError):
            _reader_gone()
        if done.code == INTERRUPTED:
            _interrupted()
        raise
    except BrokenPipeError:
        _reader_gone()
    except OSError as error:
        what = f"'{error.filename}'" if error.filename else "the output"
        sys.stderr.write(f"fpstate: cannot read or write {what}: {error.strerror or error}\n")
        _silence()
        sys.exit(BAD_INPUT)
    except KeyboardInterrupt:
        _interrupted()
    except MemoryError:
        given = FpstateError("not enough memory", hint="narrow what is asked, or give the process more")
        _give_up(NO_MEMORY, given, "memory")
    except Exception as error:
        if os.environ.get("FPSTATE_TRACEBACK"):
            raise
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        hint = "FPSTATE_TRACEBACK=1 shows where; please report it"
        _give_up(
            OUR_FAULT, FpstateError(f"an error of fpstate itself: {' '.join(what.split())}", hint=hint), "internal"
        )


def _silence() -> None:
    """Let what is still to be written go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _reader_gone() -> NoReturn:
    """End quietly: whoever read the output has had enough of it. A verdict it did not get must not read as good."""
    _silence()
    sys.exit(READER_GONE)


def _interrupted() -> NoReturn:
    sys.stderr.write("fpstate: interrupted\n")
    _silence()
    sys.exit(INTERRUPTED)


def _give_up(code: int, error: FpstateError, kind: str) -> NoReturn:
    """Say in one line, and as JSON if that was asked for, that there is no result; exit with `code`."""
    sys.stderr.write(f"fpstate: {error}\n")
    if "--json" in sys.argv[1:]:
        from fpstate.cli.output import print_json

        parts = {name: getattr(error, name) for name in ("given", "expected", "where", "hint")}
        print_json("fpstate.error/1", {"kind": kind, "exit_code": code, "error": str(error), **parts})
        sys.stdout.flush()
    sys.exit(code)
