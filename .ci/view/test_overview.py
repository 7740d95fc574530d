"""Tests the overview, which is the start page."""

import os
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
        key = site.post(talk("Hello" * number, "Hi", model=model, id=f"t{number}", usage=tokens))
        os.utime(site.folder / f"{key}.json", (time.time() - number % 4 * day - number, time.time() - number % 4 * day - number))
    site.post(talk("a", id="failed", error={"status": 429}))


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
    assert "model%3A" in page.url and "since%3A" in page.url


def test_the_bound_of_the_overview_is_visible(site, page):
    for number in range(1_100):
        site.put(f"m/{number}", talk("a", usage={"total_tokens": 1}))
    page.goto(site.url)
    expect(page.locator(".bound")).to_contain_text("All 1,100 traces are counted.")
    expect(page.locator(".bound")).to_contain_text("those of the newest 1,000.")
    expect(page.locator(".totals")).to_contain_text("1,000")
    page.goto(site.view("--bucket", "traces"))
    expect(page.locator(".bound")).to_contain_text("those of the first 1,000 in the order of the keys.")


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
