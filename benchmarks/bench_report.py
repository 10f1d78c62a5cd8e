"""The report's page: how large it is, how long it takes to write, and how smoothly its timeline zooms.

Written beside Perfetto's trace of one of its policies (`fpstate export`) in the same run. The zooming is done in
Chromium, if that is there, by the keys of the timeline over a trace of 100,000 events under two policies; a frame is
the time from one animation frame to the next, which no browser makes shorter than its display's, 17 ms.
Run: python benchmarks/bench_report.py [--short] [--json]
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.browser.driver import browser, opened

from fpstate.costs import load_profile
from fpstate.pictures.document import SCHEMA, policies_json, profiles_json, trace_json
from fpstate.pictures.page import page_of
from fpstate.pictures.perfetto import perfetto_trace
from fpstate.policies.base import Policy
from fpstate.policies.catalogue import find_policy, policies
from fpstate.replay.compare import DEFAULT_VL, compare
from fpstate.replay.timeline import timeline
from fpstate.traces.generate import mixed_trace
from fpstate.traces.samples import open_trace
from fpstate.traces.trace import Trace

EVENTS = 100_000
LARGEST = "contended.vhe"
"""The bundled recording with most events."""
FRAMES = """
const done = arguments[arguments.length - 1], canvas = document.getElementById("canvas-0"), frames = [];
let n = 0, last = 0;
const step = (now) => {
  if (last) frames.push(now - last);
  last = now;
  if (n === arguments[0]) { done(frames); return; }
  canvas.dispatchEvent(new KeyboardEvent("keydown", { key: n++ % 24 < 12 ? "+" : "-" }));
  requestAnimationFrame(step);
};
requestAnimationFrame(step);
"""


def timed(what: Callable[[], bytes]) -> tuple[bytes, float]:
    """Return what is written, and the seconds it took."""
    start = time.perf_counter()
    made = what()
    return made, time.perf_counter() - start


def page(trace: Trace, shown: list[type[Policy]]) -> bytes:
    """Return the page of a trace under some policies."""
    costs = [load_profile("altra-vhe")]
    found = trace_json(trace, compare(trace, shown, costs[0]), shown, costs, DEFAULT_VL)
    about = {"schema": SCHEMA, "costs": costs[0].name, "profiles": profiles_json(costs), "checks": None}
    return page_of({**about, "policies": policies_json(shown), "traces": [found]}, trace.header.source)


def sizes(trace: Trace, shown: list[type[Policy]]) -> dict[str, Any]:
    """Return bytes and seconds of a page, and of Perfetto's trace of one policy in its place."""
    page(trace, shown)  # compile, learn rows
    made, seconds = timed(lambda: page(trace, shown))
    profile = load_profile("altra-vhe")
    peer, peer_seconds = timed(lambda: perfetto_trace(trace, timeline(trace, shown[0]), profile))
    n = len(shown)
    return {
        "source": trace.header.source, "events": len(trace), "policies": n, "bytes": len(made), "seconds": seconds,
        "perfetto": {"bytes": len(peer), "seconds": peer_seconds},
        "ratio": {"bytes": len(made) / n / len(peer), "seconds": seconds / n / peer_seconds},
    }  # fmt: skip


def frames(made: bytes, times: int) -> list[float]:
    """Return the ms of each frame of scripted zooming over a page."""
    with tempfile.TemporaryDirectory() as folder, browser() as driver:
        path = Path(folder) / "report.html"
        path.write_bytes(made)
        opened(driver, path)
        driver.set_script_timeout(120)
        return [float(ms) for ms in driver.execute_async_script(FRAMES, times)]


def main() -> None:
    """Measure and print; exit 1 when an aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    largest = sizes(open_trace(LARGEST), list(policies().values())[: 3 if asked.short else None])
    two = [find_policy("linux-6.14"), find_policy("riscv-kvm")]
    long = mixed_trace(EVENTS, seed=1, cpus=4)
    result: dict[str, Any] = {"schema": "fpstate.bench_report/1", "largest": largest, "long": sizes(long, two)}
    if shutil.which("chromium") and shutil.which("chromedriver"):
        ms = frames(page(long, two), 24 if asked.short else 480)
        result["frames"] = {"count": len(ms), "median_ms": statistics.median(ms), "worst_ms": max(ms)}
    if asked.json:
        print(json.dumps(result, indent=2))
    else:
        show(result)
    missed = largest["bytes"] > 3_000_000 or largest["seconds"] > 10
    sys.exit(int(missed or result.get("frames", {"median_ms": 0})["median_ms"] > 50))


def show(result: dict[str, Any]) -> None:
    """Print sizes and times with their ratios, and frames."""
    for name in ("largest", "long"):
        r = result[name]
        print(
            f"{r['source']}: {r['events']:,} events, {r['policies']} policies: {r['bytes'] / 1e6:.2f} MB in "
            f"{r['seconds']:.1f} s; a policy against Perfetto's trace of it: {r['ratio']['bytes']:.2f} x bytes, "
            f"{r['ratio']['seconds']:.2f} x time"
        )
    if f := result.get("frames"):
        print(f"zooming over {EVENTS:,} events: {f['median_ms']:.0f} ms a frame, worst {f['worst_ms']:.0f} ms")
    else:
        print("zooming: not measured, there is no Chromium")


if __name__ == "__main__":
    main()
