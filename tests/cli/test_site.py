"""The site of the documents: no link on it leads nowhere, and each command on a page is one that the program knows."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
import typer

from fpstate.cli.main import app
from fpstate.policies.catalogue import bugs, find_policy, policies

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "tests/README.md", *sorted((ROOT / "docs").glob("*.md"))]


def build(source: Path, *options: str, to: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--quiet", *options, str(source), str(to)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """Every page is in the contents, every link leads to a page or a heading; each policy and bug has its place.

    As text and without what takes searches, in a third of the time; `make test-long` builds it whole.
    """
    done = build(ROOT / "docs", "-b", "text", "-D", "searched=0", to=tmp_path)
    assert done.returncode == 0, done.stderr
    for page in (ROOT / "docs").glob("*.md"):
        heading = page.read_text().partition("# ")[2].partition("\n")[0].replace("`", "")
        assert heading in (tmp_path / f"{page.stem}.txt").read_text().replace('"', ""), page
    for name in policies():
        assert "Decisions" in (tmp_path / f"generated/policy-{name}.txt").read_text()
    listed = (tmp_path / "generated/bugs.txt").read_text()
    for bug in bugs().values():
        system = bug.faulty.__module__.split(".")[-2]
        assert f"\n{bug.id}: " in (tmp_path / f"generated/bugs-{system}.txt").read_text()
        assert f"| {bug.id} " in listed


@pytest.mark.long
def test_the_page_of_a_bug_has_its_path(tmp_path: Path) -> None:
    """As `fpstate check` finds it."""
    done = build(ROOT / "docs", to=tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "generated/bugs-arm64.html").read_text()
    assert 'id="bug-a3"' in page
    assert "The shortest path: 7 steps" in page
    assert re.search(r"decided at step 7, fpstate/policies/host_deferred\.py:\d+\b", page)
    assert (tmp_path / "generated/policy-linux-6.14.html").read_text().count('<svg class="states"') == 1
    paths = sum(file.read_text().count("The shortest path: ") for file in (tmp_path / "generated").glob("bugs-*.html"))
    assert paths == len(bugs())


@pytest.mark.parametrize(("policy", "traps"), [("linux-6.14", True), ("riscv-kvm", False)])
def test_a_policy_is_drawn(policy: str, traps: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each number on an arrow is in the legend, with the work done there; where nothing traps, no trap is drawn."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    from drawing import drawn, picture  # type: ignore[import-not-found]

    svg, legend = picture(drawn(find_policy(policy)))
    numbers = re.findall(r"<circle[^>]*/><text[^>]*>(\d+)</text>", svg)
    assert numbers == [number for number, _, _ in legend]
    assert ElementTree.fromstring(svg).tag == "svg"
    assert any("load the vCPU" in events for _, _, events in legend)
    assert ("trap armed" in svg) == traps


def test_the_figure_is_that_of_its_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has redrawn the tables and left the picture as it was."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    from figure import picture  # type: ignore[import-not-found]

    drawn = picture((ROOT / "docs/adaptive.md").read_text())
    assert drawn == (ROOT / "docs/pictures/adaptive.svg").read_text()
    assert drawn.count("adaptive-dirty") > 0
    assert drawn.count("(riscv-kvm)") > 5


def test_a_link_that_leads_nowhere_is_an_error(tmp_path: Path) -> None:
    """To a page that is not there, to no heading of one that is, or of this one; with the settings of the site."""
    settings = [line for line in (ROOT / "docs/conf.py").read_text().splitlines() if line.startswith("myst_")]
    (tmp_path / "conf.py").write_text("\n".join(['extensions = ["myst_parser"]', *settings]))
    (tmp_path / "index.md").write_text("# Title\n\n[a](nowhere.md) [b](index.md#no-such-heading) [c](#nor-this)\n")
    done = build(tmp_path, "--keep-going", to=tmp_path / "site")
    assert done.returncode == 1
    assert done.stderr.count("xref_missing") == 3, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_to_a_file_leads_to_one(page: Path) -> None:
    """Also where the site has no page: the sources, and the pages that only a reader of the repository sees."""
    for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text()):
        if not link.startswith("generated/"):
            assert (page.parent / link).exists(), link


def commands(page: Path) -> Iterator[str]:
    """Yield the commands on a page: indented, as spans of code, or behind a prompt."""
    text = page.read_text()
    for line in re.findall(r"(?m)^(?:    |\$ )(fpstate .+)$|`(fpstate [a-z][^`]*)`", text):
        yield re.sub(r"\s+#\s.*", "", "".join(line)).split(" | ")[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_command_on_a_page_is_one(page: Path) -> None:
    """Its name and options are those of the program; what it names need not be there."""
    program = typer.main.get_group(app)
    for line in commands(page):
        name, *words = shlex.split(line)[1:]
        if name.startswith("-"):
            words, params = [name, *words], program.params
        else:
            assert name in program.commands, line
            command = program.commands[name]
            if words and hasattr(command, "commands"):
                assert words[0] in command.commands, line
                command, words = command.commands[words[0]], words[1:]
            params = command.params
        known = {"--help", *(name for p in params for name in (*p.opts, *p.secondary_opts))}
        assert not [w for w in words if w.startswith("--") and w.partition("=")[0] not in known], line
