"""The report as its reader has it: drawn without an error, led by keys alone, and readable for a screen reader.

Skipped where there is no Chromium with its driver, unless FPSTATE_BROWSER=required.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

selenium = pytest.importorskip("selenium")
from axe_core_python.selenium import Axe  # noqa: E402
from selenium.webdriver import ActionChains, Chrome  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.remote.webelement import WebElement  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

from fpstate.cli.main import app  # noqa: E402
from fpstate.pictures.page import document_of, page_of  # noqa: E402
from tests.browser.driver import browser, opened  # noqa: E402

HOSTILE = "</script><script>window.obeyed=1</script><img src=x onerror=window.obeyed=1>"
ASKED = "report hotplug.vhe mmio-int.vhe -p linux-6.14,eager,defer-to-put --check --cpus 1 --tasks 1 --vcpus 1"


@pytest.fixture(scope="module")
def driver() -> Iterator[Chrome]:
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        if os.environ.get("FPSTATE_BROWSER") == "required":
            pytest.fail("required, but there is no chromium with chromium-driver")
        pytest.skip("there is no chromium with chromium-driver")
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a report of two traces, in which a task is called like markup."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    done = CliRunner().invoke(app, [*ASKED.split(), "-o", str(path)])
    assert done.exit_code == 1, done.output
    found = json.dumps(document_of(path.read_bytes()), ensure_ascii=False)
    path.write_bytes(page_of(json.loads(found.replace("load-108", HOSTILE)), HOSTILE))
    return path


@pytest.fixture
def first(page: Path) -> dict[str, Any]:
    found: dict[str, Any] = document_of(page.read_bytes())["traces"][0]
    return found


def by(driver: Chrome, name: str) -> WebElement:
    return driver.find_element(By.ID, name)


def text(driver: Chrome, name: str) -> str:
    return str(by(driver, name).text)


def faults(driver: Chrome) -> list[str]:
    """Return what the browser has complained about, by level and text."""
    return [f"{entry['level']}: {entry['message']}" for entry in driver.get_log("browser")]  # type: ignore[no-untyped-call]


def length_shown(driver: Chrome) -> float:
    found = re.match(r"([\d.]+) s of", text(driver, "aggregated"))
    assert found
    return float(found[1])


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_is_drawn_whole_and_readable_for_all(driver: Chrome, page: Path, width: int, dark: bool) -> None:
    """No complaint of the browser, nothing beside the page loaded, nothing wider than the screen, no finding of axe."""
    opened(driver, page, width=width, dark=dark)
    by(driver, "canvas-0").send_keys(Keys.ARROW_RIGHT)
    assert faults(driver) == []
    assert driver.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert driver.execute_script("return document.documentElement.scrollWidth") == width
    found = Axe().run(driver)
    assert [(v["id"], [n["target"] for n in v["nodes"]]) for v in found["violations"]] == []
    assert len(found["passes"]) > 20


def test_a_name_from_the_trace_is_text_wherever_it_stands(driver: Chrome, page: Path) -> None:
    opened(driver, page)
    assert driver.execute_script("return window.obeyed") is None
    assert driver.title == HOSTILE
    assert HOSTILE in text(driver, "origins-contexts")
    assert HOSTILE in text(driver, "owners")
    assert driver.find_elements(By.CSS_SELECTOR, "main script, main img") == []


def test_every_figure_of_the_comparison_is_there_by_each_profile(
    driver: Chrome, page: Path, first: dict[str, Any]
) -> None:
    opened(driver, page)
    seen = set()
    for costs in first["by_costs"]:
        Select(by(driver, "costs")).select_by_value(costs)
        rows = driver.find_elements(By.CSS_SELECTOR, "#comparison-body tbody tr")
        compared = first["by_costs"][costs]
        assert [r.find_element(By.TAG_NAME, "th").text for r in rows[1:]] == [r["label"] for r in compared["rows"]]
        eager = next(p for p in compared["policies"] if p["name"] == "eager")
        row = next(r.text for r in rows if r.text.startswith("eager"))
        assert f"{eager['high']['saves']:,}" in row
        assert f"{eager['high']['cycles'] / 1000:,.0f}" in row
        seen.add(row)
    assert len(seen) == len(first["by_costs"])
    assert faults(driver) == []


def test_a_counterexample_is_stepped_through_by_keys(driver: Chrome, page: Path) -> None:
    """A verdict leads to its path; the slider's own keys step; the last step says what went wrong."""
    opened(driver, page)
    shown = driver.find_element(By.CSS_SELECTOR, "#safety-table button[aria-label*='confidentiality']")
    shown.send_keys(Keys.ENTER)
    assert driver.switch_to.active_element.get_attribute("id") == "step"
    assert "1. thread_switch idle0→A" in text(driver, "step-body")
    slider = by(driver, "step")
    for _ in range(4):
        slider.send_keys(Keys.ARROW_RIGHT)
    assert "5. guest_fp A→vcpu0 — the policy does: save host copy, load vcpu0" in text(driver, "step-body")
    by(driver, "step-back").click()
    assert "4. guest_enter A→vcpu0" in text(driver, "step-body")
    slider.send_keys(Keys.END)
    last = text(driver, "step-body")
    assert "softirq's" in last
    assert "vcpu0 reads a value that is not its latest" in last
    assert by(driver, "step-on").get_attribute("disabled")
    driver.find_elements(By.CSS_SELECTOR, "#step-list button")[7].click()
    assert "fpstate/policies/defer_to_put.py:25" in text(driver, "step-body")
    assert "This decision makes it go wrong" in text(driver, "step-body")


