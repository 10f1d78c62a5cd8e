"""Documents show what their commands print."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


LONG = "docs/check.md"
WITH_OUTPUT = [str(p.relative_to(ROOT)) for p in sorted(ROOT.glob("docs/*.md")) if "<!-- generated: " in p.read_text()]
PAGES = [
    "README.md",
    "examples/laboratory.ipynb",
    *(name for name in WITH_OUTPUT if name != LONG),
    pytest.param(LONG, marks=pytest.mark.long),
]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_what_its_commands_print(page: str) -> None:
    """Every command on the page, or cell of the notebook, run now, prints what stands there."""
    words = [sys.executable, str(ROOT / "docs/generate.py"), "--check", page]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_tutorial_shows_the_example_as_it_is() -> None:
    """The handlers on the page are those of examples/lazy.py."""
    page, source = (ROOT / "docs/tutorial.md").read_text(), (ROOT / "examples/lazy.py").read_text()
    for line in source.splitlines():
        if line.startswith("    ") and '"""' not in line:
            assert line in page, line


def test_the_python_on_a_page_does_what_stands_below_it() -> None:
    """Every example of docs/api.md, run now."""
    failed, tried = doctest.testfile(str(ROOT / "docs/api.md"), module_relative=False)
    assert (failed, tried > 10) == (0, True)
