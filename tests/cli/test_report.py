"""`fpstate report` as a user types it: its document says what the other commands say, and its page holds all of it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from fpstate.check.each import check_each
from fpstate.check.run import check
from fpstate.cli.main import app
from fpstate.costs.profile import profile_names
from fpstate.errors import FpstateError
from fpstate.paths.properties import DEFAULT
from fpstate.paths.scope import Scope
from fpstate.pictures import document
from fpstate.pictures.page import BEGINS, document_of, page_of
from fpstate.policies.catalogue import find_policy
from fpstate.replay.timeline import stretches, timeline, whose
from fpstate.traces.samples import open_trace

SMALL = ("--cpus", "1", "--tasks", "1", "--vcpus", "1")
ASKED = ("hotplug.vhe", "-p", "linux-6.14,eager,defer-to-put", "--check", *SMALL)
POLICIES = ["linux-6.14", "eager", "defer-to-put"]


def report(*words: str) -> Result:
    return CliRunner().invoke(app, ["report", *words], catch_exceptions=True)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], bytes]:
    """Return the document as it is printed, and the page written beside."""
    path = tmp_path_factory.mktemp("report") / "x.html"
    done = report(*ASKED, "-o", str(path), "--json")
    assert done.exit_code == 1, done.output  # the patch as posted leaks
    return json.loads(done.stdout), path.read_bytes()


def test_the_page_holds_the_document_that_is_printed(written: tuple[dict[str, Any], bytes]) -> None:
    said, page = written
    assert said["schema"] == "fpstate.report/1"
    assert document_of(page) == said
    assert [p["name"] for p in said["policies"]] == POLICIES


def test_nothing_of_a_page_comes_from_elsewhere(written: tuple[dict[str, Any], bytes]) -> None:
    """No address, no markup from a document, and only this script and this style may act."""
    text = written[1].decode()
    assert text.startswith(BEGINS.decode())
    assert not re.search(r"https?:|\bsrc=|@import|url\(|innerHTML|insertAdjacent|document\.write|\beval\(", text)
    policy = re.search(r'Security-Policy" content="([^"]+)"', text)
    assert policy
    assert "default-src 'none'" in policy[1]
    for tag in ("style", "script"):
        inside = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.S)
        assert len(inside) == 1
        digest = base64.b64encode(hashlib.sha256(inside[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy[1]


def test_names_from_a_trace_cannot_become_markup() -> None:
    hostile = "</script><script>alert('\u2028')</script>&<!--"
    found = {"schema": document.SCHEMA, "contexts": [{"name": hostile}]}
    page = page_of(found, hostile)
    assert document_of(page) == found
    head, _, rest = page.decode().partition("<style>")
    assert "<script" not in head
    assert "&lt;/script&gt;" in head
    assert rest.count("<script") == 2  # the document and the page's own


def test_costs_are_those_of_compare_by_every_profile(written: tuple[dict[str, Any], bytes]) -> None:
    trace = written[0]["traces"][0]
    assert set(trace["by_costs"]) == set(profile_names())
    for name in profile_names():
        words = ["compare", "hotplug.vhe", "-p", ",".join(POLICIES), "--costs", name, "--json"]
        said = json.loads(CliRunner().invoke(app, words).stdout)
        found = trace["by_costs"][name]
        assert (found["bound"], found["policies"]) == (said["bound"], said["policies"])
        assert sorted(p for row in found["rows"] for p in row["policies"]) == sorted(POLICIES)


@pytest.mark.parametrize("policy", POLICIES)
def test_origins_and_timelines_add_up_to_the_high_figures(policy: str, written: tuple[dict[str, Any], bytes]) -> None:
    trace = written[0]["traces"][0]
    high = next(p["high"] for p in trace["by_costs"]["altra-vhe"]["policies"] if p["name"] == policy)
    for by in ("events", "contexts"):
        origin = trace["origins"][policy][by]
        for what in ("saves", "loads", "traps"):
            assert sum(s[what] for s in origin) == high[what]
        for name in profile_names():
            cycles = next(p["high"]["cycles"] for p in trace["by_costs"][name]["policies"] if p["name"] == policy)
            assert sum(sum(s["cycles"][name].values()) for s in origin) == pytest.approx(cycles)
    line = trace["timelines"][policy]
    assert {len(line[c]) for c in ("owner", "row", "saves", "loads", "traps")} == {len(trace["events"]["since"])}
    for what in ("saves", "loads", "traps"):
        assert sum(line[what]) == high[what]


@pytest.mark.parametrize("policy", POLICIES)
def test_the_owners_on_a_page_are_those_of_the_stretches(policy: str, written: tuple[dict[str, Any], bytes]) -> None:
    """Also at events that a policy does not look at, and that its timeline leaves out."""
    said = written[0]["traces"][0]
    trace = open_trace("hotplug.vhe")
    line = timeline(trace, find_policy(policy))
    time = np.cumsum(said["events"]["since"]) + said["trace"]["begins_ns"]
    cpu, owner = np.array(said["events"]["cpu"]), np.array(said["timelines"][policy]["owner"])
    names = [o["name"] for o in said["owners"]]
    for c in range(2):
        ends = [(begin, end, whose(trace, x)) for x, begin, end in stretches(trace, line, c)]
        assert names[said["timelines"][policy]["first"][c]] == whose(trace, line.first[c])
        here = np.flatnonzero(cpu == c)
        last = here[np.append(time[here][1:] != time[here][:-1], True)]  # of events of one time, what the last leaves
        for i in last.tolist():
            holds = [name for begin, end, name in ends if begin <= time[i] < end] or [ends[-1][2]]
            assert names[owner[i]] == holds[0]


def test_a_row_says_what_it_decides_and_where(written: tuple[dict[str, Any], bytes]) -> None:
    line = written[0]["traces"][0]["timelines"]["linux-6.14"]
    saved = next(i for i, n in enumerate(line["saves"]) if n)
    rule = line["rows"][line["row"][saved]]
    assert any(then.startswith("save ") for then in rule["then"])
    path, _, number = rule["where"].rpartition(":")
    assert path.startswith("fpstate/policies/")
    lines = (Path(document.__file__).parents[2] / path).read_text().splitlines()
    assert lines[int(number) - 1].strip() == rule["text"] != ""


def test_each_property_has_its_verdict_and_its_counterexample(written: tuple[dict[str, Any], bytes]) -> None:
    checks = {c["policy"]: c for c in written[0]["checks"]}
    assert set(checks["eager"]["properties"].values()) == {"holds"}
    assert checks["eager"]["counterexamples"] == []
    wrong = checks["defer-to-put"]
    assert {p for p, verdict in wrong["properties"].items() if verdict == "violated"} == {
        "integrity",
        "confidentiality",
    }
    path = next(p for p in wrong["counterexamples"] if p["property"] == "confidentiality")
    assert path["code"] == "2/5/1/1/0/1/0/1/0"
    assert path["blamed"] == [8]
    assert path["steps"][7]["decided"][0]["where"] == "fpstate/policies/defer_to_put.py:25"
    assert path["steps"][7]["decided"][0]["text"].startswith("def guest_enter(")


def test_a_verdict_on_each_property_is_that_of_a_search_for_it_alone() -> None:
    policy, scope = find_policy("riscv-kvm-6.8"), Scope(1, 1, 1)
    found = check_each(policy, scope)
    assert list(found) == list(DEFAULT)
    assert {r.verdict for r in found.values()} == {"holds", "violated"}
    for name, result in found.items():
        alone = check(policy, scope, properties=[name])
        assert (alone.verdict, alone.path and alone.path.code) == (
            result.verdict,
            result.path and result.path.code,
        )


def test_with_json_a_page_is_written_only_where_one_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert report("mmio-int.vhe", "-p", "eager", "--json").exit_code == 0
    assert list(tmp_path.iterdir()) == []
    done = report("mmio-int.vhe", "-p", "eager")
    assert done.stdout.startswith("report.html: mmio-int.vhe (bundled), 1 policy, ")
    first = (tmp_path / "report.html").read_bytes()
    assert report("mmio-int.vhe", "-p", "eager").exit_code == 0
    assert (tmp_path / "report.html").read_bytes() == first


def test_too_much_for_a_page_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "MOST_ENTRIES", 10_000)
    trace = json.loads(report("mmio-int.vhe", "-p", "eager,linux-6.14,linux-4.18", "--json").stdout)["traces"][0]
    assert trace["no_timelines"] == ["linux-6.14", "linux-4.18"][2 - len(trace["no_timelines"]) :]
    assert set(trace["timelines"]) | set(trace["no_timelines"]) == {"eager", "linux-6.14", "linux-4.18"}
    monkeypatch.setattr(document, "MOST_ENTRIES", 10)
    trace = json.loads(report("mmio-int.vhe", "-p", "eager", "--json").stdout)["traces"][0]
    assert (trace["no_timelines"], trace["events"]["since"], trace["owners"]) == (["eager"], [], [])
    assert trace["origins"]["eager"]["events"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("mmio-int.vhe", "--cpus", "1"), "--cpus has no effect without --check"),
        (("mmio-int.vhe", "-p", "defer-to-put,A1", "--check", "--cpus", "9"), "9 cpus"),
        (("mmio-int.vhe", "-p", "egaer"), "did you mean 'eager'?"),
        (("mmio-int.vhe", "--vl", "17"), "multiple of 16"),
        (("mmio-int.vhe", "--costs", "altra"), "unknown cost profile"),
    ],
)
def test_what_cannot_be_is_refused(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    done = report(*words, "-o", str(tmp_path / "x.html"))
    assert isinstance(done.exception, FpstateError)
    assert said in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_only_a_page_is_written_over_and_never_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "x.html"
    path.write_text("\nsomebody's notes\n")
    assert "none of ours" in str(report("mmio-int.vhe", "-p", "eager", "-o", str(path)).exception)
    assert path.read_text() == "\nsomebody's notes\n"
    trace = tmp_path / "t.txt"
    trace.write_text("anything")
    assert "is the recording itself" in str(report("mmio-int.vhe", str(trace), "-o", str(trace)).exception)
    assert trace.read_text() == "anything"


NO_SAVE = """
from fpstate.policies.eager import Eager

class NoSave(Eager):
    name = "no-save"
    def guest_exit(self, cpu, task, vcpu):
        cpu.load_stash()
"""


def test_two_policies_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text(NO_SAVE)
    done = report("mmio-int.vhe", "-p", f"{tmp_path}/a.py:NoSave", "-p", f"{tmp_path}/b.py:NoSave", "--json")
    assert "are both called no-save" in str(done.exception)


def test_a_policy_that_corrupts_on_the_trace_is_a_finding_and_is_marked(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(NO_SAVE)
    done = report("hvc-fp.vhe", "-p", f"{tmp_path}/own.py:NoSave", "-o", str(tmp_path / "x.html"))
    assert done.exit_code == 1
    assert "no-save corrupts registers on hvc-fp.vhe (bundled)" in " ".join(done.stdout.split())
    trace = document_of((tmp_path / "x.html").read_bytes())["traces"][0]
    broken = trace["by_costs"]["altra-vhe"]["policies"][0]["broken"]
    assert trace["events"]["line"][trace["timelines"]["no-save"]["wrong"]] == broken["line"] > 0
