"""Text and tables at any width: nothing is cut, and nothing that a file says is obeyed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from fpstate.cli import output, progress
from fpstate.cli.output import Column, fitted, say, show_table, wrapped


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    output.console.cache_clear()
    yield
    output.console.cache_clear()


@given(st.text(st.characters(categories=("L", "N", "P", "Zs"))), st.integers(1, 40), st.booleans())
def test_wrapping_loses_nothing_but_blanks(text: str, width: int, cell: bool) -> None:
    """All that is no blank comes back in order, and a line is longer than the width only if it cannot be broken."""
    lines = wrapped(text, width, cell=cell)
    assert "".join("".join(lines).split()) == "".join(text.split())
    for line in lines:
        assert line == line.rstrip()
        assert cell_len(line) <= width or len(wrapped(line, 1, cell=cell)) == 1


@pytest.mark.parametrize(
    ("given_columns", "width"),
    [("0", 80), ("abc", 80), ("", 80), ("60", 60), ("1", output.NARROWEST), ("200", 200)],
)
def test_columns_is_honoured_in_a_pipe(given_columns: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", given_columns)
    assert output.console().width == width


def test_the_widest_text_gives_way_and_figures_never_do() -> None:
    columns = [Column("name"), Column("n", number=True)]
    rows = [["one two three four five six", "1,234,567"]]
    shape = fitted(columns, rows, 30)
    assert shape is not None
    assert shape.widths == [19, 9]
    assert fitted(columns, rows, 15) is None


def test_a_table_without_room_becomes_paragraphs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Columns that can be spared go first, and that is said; then each row is a paragraph, with every figure in it."""
    columns: list[Column | str] = ["name", Column("a", number=True), Column("b", number=True, spare=True), "about"]
    rows = [["linux-6.14", "123,456", "789,012", "something_long_and_whole"]]
    monkeypatch.setenv("COLUMNS", "48")
    show_table(columns, rows)
    text = capsys.readouterr().out
    assert "789,012" not in text
    assert "note: no room for b in 48 columns" in text
    output.console.cache_clear()
    monkeypatch.setenv("COLUMNS", "30")
    show_table(columns[:2] + columns[3:], [row[:2] + row[3:] for row in rows])
    assert capsys.readouterr().out == "linux-6.14\n  a 123,456\n  about:\n  something_long_and_whole\n"


def test_what_a_file_says_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    """No markup, no escape sequence, in sentences and in cells."""
    say("[/b] \x1b[2J :smile: [red]x")
    show_table(["name"], [["[/x]\x07"]])
    text = capsys.readouterr().out
    assert text.startswith("[/b] ?[2J :smile: [red]x\n")
    assert "[/x]?" in text


@pytest.mark.parametrize(
    ("term", "tty", "wanted"), [("xterm", True, True), ("dumb", True, False), ("xterm", False, False)]
)
def test_progress_is_for_terminals(
    term: str,
    tty: bool,
    wanted: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing at all is written in a pipe, or where lines cannot be written over; not even what is compiled."""
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr("sys.stderr.isatty", lambda: tty)
    monkeypatch.setattr("fpstate.jit.first_use", lambda _: True)
    assert progress.shown() is wanted
    assert progress.compiling("the search", "the replay") == ("the search and the replay" if wanted else "")
    with progress.stage("x") as tell:
        tell("y")
    with progress.steps("x", 2) as done:
        done()
    with progress.portion("x") as part:
        assert (part is not None) is wanted
    assert bool(capsys.readouterr().err) is wanted
