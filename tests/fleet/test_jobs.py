"""What each kind of job asks and answers, in this process: as its own command does, and by row what cannot be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fpstate import fleet
from fpstate.api import check, compare
from fpstate.errors import FpstateError
from fpstate.fleet import checking, comparing, running, searching
from fpstate.fleet.digest import located
from fpstate.fleet.go import Asked, Done, go
from fpstate.fleet.job import Job, Row
from fpstate.fleet.kinds import NAMES, kind_of
from fpstate.fleet.summary import summary
from fpstate.fleet.work import OtherCodeError, sentence, work

HERE = Path(__file__).parents[2]


def rows_of(jobs: list[Job]) -> list[Row]:
    return [row for job in jobs for row in work(job)]


def test_compare_says_what_compare_says() -> None:
    """All figures, low and high, of a bundled recording, with rows learned once for two of them."""
    names = ["eager", "linux-6.14", "adaptive"]
    rows = rows_of(comparing.jobs(["hvc-fp.vhe", "sve.vhe", "hvc-fp.vhe"], names, "altra-vhe", 32))
    for trace, part in (("hvc-fp.vhe", rows[:3]), ("sve.vhe", rows[3:6]), ("hvc-fp.vhe", rows[6:])):
        own = compare(trace, names, vl=32).traces[0]
        for row, expected in zip(part, own.policies, strict=True):
            assert (row["policy"], row["error"], row["trace"]) == (expected.name, None, trace)
            assert (row["ratio_low"], row["ratio_high"]) == (expected.ratio_low, expected.ratio_high)
            for side, figures in (("low", expected.low), ("high", expected.high)):
                for name, value in vars(figures).items():
                    if name != "charged":
                        assert row[f"{side}_{name}"] == value
                assert {op: row[f"{side}_charged_{op}"] for op in figures.charged} == figures.charged
            assert row["bound_high"] == own.bound_high.cycles
            assert row["features"] == ",".join(expected.features)


def test_a_policy_that_fails_costs_the_others_nothing(own: str) -> None:
    """Its row says where, those before and after it on the same trace have their figures."""
    rows = rows_of(comparing.jobs(["hvc-fp.vhe"], ["eager", f"{own}:Raises", f"{own}:Mine"], "altra-vhe", 64))
    assert [row["error"] is None for row in rows] == [True, False, True]
    assert "handler 'guest_exit' of policy 'raises' raises ValueError: no such luck" in rows[1]["error"]
    assert rows[0]["high_saves"] == rows[2]["high_saves"] > 0


def test_a_trace_that_cannot_be_read_is_rows_that_say_so(traces: Path) -> None:
    (traces / "bad.txt").write_text("hello\n")
    paths = [str(traces / name) for name in ("t0.parquet", "bad.txt")]
    rows = rows_of(comparing.jobs(paths, ["eager"], "altra-vhe", 64))
    assert [row["error"] is None for row in rows] == [True, False]
    assert f"{paths[1]}: is not a trace" in rows[1]["error"]
    assert set(rows[1]) == {*comparing.LABEL, "key", "error"}


def test_check_says_what_check_says() -> None:
    """Verdict, size and the path's code; what a policy does not support is left out, and why is said."""
    scopes = checking.Scopes(cpus=(1,), tasks=(1,), vcpus=(0, 1), features=((), ("sve",)))
    jobs, left_out = checking.jobs(["defer-to-put", "linux-6.14"], scopes, [])
    rows = rows_of(jobs)
    assert len(rows) == 6
    assert len(left_out) == 2
    assert "does not support sve" in left_out[0]
    for row in rows:
        features = row["features"].split(",") if row["features"] else ()
        expected = check(row["policy"], cpus=1, tasks=1, vcpus=row["vcpus"], features=features)
        assert (row["verdict"], row["states"], row["moves"]) == (expected.verdict, expected.states, expected.moves)
        assert row["code"] == (expected.path.code if expected.path else None)
    assert [row["verdict"] for row in rows].count("violated") == 1


def test_of_what_cannot_be_at_all_the_first_reason_is_given() -> None:
    with pytest.raises(FpstateError, match="impossible"):
        checking.jobs(["eager"], checking.Scopes(cpus=(9,)), [])


