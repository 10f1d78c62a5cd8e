"""What is known of a kernel, kept between runs: its fields, and each step of its code, in a file for each image."""

from __future__ import annotations

import importlib.metadata
import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from fpstate.errors import FpstateError
from fpstate.files import replacing
from fpstate.kernel.steps import Asked, Declared, Step, from_json, to_json
from fpstate.lab.apt import cache_folder
from fpstate.lab.kernel import Kernel
from fpstate.lab.qemu import Machine


@dataclass
class Kept:
    """Fields in order; steps by what was asked for; what the kernel is built as, and what it runs on, as in Stage."""

    fields: list[Declared]
    steps: dict[Asked, Step]
    preemptible: bool
    preemptible_neon: bool
    mode: str = "vhe"
    preempt_rt: bool = False
    sve: bool = False
    aarch32: bool = False
    whole_return: bool = False


DIGITS = 12


def path_for(kernel: Kernel, machine: Machine, *, aarch32: bool = False) -> Path:
    """Return where it is kept what this code, on this emulator, knows of a kernel on a machine, with 32-bit guests."""
    digest = sha256(importlib.metadata.version("unicorn").encode())
    for file in sorted((*Path(__file__).parent.glob("*.py"), Path(__file__).parent.parent / "lab" / "dump.py")):
        digest.update(file.read_bytes())
    name = f"{kernel.digest}-{machine.name}{'-aarch32' * aarch32}-{digest.hexdigest()[:DIGITS]}.json"
    return cache_folder() / "rows" / name


def read(path: Path) -> Kept | None:
    """Return what is kept in a file, or None if it is not there or not whole."""
    try:
        found = json.loads(path.read_text())
        fields = [Declared(**{**f, "names": tuple(f["names"])}) for f in found["fields"]]
        steps = {(event, *map(tuple, asked)): from_json(step) for (event, *asked), step in found["steps"]}
        return Kept(**found | {"fields": fields, "steps": steps})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write(path: Path, kept: Kept) -> None:
    """Keep it; what other versions of this code have kept of the same kernel and machine goes."""
    steps = [[list(asked), to_json(step)] for asked, step in kept.steps.items()]
    found = {name: value for name, value in vars(kept).items() if name not in ("fields", "steps")}
    with suppress(OSError, FpstateError):  # the next run asks again
        path.parent.mkdir(parents=True, exist_ok=True)
        for old in path.parent.glob(f"{path.stem.rpartition('-')[0]}-{'[0-9a-f]' * DIGITS}.json"):
            old.unlink(missing_ok=True)
        with replacing(path) as file:
            file.write(json.dumps(found | {"fields": [asdict(f) for f in kept.fields], "steps": steps}).encode())
