"""Commands with many options: the options are a dataclass, and the command a function of one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, get_type_hints

Given = TypeVar("Given")


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