def test_run_says_what_is_wrong_and_hangs_on_its_seed_alone() -> None:
    pytest.importorskip("unicorn")
    machines = running.Machines((1, 2), (1,), (1000,), {"softirq": 0.3})
    jobs = running.jobs(["rounding+nbody"], ["defer-to-put", "eager"], machines)
    rows = rows_of(jobs)
    assert [(row["policy"], row["seed"]) for row in rows] == [(p, s) for p in ("defer-to-put", "eager") for s in (1, 2)]
    assert not rows[0]["ok"]
    assert "guest-rounding" in rows[0]["wrong_programs"]
    assert rows[2]["ok"]
    again = work(jobs[0])[0]
    assert {n: v for n, v in again.items() if n != "seconds"} == {n: v for n, v in rows[0].items() if n != "seconds"}


def test_search_finds_values_and_says_if_it_came_to_an_end() -> None:
    searches = searching.Searches([("hvc-fp.vhe",)], max_ways=1)
    (row,) = rows_of(searching.jobs([str(HERE / "examples/holes.py:Learning")], searches))
    assert (row["looked_at"], row["complete"], row["error"]) == (1, False, None)
    with pytest.raises(FpstateError, match="has no holes"):
        searching.jobs(["eager"], searches)


def test_columns_are_those_that_rows_have() -> None:
    """No answer has a column that its table lacks."""
    for name in NAMES:
        if name == "run":
            pytest.importorskip("unicorn")
        kind = kind_of(name)
        assert not set(kind.label) & set(kind.answer)
        assert {"error", "seconds", "key"} <= set(kind.columns)
    rows = rows_of(comparing.jobs(["hvc-fp.vhe"], ["eager"], "altra-vhe", 64))
    assert set(rows[0]) == set(comparing.KIND.columns)


def test_other_code_does_not_answer() -> None:
    (job,) = comparing.jobs(["hvc-fp.vhe"], ["eager"], "altra-vhe", 64)
    with pytest.raises(OtherCodeError):
        work(replace(job, code="other"))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FpstateError("x", expected="y"), "x; expected y"),
        (PermissionError(13, "Permission denied", "f"), "cannot read 'f': Permission denied"),
        (MemoryError(), "not enough memory; narrow what is asked, or give the process more"),
        (ZeroDivisionError(), "an error of fpstate itself: ZeroDivisionError"),
    ],
)
def test_why_there_is_no_answer_is_one_line(error: BaseException, said: str) -> None:
    assert sentence(error) == said


def test_names_mean_the_same_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.py").touch()
    (tmp_path / "eager.txt").touch()
    assert located("x.py:Mine") == f"{tmp_path}/x.py:Mine"
    assert located("eager.txt") == str(tmp_path / "eager.txt")
    assert located("kernel:eager.txt@nvhe") == f"kernel:{tmp_path}/eager.txt@nvhe"
    assert located("kernel:eager.txt") == f"kernel:{tmp_path}/eager.txt"
    assert [located(name) for name in ("eager", "y.py:Mine", "kernel:debian-6.1")] == [
        "eager", "y.py:Mine", "kernel:debian-6.1",
    ]  # fmt: skip


def asked(traces: Path, output: Path, *policies: str) -> Asked:
    paths = [str(path) for path in sorted(traces.iterdir())]
    return Asked("compare", comparing.jobs(paths, policies, "altra-vhe", 64), output)


def whole(done: Done) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = done.rows.to_pylist()
    return found


def test_started_again_it_does_what_is_not_done(traces: Path, tmp_path: Path, own: str) -> None:
    """A policy more, a file changed, an error: those rows alone are made; the others stay as they are."""
    output = tmp_path / "x.parquet"
    (traces / "bad.txt").write_text("hello\n")
    first = go(asked(traces, output, "eager", f"{own}:Mine"))
    assert (first.asked, first.before, first.left) == (18, 0, 0)
    again = go(asked(traces, output, "eager", f"{own}:Mine"))
    assert again.before == 16
    assert [r["seconds"] for r in whole(again)] == [r["seconds"] for r in whole(first)]
    Path(own).write_text(Path(own).read_text() + "\n# changed\n")
    (traces / "t1.parquet").replace(traces / "t0.parquet")
    (traces / "bad.txt").unlink()
    steps: list[None] = []
    third = go(asked(traces, output, "eager", f"{own}:Mine", "linux-6.14"), lambda: steps.append(None))
    assert (third.asked, third.before, len(steps)) == (21, 6, 7)
    kept = {(r["trace"], r["policy"]): r["seconds"] for r in whole(first)}
    same = [r for r in whole(third) if r["seconds"] == kept.get((r["trace"], r["policy"]))]
    assert {r["policy"] for r in same} == {"eager"}
    assert len(same) == 6
    assert [r["trace"] for r in whole(third)][::3] == [str(p) for p in sorted(traces.iterdir())]


