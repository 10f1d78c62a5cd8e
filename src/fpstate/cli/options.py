"""What options of several commands have in common, and commands with many: a function of a dataclass of options."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

from fpstate.cli import complete
from fpstate.errors import FpstateError

if TYPE_CHECKING:
    from fpstate.policies.base import Policy

Given = TypeVar("Given")

Named = Annotated[
    str | None,
    typer.Option(
        "--policy", "-p", metavar="POLICY", help="The same, as in other commands.", autocompletion=complete.policies
    ),
]
"""The one policy of a command that takes it as an argument too."""

Traces = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="TRACE", help="Traces; a bundled one if none.", autocompletion=complete.samples, show_default=False
    ),
]
"""The traces of a command that takes any number."""

Policies = Annotated[
    list[str] | None,
    typer.Option(
        "--policy",
        "-p",
        metavar="POLICY,...",
        help="Policies by name, by the id of a bug, or as FILE.py:CLASS; all if none.",
        autocompletion=complete.policies,
        show_default=False,
    ),
]
"""The policies of a command that takes any number."""

OfKernel = Annotated[
    str | None,
    typer.Option(
        "--policy",
        "-p",
        metavar="POLICY",
        help="A policy by name, by the id of a bug, or as FILE.py:CLASS. [default: that of the kernel recorded]",
        autocompletion=complete.policies,
        show_default=False,
    ),
]
"""The one policy that a trace is replayed under."""

Costs = Annotated[
    str, typer.Option(metavar="PROFILE", help="Cost profile by name, or a TOML file.", autocompletion=complete.profiles)
]
"""What each operation costs."""


def _possible(vl: int) -> int:
    if vl % 16:
        raise FpstateError(f"a vector length of {vl} bytes is impossible", expected="a multiple of 16 from 16 to 256")
    return vl


VectorLength = Annotated[
    int, typer.Option(metavar="BYTES", help="Bytes of one SVE register.", min=16, max=256, callback=_possible)
]
"""How large SVE registers are."""


def takes(options: type[Given]) -> Callable[[Callable[[Given], None]], Callable[..., None]]:
    """Make a command of a function that takes `options`, a dataclass: each field is an argument or an option."""

    def command_of(function: Callable[[Given], None]) -> Callable[..., None]:
        @functools.wraps(function)
        def command(**given: Any) -> None:
            function(options(**given))

        types = get_type_hints(options, include_extras=True)
        fields = inspect.signature(options).parameters.values()
        keywords = [f.replace(kind=f.KEYWORD_ONLY, annotation=types[f.name]) for f in fields]
        command.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]
        command.__annotations__ = types
        return command

    return command_of


def words(given: list[str] | None) -> list[str]:
    """Return the names in an option that takes several: by comma, by repeating it, or both.

    FILE.py:CLASS is one name, whatever commas the path has.
    """
    found = []
    for text in given or []:
        path, _, last = text.rpartition(":")
        names = [text] if "," not in last and Path(path).is_file() else text.split(",")
        found += [name.strip() for name in names if name.strip()]
    return found


def one_policy(argument: str | None, option: str | None, example: str) -> str:
    """Return the policy that is named as an argument or by -p; FpstateError if it is named twice or not at all."""
    if argument is not None and option is not None:
        raise FpstateError(f"two policies, '{argument}' and '{option}'", expected="one, as an argument or by -p")
    name = option if argument is None else argument
    if name is None:
        hint = "`fpstate policies` lists them"
        raise FpstateError("no policy given", expected=f"its name, like `{example}`", hint=hint)
    return name


def chosen(name: str) -> type[Policy]:
    """Return the policy of that name; a method of it that nothing ever calls is told on stderr."""
    from fpstate.kernel.named import PREFIX, named_kernel
    from fpstate.policies.catalogue import find_policy
    from fpstate.rows.handlers import never_called

    if name.startswith(PREFIX):
        return named_kernel(name)
    policy = find_policy(name)
    for method, where in never_called(policy):
        about = f"nothing calls method '{method}' of policy '{policy.name}', and no event has that name"
        sys.stderr.write(f"fpstate: note: {os.path.relpath(where)}: {about}; docs/policies.md lists the events\n")
    return policy


SPELT = {
    "policy": "a policy",
    "named": "--policy",
    "scenario": "a scenario",
    "programs": "a program",
    "properties": "--property",
    "fold": "--no-fold",
    "vl_before": "--vector-length",
}
"""How fields of options are spelt that are not named like their option."""


def refuse(given: Any, because: str, *names: str) -> None:
    """Raise FpstateError if one of these fields of the options has been given: it would be ignored, `because`."""
    for field in fields(given):
        value = getattr(given, field.name)
        if field.name in names and value != field.default and value not in (None, [], ""):
            option = SPELT.get(field.name, f"--{field.name.strip('_').replace('_', '-')}")
            raise FpstateError(
                f"{option} has no effect {because}", expected="both" if because.startswith("without") else "one of them"
            )
