"""Tests that `view --lake` searches all traces in their lake."""

import os
import subprocess

import pytest
from conftest import talk
from playwright.sync_api import expect

# More than a page of the list, and more than a search without a lake reads before it stops.
TRACES = 2_500


@pytest.fixture
def lake(site, tmp_path):
    """Stores many traces, one of them about a refund, and creates their lake. Returns the URL of the page over both."""
    for number in range(TRACES):
        site.put(f"gpt-4o/{number}", talk(f"Question {number}", "Answer"))
    site.put("claude/refund", talk("Where is my \u201crefund\u201d?", "On its way", model="claude", usage={"total_tokens": 7}))
    lake = tmp_path / "lake"
    sync = [os.environ["ATTEST"], "lake", "sync", "--quiet", "--folder", site.folder, "-o", lake]
    subprocess.run(sync, check=True)
    return site.view("--folder", site.folder, "--lake", lake)


def test_a_search_over_a_lake_covers_all_traces(lake, page):
    page.goto(f"{lake}traces")
    expect(page.locator("#rows li")).to_have_count(50)
    page.get_by_role("searchbox").fill('"REFUND"')
    page.keyboard.press("Enter")
    expect(page.locator("#rows li")).to_have_count(1)
    expect(page.get_by_role("link", name="Further")).to_have_count(0)
    page.locator("#rows li a").first.click()
    expect(page.locator(".message").first).to_contain_text("Where is my \u201crefund\u201d?")


def test_all_pages_over_a_lake_show_each_trace_once(lake, page):
    page.goto(f"{lake}traces?q=fingerprint:gpt-4o")
    keys = []
    while True:
        expect(page.locator("#rows li").first).to_be_visible()
        shown = page.locator("#rows li a").evaluate_all("links => links.map(link => new URL(link.href).searchParams.get('key'))")
        keys += [key for key in shown if key]
        further = page.get_by_role("link", name="Further")
        if not further.count() or len(keys) >= TRACES:
            break
        further.click()
        page.wait_for_url(lambda url: "from=" in url)
    assert len(keys) == len(set(keys)) == TRACES


def test_the_overview_of_a_lake_counts_all_traces(lake, page):
    page.goto(lake)
    expect(page.locator(".bound")).to_contain_text("2,501 traces")
    expect(page.locator("main")).to_contain_text("claude")


def test_a_place_that_is_not_a_lake_is_refused(site, tmp_path):
    place = tmp_path / "empty"
    command = [os.environ["ATTEST"], "view", "--port", "0", "--folder", site.folder, "--lake", place]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert str(place) in done.stderr and "attest lake sync" in done.stderr
    assert not place.exists() or not any(place.iterdir())
    assert not done.stdout
