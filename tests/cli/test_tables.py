"""Every table at 60, 80 and 200 columns: no name and no figure is cut."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fpstate.cli import output
from fpstate.cli.main import app

TABLES = {
    "compare, exact": "compare smp4-mixed.vhe",
    "compare, low to high": "compare contended.vhe",
    "compare, by class": "compare sve.vhe -p linux-6.1.y,linux-6.14",
    "check, a path": "check defer-to-put --cpus 1 --tasks 1 --vcpus 1",
    "check, two CPUs": "check examples/lazy.py:LazyMigrating --cpus 2 --events base,neon",
    "check, lists": "check --list",
    "bugs": "bugs A1 A6",
    "validate": "validate kneon.vhe",
    "describe": "describe kneon.vhe",
    "policies": "policies",
    "policies, one": "policies linux-6.14",
    "costs": "costs",
    "costs, one": "costs altra-vhe",
    "capture, scenarios": "capture --list",
}
BREAKS = r"[\s/:;,@._=-]+|->"
"""Where a cell may be broken."""


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    yield
    output.console.cache_clear()


def printed(command: str, width: int) -> str:
    output.console.cache_clear()
    done = CliRunner().invoke(app, command.split(), env={"COLUMNS": str(width)})
    assert done.exit_code in (0, 1), done.output
    return re.sub(r",\s\d+\.\d\d s$", "", done.stdout, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def whole() -> dict[str, str]:
    """Each table as it is where there is room for everything."""
    return {name: printed(command, 1000) for name, command in TABLES.items()}


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("table", TABLES)
def test_a_table_fits_and_is_whole(table: str, width: int, whole: dict[str, str]) -> None:
    """No line is too long or ends in blanks, and each word and figure of the widest table is there."""
    text = printed(TABLES[table], width)
    spared = re.search(r"no room for (.*) in \d+ columns", " ".join(text.split()))
    for line in text.splitlines():
        assert line == line.rstrip()
        assert len(line) <= width or line.startswith("again: ") or " " not in line.strip(), line
    assert "…" not in text
    missing = set(re.split(BREAKS, whole[table])) - set(re.split(BREAKS, text))
    missing -= {word for word in missing if set(word) == {"─"}}
    missing -= {word for head in re.findall(r"(.*)\n─", whole[table]) for word in head.strip().split("  ")[0].split()}
    if not spared:
        assert not missing
    else:
        assert width == 60 or spared[1] == "ET"  # which "fpstate policies" says, too
        assert set(spared[1].split(", ")) <= {"range", "x bound", "ET", "path", "states"}


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_verdict_comes_first(width: int, tmp_path: Path) -> None:
    """A policy that corrupts is seen to, whatever the width."""
    own = tmp_path / "own.py"
    own.write_text(
        "from fpstate.policies.eager import Eager\n"
        "class NoSave(Eager):\n"
        "    def guest_exit(self, cpu, task, vcpu):\n"
        "        cpu.load_stash()\n"
    )
    text = printed(f"compare hvc-fp.vhe -p {own}:NoSave,eager", width)
    assert re.search(r"^CORRUPTS +NoSave ", text, re.MULTILINE)
    assert re.search(r"^ +1 +eager ", text, re.MULTILINE)
