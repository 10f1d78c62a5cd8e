"""The functions of `import fpstate`: what the commands do, with the same results and refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any, assert_type

import pytest
from typer.testing import CliRunner

import fpstate
from fpstate.check.run import Result
from fpstate.cli.main import app
from fpstate.paths.blame import shortened
from fpstate.policies.base import Policy
from fpstate.policies.catalogue import policies
from fpstate.policies.eager import Eager
from fpstate.replay.told import Comparisons
from fpstate.replay.validate import Validation
from fpstate.traces.samples import open_trace

SCRIPT = "<script>alert('x')</script>"
EXAMPLE = Path(__file__).resolve().parent.parent.parent / "examples/lazy.py"


class NoSave(Eager):
    """Never saves the guest."""

    def guest_exit(self, cpu: Any, task: Any, vcpu: Any) -> None:
        cpu.load_stash()


def printed(*words: str) -> dict[str, Any]:
    """Return the document that a command prints, less the name of its schema and the time it took."""
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return bare(json.loads(done.stdout))


def bare(document: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in document.items() if k not in ("schema", "seconds")}


def as_read(result: Comparisons | Result | Validation) -> dict[str, Any]:
    return bare(json.loads(json.dumps(result.to_json())))


def test_compare_returns_what_the_command_prints() -> None:
    """On one trace and on two; policies one by one and by comma."""
    one = fpstate.compare("hvc-fp.vhe", "linux-4.18,linux-6.14", costs="xgene-2016", vl=32)
    words = ("-p", "linux-4.18", "-p", "linux-6.14", "--costs", "xgene-2016", "--vl", "32")
    assert as_read(assert_type(one, Comparisons)) == printed("compare", "hvc-fp.vhe", *words)
    two = fpstate.compare(["hvc-fp.vhe", open_trace("mmio-fp.vhe")], ["eager", "A6"])
    assert as_read(two) == printed("compare", "hvc-fp.vhe", "mmio-fp.vhe", "-p", "eager,A6")


def test_what_is_not_said_is_as_in_the_command() -> None:
    """The bundled recording of the demo, and all policies."""
    assert as_read(fpstate.compare(policies="eager")) == printed("compare", "-p", "eager")
    assert [p.name for p in fpstate.compare("mmio-int.vhe").traces[0].policies] == list(policies())


CHECKS: list[tuple[tuple[str, ...], Callable[[], Result]]] = [
    (
        ("defer-to-put", "--cpus", "1", "--tasks", "1", "--vcpus", "1"),
        lambda: fpstate.check("defer-to-put", cpus=1, tasks=1, vcpus=1),
    ),
    (("A6",), lambda: fpstate.check("A6")),
    (
        ("linux-6.14", "--cpus", "1", "--features", "sve", "--events", "base,sve", "--vcpus", "0"),
        lambda: fpstate.check("linux-6.14", cpus=1, features="sve", events="base,sve", vcpus=0),
    ),
    (
        (f"{EXAMPLE}:Lazy", "--cpus", "2", "--events", "base", "--path", "0/0/0"),
        lambda: fpstate.check(f"{EXAMPLE}:Lazy", cpus=2, events=["base"], path="0/0/0"),
    ),
    (("eager", "--max-states", "100"), lambda: fpstate.check("eager", max_states=100, cores=1)),
]


@pytest.mark.parametrize(("words", "call"), CHECKS, ids=lambda value: value[0] if isinstance(value, tuple) else "")
def test_check_returns_what_the_command_prints(words: tuple[str, ...], call: Callable[[], Result]) -> None:
    """Verdict, path, scope and size of the search."""
    assert as_read(assert_type(call(), Result)) == printed("check", *words)


@pytest.mark.parametrize("policy", [None, "linux-4.15"])
def test_validate_returns_what_the_command_prints(policy: str | None) -> None:
    """Under the policy of the kernel recorded, and under another."""
    words = ("-p", policy) if policy else ()
    found = assert_type(fpstate.validate("hvc-fp.vhe", policy), Validation)
    assert as_read(found) == printed("validate", "hvc-fp.vhe", *words)
    assert found.exact == (policy is None)


def test_a_class_is_a_policy() -> None:
    """Without a file; its name is that of the class, and what goes wrong is found as in one."""
    result = fpstate.check(NoSave, cpus=1, tasks=1, vcpus=1)
    assert (result.policy, result.verdict) == ("NoSave", "violated")
    assert result.path
    assert "reads" in result.path.wrong


REFUSED: list[tuple[tuple[str, ...], Callable[[], object]]] = [
    (("check", "egaer"), lambda: fpstate.check("egaer")),
    (("check", "eager", "--cpus", "9"), lambda: fpstate.check("eager", cpus=9)),
    (("check", "eager", "--features", "sve"), lambda: fpstate.check("eager", features=["sve"])),
    (("check", "eager", "--events", "bse"), lambda: fpstate.check("eager", events="bse")),
    (("check", "eager", "--property", "x"), lambda: fpstate.check("eager", properties="x")),
    (("check", "eager", "--path", "7/7"), lambda: fpstate.check("eager", path="7/7")),
    (("compare", "nowhere.txt"), lambda: fpstate.compare("nowhere.txt")),
    (("compare", "/"), lambda: fpstate.compare(Path("/"))),
    (("compare", "-p", "no.py:X"), lambda: fpstate.compare(policies=["no.py:X"])),
    (("compare", "--costs", "altra"), lambda: fpstate.compare(costs="altra")),
    (("compare", "--vl", "17"), lambda: fpstate.compare(vl=17)),
    (("validate", "hvc-fp.vhe", "-p", "x"), lambda: fpstate.validate("hvc-fp.vhe", "x")),
]


@pytest.mark.parametrize(
    ("words", "call"), REFUSED, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_bad_input_is_refused_by_the_line_of_the_command(words: tuple[str, ...], call: Callable[[], object]) -> None:
    """One exception, whose text is what the command prints."""
    with pytest.raises(fpstate.FpstateError) as refusal:
        call()
    error = CliRunner().invoke(app, list(words)).exception
    assert isinstance(error, fpstate.FpstateError)
    assert str(refusal.value) == str(error)
    assert "\n" not in str(error)


class Eagerly(Eager):
    """Has the name of another."""

    name = "eager"


def test_a_decision_in_a_cell_is_named_by_its_line() -> None:
    """Its file is one that the notebook made for itself."""
    assert shortened("step 7, /tmp/ipykernel_12/345.py:8") == "step 7, line 8 of a cell"
    assert shortened("step 7, /tmp/ipykernel_12/345.py:8 and step 9, /x/fpstate/policies/eager.py:3") == (
        "step 7, line 8 of a cell and step 9, fpstate/policies/eager.py:3"
    )


def test_what_only_a_function_can_be_given_wrongly_is_refused_too() -> None:
    """With what was expected, and the nearest valid name."""
    with pytest.raises(fpstate.FpstateError, match=r"'cpu'.*did you mean 'cpus'"):
        fpstate.check("eager", cpu=1)  # type: ignore[call-arg]
    with pytest.raises(fpstate.FpstateError, match="3 cores; expected 1 or 2"):
        fpstate.check("eager", cores=3)
    with pytest.raises(fpstate.FpstateError, match="max_states has no effect"):
        fpstate.check("eager", path="0", max_states=9)
    with pytest.raises(fpstate.FpstateError, match="is no policy"):
        fpstate.check(int)  # type: ignore[arg-type]
    with pytest.raises(fpstate.FpstateError, match="a name of its own"):
        fpstate.check(Eagerly)


def test_text_from_traces_and_policies_is_no_markup_in_a_notebook() -> None:
    """A task and a policy that are called like an element are shown by that name."""
    trace = open_trace("hvc-fp.vhe")
    trace = replace(trace, contexts=replace(trace.contexts, name=[SCRIPT] * len(trace.contexts)))
    bad: type[Policy] = type("Bad", (NoSave,), {"name": SCRIPT})
    results: list[Any] = [
        fpstate.compare(trace, [bad]),
        fpstate.check(bad, cpus=1, tasks=1, vcpus=1),
        fpstate.validate(trace, bad),
    ]
    for result in results:
        html = result._repr_html_()
        assert "<script" not in html
        assert "&lt;script&gt;alert(&#x27;x&#x27;)" in html
    assert "vcpu of &lt;script" in results[0]._repr_html_()


def test_a_notebook_says_what_the_command_says() -> None:
    """Every figure of the table, and the sentences around it."""
    words = ["compare", "hvc-fp.vhe", "-p", "linux-6.14,eager"]
    text = CliRunner().invoke(app, words, env={"COLUMNS": "300"}).stdout
    html = unescape(fpstate.compare("hvc-fp.vhe", "linux-6.14,eager")._repr_html_())
    for line in text.splitlines()[1:]:
        for part in (p.strip() for p in line.split("  ") if p.strip(" ─")):
            assert part in html, part
    small = fpstate.check("eager", cpus=1, tasks=1, vcpus=1)._repr_html_()
    assert "smaller than the default scope: 2 CPUs, 2 tasks, 2 vCPUs" in small


def test_results_are_data_frames() -> None:
    """With the figures of the JSON; a result without rows has its columns."""
    found = fpstate.compare("kneon.vhe", "linux-6.14,eager")
    frame = found.to_polars()
    rows = {(r["policy"], r["side"]): r for r in frame.iter_rows(named=True)}
    assert set(rows) == {(p, side) for p in ("(bound)", "linux-6.14", "eager") for side in ("low", "high")}
    for p in found.to_json()["policies"]:
        for side in ("low", "high"):
            figures = p[side]
            charged = {f"charged_{op}": times for op, times in figures.pop("charged").items()}
            assert (figures | charged).items() <= rows[p["name"], side].items()
    path = fpstate.check("defer-to-put", cpus=1, tasks=1, vcpus=1)
    assert path.to_polars().to_dicts() == path.to_json()["path"]
    empty = fpstate.check("eager", cpus=1, tasks=1, vcpus=1).to_polars()
    assert (empty.height, empty.columns) == (0, path.to_polars().columns)
    counts = fpstate.validate("mmio-int.vhe")
    rows_ = {r.pop("event"): r for r in counts.to_polars().to_dicts()}
    assert rows_ == {name: n for name, n in counts.to_json()["events"].items() if any(n.values())}


def test_without_polars_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install."""
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(fpstate.FpstateError, match=r"pip install polars"):
        fpstate.validate("mmio-int.vhe").to_polars()


def test_importing_it_imports_no_engine() -> None:
    """And the function `check` and the room of that name are found, whichever is asked for first."""
    code = (
        "import sys, fpstate\n"
        "assert not {'numpy', 'numba', 'pyarrow', 'polars', 'typer', 'rich'} & set(sys.modules)\n"
        "assert callable(fpstate.check)\n"
        "import fpstate.check.parts\n"
        "from fpstate.check.run import check\n"
        "assert callable(fpstate.check) and fpstate.check is not check\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