def test_quantiles_are_of_what_was_answered(traces: Path, tmp_path: Path) -> None:
    (traces / "bad.txt").write_text("hello\n")
    done = go(asked(traces, tmp_path / "x.parquet", "eager", "defer-to-put"))
    found = summary("compare", done.rows, list(comparing.LABEL))
    eager = found.policies[0]
    ratios = sorted(r["ratio_high"] for r in whole(done) if r["policy"] == "eager" and not r["error"])
    q = eager.quantiles["ratio_high"]
    assert q is not None
    assert (q["least"], q["most"]) == (ratios[0], ratios[-1])
    assert q["median"] == pytest.approx((ratios[3] + ratios[4]) / 2)
    assert (eager.outcomes["right"], eager.outcomes["no answer"], eager.rows) == (8, 1, 9)
    assert (eager.cheapest or 0) + found.policies[1].outcomes["corrupts"] >= 8
    assert found.exit_code(done) == 3
    assert [r["trace"] for r in found.failed] == [str(traces / "bad.txt")] * 2


def test_from_python_rows_come_as_the_command_keeps_them(traces: Path, tmp_path: Path) -> None:
    """With a table and without, the same rows; a loop that is left has kept what came, and goes on from there."""
    output = tmp_path / "x.parquet"
    paths = [str(path) for path in sorted(traces.iterdir())]
    plain = list(fleet.compare(paths, "eager,linux-6.14"))
    assert [(row["trace"], row["policy"]) for row in plain[:3]] == [
        (paths[0], "eager"), (paths[0], "linux-6.14"), (paths[1], "eager"),
    ]  # fmt: skip
    asked = fleet.compare(traces, ["eager", "linux-6.14"], output=output)
    assert len(asked) == len(plain) == 16
    for row in asked:
        if row["trace"] == paths[1]:
            break
    del asked
    assert 2 <= pq.read_table(output).num_rows < 16
    kept = list(fleet.compare(traces, ["eager", "linux-6.14"], output=output))
    unlike = {"seconds", "key"}
    assert [{n: v for n, v in row.items() if n not in unlike} for row in kept] == [
        {n: v for n, v in row.items() if n not in unlike} for row in plain
    ]
    assert pq.read_table(output).to_pylist() == kept


def test_from_python_the_others_answer_too() -> None:
    """Scopes, machines and searches, by name; what cannot be is said before a row is asked for."""
    checked = fleet.check("eager", fleet.Scopes(cpus=(1,), tasks=(1,), vcpus=(0, 1), features=[(), ("sme",)]))
    assert [(row["vcpus"], row["verdict"]) for row in checked] == [(0, "holds"), (1, "holds")]
    assert len(checked.left_out) == 2
    ran = list(fleet.run("rounding", "eager", fleet.Machines(seeds=(1, 2))))
    assert [(row["seed"], row["ok"], row["error"]) for row in ran] == [(1, True, None), (2, True, None)]
    with pytest.raises(FpstateError, match="eagre"):
        fleet.check("eagre")
    with pytest.raises(FpstateError, match="no such"):
        fleet.compare("no such")
    with pytest.raises(FpstateError, match="nbodies"):
        fleet.run("nbodies")


def test_a_policy_that_is_another_on_the_worker_is_no_answer() -> None:
    """A kernel fetched by name may be a later one there."""
    job = checking.jobs(["eager"], checking.Scopes(cpus=(1,), vcpus=(0,)), ())[0][0]
    row = work(replace(job, given={**job.given, "source": "Linux 6.1.0-1"}))[0]
    assert row["error"].startswith("policy 'eager' is from ")
    assert "Linux 6.1.0-1" in row["error"]
