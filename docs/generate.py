"""Rewrite what is generated in the documents: outputs of commands on pages, and those of a notebook's cells.

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


NOTEBOOK = ROOT / "examples/laboratory.ipynb"


def timeless(text: str) -> str:
    """Return what a command or a cell prints, but how long it took."""
    return re.sub(r",\s\d+\.\d\d s(?=$|<)", "", text, flags=re.MULTILINE)


def output_of(command: str) -> str:
    """Return what `fpstate ...` prints as a block of preformatted text."""
    words = shlex.split(command)
    environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1"}
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", *words], capture_output=True, text=True, env=environment, check=False, cwd=ROOT
    )
    if done.returncode not in (0, 1):
        sys.exit(f"{command}: {done.stderr}")
    lines = [line.rstrip() for line in timeless(done.stdout).splitlines()]
    return "```\n$ " + command + "\n" + "\n".join(lines) + "\n```\n"


def executed(notebook: str) -> str:
    """Return a notebook with the outputs of its cells, run now; what Polars draws of a frame is text alone."""
    import nbformat
    from nbclient import NotebookClient

    content = nbformat.reads(notebook, as_version=4)
    NotebookClient(content, timeout=300, kernel_name="python3", record_timing=False).execute()
    content.metadata.pop("language_info", None)
    for cell in content.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if data.get("text/plain", "").startswith("shape: "):
                data.pop("text/html", None)
            elif "text/html" in data:
                data.pop("text/plain", None)
                data["text/html"] = timeless(data["text/html"])
    return nbformat.writes(content) + "\n"


def renewed(page: Path) -> str:
    """Return what a page or notebook would be if all that is generated in it were made now."""
    text = page.read_text()
    if page.suffix == ".ipynb":
        return executed(text)
    return BLOCK.sub(lambda m: m[1] + output_of(m["command"]) + m[3], text)


def main() -> None:
    """Rewrite the pages named, else README.md, docs/ and the notebook; with --check only say if they are up to date."""
    check = sys.argv[1:2] == ["--check"]
    named = [ROOT / name for name in sys.argv[1 + check :]]
    for page in named or [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), NOTEBOOK]:
        text, new = page.read_text(), renewed(page)
        if new != text and check:
            sys.exit(f"{page.name} is not what its commands print; run: make docs")
        if new != text:
            page.write_text(new)


if __name__ == "__main__":
    main()