def test_the_timeline_is_led_by_keys_alone(driver: Chrome, page: Path, first: dict[str, Any]) -> None:
    opened(driver, page)
    whole = length_shown(driver)
    assert whole == pytest.approx(first["trace"]["duration_ns"] / 1e9, abs=1e-6)
    assert "narrower than a pixel" in text(driver, "aggregated")
    for _ in range(400):
        driver.switch_to.active_element.send_keys(Keys.TAB)
        if driver.switch_to.active_element.get_attribute("id") == "canvas-0":
            break
    canvas = driver.switch_to.active_element
    assert canvas.get_attribute("id") == "canvas-0"
    canvas.send_keys(Keys.ARROW_RIGHT)
    events = first["events"]
    of_cpu = [i for i, cpu in enumerate(events["cpu"]) if cpu == 0]
    assert f"{events['names'][events['event'][of_cpu[0]]]} " in text(driver, "decision")
    assert f"line {events['line'][of_cpu[0]]})" in text(driver, "decision")
    canvas.send_keys("+" * 14)
    WebDriverWait(driver, 5).until(lambda d: length_shown(d) == pytest.approx(whole / 2**14, abs=1e-6))
    assert "Every stretch is drawn by itself" in text(driver, "aggregated")
    canvas.send_keys("0")
    WebDriverWait(driver, 5).until(lambda d: length_shown(d) == pytest.approx(whole, abs=1e-6))
    line = first["timelines"]["linux-6.14"]
    saved = next(k for k, i in enumerate(of_cpu) if line["saves"][i])
    canvas.send_keys(Keys.ARROW_RIGHT * saved)
    i = of_cpu[saved]
    shown = text(driver, "decision")
    rule = line["rows"][line["row"][i]]
    assert f"Carried out\n{line['saves'][i]} save" in shown
    assert rule["where"] in shown
    assert ", ".join(rule["then"]) in shown


def test_the_timeline_is_led_by_a_mouse(driver: Chrome, page: Path) -> None:
    """Hovering names an event, a click shows the decision under both policies, wheel and drag zoom and move."""
    opened(driver, page)
    canvas = by(driver, "canvas-0")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    mouse = ActionChains(driver, duration=50).move_to_element_with_offset(canvas, -200, -40)
    mouse.perform()
    assert "registers hold" in text(driver, "hovered")
    assert "Nearest event" in text(driver, "hovered")
    mouse.click().perform()
    heads = [h.text for h in driver.find_elements(By.CSS_SELECTOR, "#decision h4")]
    assert heads == [Select(by(driver, f"policy-{k}")).first_selected_option.text for k in (0, 1)]
    whole = length_shown(driver)
    turned = "{deltaY: -300, ctrlKey: true, clientX: 600, cancelable: true}"
    driver.execute_script(f"arguments[0].dispatchEvent(new WheelEvent('wheel', {turned}))", canvas)
    WebDriverWait(driver, 5).until(lambda d: length_shown(d) < whole / 2)
    held = driver.execute_script("return document.getElementById('canvas-0').toDataURL()")
    ActionChains(driver, duration=50).drag_and_drop_by_offset(canvas, -150, 0).perform()
    WebDriverWait(driver, 5).until(
        lambda d: d.execute_script("return document.getElementById('canvas-0').toDataURL()") != held
    )
    assert length_shown(driver) < whole / 2
    assert faults(driver) == []


def test_another_trace_and_another_policy_are_shown_when_chosen(driver: Chrome, page: Path) -> None:
    opened(driver, page)
    Select(by(driver, "trace")).select_by_visible_text("mmio-int.vhe (bundled)")
    assert "mmio-int.vhe" in text(driver, "measured-body")
    before = text(driver, "origins-events")
    Select(by(driver, "policy")).select_by_value("eager")
    assert text(driver, "origins-events") != before
    Select(by(driver, "policy-1")).select_by_value("eager")
    assert "Timeline of eager:" in str(by(driver, "canvas-1").get_attribute("aria-label"))
    assert faults(driver) == []


def test_on_paper_all_verdicts_and_no_buttons_are_left(driver: Chrome, page: Path) -> None:
    """In dark ink on white, whatever the screen had, and no table wider than the paper."""
    opened(driver, page, width=720, dark=True)
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": []})
    assert text(driver, "safety-table").count("✗ violated") == 2
    assert not by(driver, "zoom-in").is_displayed()
    ground = "return getComputedStyle(document.body).backgroundColor"
    assert driver.execute_script(ground) == "rgb(255, 255, 255)"
    wide = "return Math.max(...[...document.querySelectorAll('table')].map((t) => t.getBoundingClientRect().right))"
    assert driver.execute_script(wide) <= 720
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
