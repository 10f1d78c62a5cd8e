"""Historical bugs as pairs of policies, by system: one file each, found without registration.

A pair can be imported by the id of its bug as well, in lower case: `from fpstate.policies.bugs.x2 import X86Host`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path
from types import ModuleType


class ById(MetaPathFinder, Loader):
    """Finds the file that describes a bug when a module is asked for that is called like the bug."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where to load `fullname` from, None unless it is the id of a bug."""
        package, _, name = fullname.rpartition(".")
        if package != __name__ or name.startswith("_"):
            return None
        wanted = f'BUG=BUG("{name.upper().replace("_", "-")}",'
        for file in sorted(Path(__file__).parent.glob("*/*.py")):
            if wanted in "".join(file.read_text(encoding="utf-8").upper().split()):
                return spec_from_loader(fullname, self, origin=f"{__name__}.{file.parent.name}.{file.stem}")
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module that describes the bug: the same object under both names."""
        assert spec.origin
        return importlib.import_module(spec.origin)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: it has run."""


sys.meta_path.append(ById())
