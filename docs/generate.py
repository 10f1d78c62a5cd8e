"""Rewrite what is generated in the documents: outputs of commands, and tables made from the catalogue.

A block stands between `<!-- generated: COMMAND -->` and `<!-- end -->`; the command's output replaces what is there.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- generated: (?P<command>.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def output_of(command: str) -> str:
    """Return what `fpstate ...` prints, but how long it took, as a block of preformatted text."""
    words = shlex.split(command)
    environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1"}
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", *words], capture_output=True, text=True, env=environment, check=False, cwd=ROOT
    )
    if done.returncode not in (0, 1):
        sys.exit(f"{command}: {done.stderr}")
    timeless = re.sub(r",\s\d+\.\d\d s$", "", done.stdout, flags=re.MULTILINE)
    lines = [line.rstrip() for line in timeless.splitlines()]
    return "```\n$ " + command + "\n" + "\n".join(lines) + "\n```\n"


def main() -> None:
    """Rewrite the pages named, else README.md and all of docs/; with --check only say whether they are up to date."""
    check = sys.argv[1:2] == ["--check"]
    named = [ROOT / name for name in sys.argv[1 + check :]]
    for page in named or [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = page.read_text()
        new = BLOCK.sub(lambda m: m[1] + output_of(m["command"]) + m[3], text)
        if new != text and check:
            sys.exit(f"{page.name} is not what its commands print; run: make docs")
        if new != text:
            page.write_text(new)


if __name__ == "__main__":
    main()
