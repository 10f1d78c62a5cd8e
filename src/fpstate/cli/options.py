"""What options of several commands have in common, and commands with many: a function of a dataclass of options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from fpstate.cli import complete
from fpstate.errors import FpstateError
from fpstate.named import chosen as chosen
from fpstate.named import words as words

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


Features = Annotated[
    list[str] | None,
    typer.Option(metavar="FEATURE,...", help="Registers beside FPSIMD, and other features.", show_default=False),
]
"""What the world has beside FPSIMD."""

VectorLength = Annotated[int, typer.Option(metavar="BYTES", help="Bytes of one SVE register.", min=16, max=256)]
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


def one_policy(argument: str | None, option: str | None, example: str) -> str:
    """Return the policy that is named as an argument or by -p; FpstateError if it is named twice or not at all."""
    if argument is not None and option is not None:
        raise FpstateError(f"two policies, '{argument}' and '{option}'", expected="one, as an argument or by -p")
    name = option if argument is None else argument
    if name is None:
        hint = "`fpstate policies` lists them"
        raise FpstateError("no policy given", expected=f"its name, like `{example}`", hint=hint)
    return name


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
