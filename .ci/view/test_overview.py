"""Tests the overview, which is the start page."""

import json
import os
import re
import time

import agent
import pytest
from conftest import talk
from playwright.sync_api import expect


@pytest.fixture
def busy(site):
    """Stores traces of three models on four days."""
    day = 24 * 60 * 60
    for number in range(24):
        model = ["gpt-4o", "claude-sonnet-4-5", "OLMoE"][number % 3]
        tokens = {"prompt_tokens": 100 * number, "completion_tokens": 50}
        stored = time.time() - number % 4 * day - number
        key = site.post(talk("Hello" * number, "Hi", model=model, id=f"t{number}", usage=tokens, created=int(stored)))
        os.utime(site.folder / f"{key}.json", (stored, stored))
    site.post(talk("a", id="failed", created=int(time.time()), error={"status": 429}))


def test_the_overview_has_figures_charts_and_the_newest_traces(site, busy, page, picture):
    page.goto(site.url)
    expect(page.locator(".bound")).to_have_text("All 25 traces were read.")
    totals = page.locator(".totals")
    expect(totals).to_contain_text("25")
    expect(totals).to_contain_text(f"{sum(100 * number + 50 for number in range(24)):,}")
    expect(page.locator("svg.chart")).to_have_count(3)
    expect(page.locator("ol.rows li")).to_have_count(10)
    expect(page.locator("#models ~ table tbody tr")).to_have_count(3)
    page.locator(".card summary").first.click()
    expect(page.locator(".card").first.locator("tbody tr")).to_have_count(4)
    expect(page.locator(".basis")).to_contain_text("Days are those of storage, in UTC.")
    page.locator(".card summary").first.click()
    picture("overview", full_page=False)
    page.emulate_media(color_scheme="dark")
    picture("overview-dark")
    page.set_viewport_size({"width": 375, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    picture("overview-telephone")


def test_a_bar_filters_the_list(site, busy, page):
    page.goto(site.url)
    bar = page.locator("svg.chart").first.locator("a").first
    expected = int(bar.get_attribute("aria-label").split(": ")[1].split()[0])
    bar.click()
    expect(page.locator("#rows li")).to_have_count(expected)
    assert "model%3A" in page.url and "stored%3A" in page.url


def days_of(page):
    """Returns the trace counts by day from the first chart's table."""
    rows = page.locator(".card").first.locator("tbody tr").all()
    return {day: number for day, number in (row.locator("td").all_text_contents() for row in rows)}


def test_imported_traces_have_the_days_of_their_calls(site, page):
    for number in range(6):
        created = {"created": 1_780_000_000 + number % 3 * 24 * 60 * 60} if number else {"created": None}
        site.put(f"m/{number}", {**talk("a"), **created})
    page.goto(site.url)
    expect(page.locator(".basis")).to_contain_text("Days are those of created in the trace, in UTC.")
    expect(page.locator(".basis")).to_contain_text("1 trace has no such time")
    assert days_of(page) == {"2026-05-28": "1", "2026-05-29": "2", "2026-05-30": "2"}
    page.locator("svg.chart").first.locator("a").nth(1).click()
    expect(page.locator("#rows li")).to_have_count(2)
    assert "created%3A2026-05-29" in page.url
    page.goto(site.url)
    page.get_by_role("link", name="Show days of storage").click()
    assert list(days_of(page).values()) == ["6"]
    page.get_by_role("link", name="Show days of created").click()
    assert len(days_of(page)) == 3


def test_the_bound_of_the_overview_is_visible(site, page):
    for number in range(1_100):
        site.put(f"m/{number}", talk("a", usage={"total_tokens": 1}))
    page.goto(site.url)
    expect(page.locator(".bound")).to_contain_text("1,100 traces are stored.")
    expect(page.locator(".bound")).to_contain_text("those of the newest 1,000.")
    expect(page.locator(".totals dd")).to_have_text([re.compile("of 1,000 traces read$")] * 5)
    expect(page.locator(".card h2 small")).to_have_text(["of 1,000 traces read"] * 2 + ["of all 1,100 traces", "of 1,000 traces read"])
    page.get_by_role("link", name="Show days of storage").click()
    expect(page.locator(".card h2 small").first).to_have_text("of all 1,100 traces")
    expect(page.locator(".legend").first).to_contain_text("not read")
    page.get_by_role("link", name="Read all").click()
    expect(page.locator(".bound")).to_have_text("All 1,100 traces were read.")
    expect(page.locator(".totals dd").first).to_have_text("1,100")
    expect(page.locator(".totals dd").nth(2)).to_have_text("1,100")
    expect(page.locator(".card h2 small")).to_have_count(0)
    page.goto(site.view("--bucket", "traces"))
    expect(page.locator(".bound")).to_contain_text(re.compile(r"those of the first [\d,]+ in the order of the keys\."))


def test_reading_all_for_the_overview_shows_how_far_it_is_and_stops(site, page):
    later = site.folder.parent / "later"
    later.mkdir()
    for number in range(40):
        (later / f"{number}.json").write_text(json.dumps(talk("x" * 4_000_000)))
    later.rename(site.folder / "large")
    page.goto(f"{site.url}?all=true", wait_until="commit")
    page.locator(".progress:visible").get_by_role("button", name="Stop").click(no_wait_after=True)
    expect(page.locator(".bound")).to_contain_text("40 traces are stored.")
    expect(page.locator(".bound")).to_contain_text(re.compile(r"those of the newest \d+\."))
    expect(page.locator(".totals dd").first).to_contain_text(re.compile(r"of \d+ traces read"))
    expect(page.locator(".progress:visible")).to_have_count(0)


def test_hostile_figures_neither_fail_nor_hang(site, page):
    site.put("h/1", talk("a", usage={"total_tokens": 2**64 - 1}))
    site.put("h/2", talk("a", usage={"total_tokens": 2**64 - 1, "prompt_tokens": -1}))
    site.put("h/3", talk("a", usage={"total_tokens": 1e300}))
    site.put("h/4", "not JSON")
    site.put("h/5", {"model": {"a": 1}, "created": "x", "messages": 1, "choices": [], "usage": []})
    assert page.goto(site.url).status == 200
    expect(page.locator("svg.chart")).to_have_count(3)


def test_an_empty_folder_has_an_overview(site, page):
    page.goto(site.url)
    expect(page.locator(".bound")).to_have_text("No trace is stored here yet.")
    assert agent.png()
