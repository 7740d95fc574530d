"""Tests that Next and Previous step through a whole result, across its pages."""

import json

import pytest
from conftest import talk
from playwright.sync_api import expect

WORDS = "refund"


@pytest.fixture
def result(site):
    """Stores 120 traces that a search for `refund` finds, among others. A page has 50 rows."""
    folder = site.folder.parent / "later"
    folder.mkdir()
    for number in range(120):
        (folder / f"r{number:03}.json").write_text(json.dumps(talk(f"refund {number}")))
        (folder / f"o{number:03}.json").write_text(json.dumps(talk("other")))
    folder.rename(site.folder / "walk")


def listed(page, url):
    """Returns the keys from all pages of a result, in order."""
    page.goto(url)
    keys = []
    while True:
        expect(page.locator("#rows li").first).to_be_visible()
        keys += [row.get_attribute("data-key") for row in page.locator("#rows li").all()]
        further = page.get_by_role("link", name="Further")
        if further.count() == 0:
            return keys
        further.click()
        expect(page.locator(f"#rows li[data-key='{keys[-1]}']")).to_have_count(0)


def step(page, name, expected):
    page.get_by_role("link", name=name, exact=True).click()
    expect(page.locator("#fact-key")).to_have_text(expected)


@pytest.mark.parametrize("q", [WORDS, "fingerprint:walk id:r"])
@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_next_and_previous_cross_the_pages_of_a_result(site, result, page, q, place):
    if place == "bucket":
        site.url = site.view("--bucket", "traces")
    order = listed(page, site.list_url(q))
    assert len(order) == 120
    page.goto(site.list_url(q))
    page.locator("#rows a").nth(48).click()
    for place in range(49, 102):
        step(page, "Next", order[place])
    for place in range(100, 47, -1):
        step(page, "Previous", order[place])
    page.go_back()
    expect(page.locator("#fact-key")).to_have_text(order[49])
    page.go_forward()
    expect(page.locator("#fact-key")).to_have_text(order[48])
    page.get_by_role("link", name="Results", exact=True).click()
    expect(page.locator(f"#rows li[data-key='{order[48]}']")).to_have_count(1)


def test_the_ends_of_a_result_have_no_further_link(site, result, page):
    order = listed(page, site.list_url(WORDS))
    page.locator("#rows a").last.click()
    expect(page.locator("#fact-key")).to_have_text(order[-1])
    expect(page.get_by_role("link", name="Next", exact=True)).to_have_count(0)
    page.goto(site.list_url(WORDS))
    page.locator("#rows a").first.click()
    expect(page.locator("#fact-key")).to_have_text(order[0])
    expect(page.get_by_role("link", name="Previous", exact=True)).to_have_count(0)


def test_a_url_of_a_later_page_finds_the_trace_before_it_after_a_restart(site, result, page):
    order = listed(page, site.list_url(WORDS))
    page.goto(site.list_url(WORDS))
    page.get_by_role("link", name="Further").click()
    expect(page.locator(f"#rows li[data-key='{order[50]}']")).to_have_count(1)
    page.locator("#rows a").first.click()
    expect(page.locator("#fact-key")).to_have_text(order[50])
    fresh = site.view("--folder", str(site.folder))
    page.goto(page.url.replace(site.url, fresh))
    step(page, "Previous", order[49])
    step(page, "Next", order[50])


def test_opening_traces_does_not_repeat_the_search(site, result, page):
    """A search reads contents, so a repeated one would no longer find traces that have changed since."""
    order = listed(page, site.list_url(WORDS))
    for key in order[:50]:
        site.put(key, talk("changed"))
    page.goto(site.list_url(WORDS).replace(WORDS, "changed"))
    changed = [row.get_attribute("data-key") for row in page.locator("#rows li").all()]
    for key in changed:
        site.put(key, talk("gone"))
    page.locator("#rows a").first.click()
    for key in changed[1:4]:
        step(page, "Next", key)


def test_traces_that_arrive_do_not_interrupt_the_walk(site, result, page):
    order = listed(page, site.list_url(WORDS))
    page.goto(site.list_url(WORDS))
    page.locator("#rows a").nth(49).click()
    expect(page.locator("#fact-key")).to_have_text(order[49])
    site.post(talk("refund", id="new"))
    step(page, "Next", order[50])
    step(page, "Previous", order[49])
