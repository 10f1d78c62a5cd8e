"""Lines of who holds each CPU's registers: letters tell holders apart, and lines fit the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as some

from fpstate.cli import output
from fpstate.cli.story import letters_of, show_story


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    output.console.cache_clear()
    yield
    output.console.cache_clear()


@given(some.lists(some.text(max_size=8), max_size=45, unique=True))
def test_holders_have_letters_of_their_own(holders: list[str]) -> None:
    found = letters_of(holders)
    assert len(set(found.values())) == len(found)
    assert all(len(letter) == 1 for letter in found.values())


def test_a_letter_is_one_of_the_name_where_it_can_be() -> None:
    found = letters_of(["nobody's", "A", "vcpu0", "vcpu1", "softirq's", "vcpu0 (old)", "zeros", "down"])
    assert found == {
        "nobody's": ".", "A": "A", "vcpu0": "v", "vcpu1": "c", "softirq's": "#", "zeros": "0", "down": "x"
    }  # fmt: skip


@pytest.mark.parametrize("width", [20, 40, 80])
def test_what_is_longer_than_the_terminal_goes_on_below(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lane = ["A", "vcpu0", "nobody's", "A (old)"] * 10
    show_story({"CPU0": lane, "CPU1": ["nobody's"] * 40}, [str(i) for i in range(1, 41)], 3)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert all(line == line.rstrip() for line in lines)
    blocks = [re.findall(r"\S+", line)[1:] for line in lines if line.startswith("CPU0")]
    assert [b for line in blocks for b in line] == ["A", "v", ".", "A'"] * 10
    heads = [line for line in lines if re.fullmatch(r"[\d ]+", line)]
    assert " ".join(heads).split() == [str(i) for i in range(1, 41)]
    assert "registers: v vcpu0, . nobody's, ' not the latest" in " ".join(" ".join(lines).split())
