"""Tests the trace list: arrivals, fingerprints, search and keyboard."""

import os
import time

import pytest
from conftest import talk
from playwright.sync_api import expect


@pytest.fixture
def three(site):
    """Stores three traces of two fingerprints, one second apart."""
    keys = [
        site.post(talk("Where is my refund?", "It is **on** its way.")),
        site.post(talk("Where is my refund?", "It was **sent** yesterday.", id="second")),
        site.post(talk("Hello", "line of a long message\n" * 400, id="long", system_fingerprint="other/fingerprint")),
    ]
    for age, key in [(2, keys[0]), (1, keys[1])]:  # a file system may assign the same time to files written within milliseconds
        os.utime(site.folder / f"{key}.json", (time.time() - age, time.time() - age))
    return keys


def test_the_newest_trace_is_first_and_arrivals_appear_without_a_reload(site, three, page, picture):
    page.goto(site.list_url())
    rows = page.locator("#rows li")
    expect(rows).to_have_count(3)
    expect(rows.first).to_contain_text("Hello")
    expect(page.locator("nav.tree")).to_contain_text("gpt-4o 2")
    expect(page.locator("nav.tree")).to_contain_text("other 1")
    picture("list")
    site.post(talk("Just arrived", id="arrived"))
    expect(rows.first).to_contain_text("Just arrived")
    expect(rows).to_have_count(4)


def test_fingerprints_are_a_tree(site, three, page):
    page.goto(site.list_url())
    rows = page.locator("#rows li")
    page.locator("nav.tree").get_by_role("link", name="other", exact=True).click()
    expect(page.locator("nav.tree ul ul")).to_have_text("fingerprint 1")
    expect(rows).to_have_count(1)
    page.locator("nav.tree").get_by_role("link", name="fingerprint", exact=True).click()
    expect(page.locator("nav.tree [aria-current=page]")).to_have_text("fingerprint")
    expect(rows).to_have_count(1)


def test_fingerprints_in_the_tree_are_decoded(site, page):
    site.post(talk("Hello", system_fingerprint="my model/Zürich"))
    page.goto(site.list_url())
    page.locator("nav.tree").get_by_role("link", name="my model", exact=True).click()
    page.locator("nav.tree").get_by_role("link", name="Zürich", exact=True).click()
    expect(page.locator("nav.tree [aria-current=page]")).to_have_text("Zürich")
    expect(page.locator("#rows li")).to_have_count(1)


def test_the_keyboard_moves_opens_and_searches(site, three, page):
    site.post(talk("Just arrived", id="arrived"))
    page.goto(site.list_url())
    rows = page.locator("#rows li")
    expect(rows).to_have_count(4)
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    expect(page.locator(".message")).to_have_count(1)
    expect(page.locator(".message")).to_contain_text("Just arrived")
    page.go_back()
    page.keyboard.press("/")
    page.keyboard.type("REFUND")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(2)
    assert "q=REFUND" in page.url
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("go to the search box")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()


@pytest.mark.parametrize(
    "q, count",
    [
        ("fingerprint:other/", 1),
        ("fingerprint:other/finger", 1),
        ('fingerprint:"my model"', 1),
        ("fingerprint:my%20model/", 1),
        ("id:second", 1),
        ("model:gpt-4o", 5),
        ("model:none", 0),
        ("role:system", 0),
        ("role:assistant", 3),
        ("since:2000-01-01", 5),
        ("until:2000-01-01", 0),
        ("refund yesterday", 1),
        ('"refund yesterday"', 0),
        ("model:gpt-4o role:assistant id:second REFUND", 1),
    ],
)
def test_a_search_finds(site, three, page, q, count):
    site.post(talk("Just arrived", id="arrived"))
    site.post(talk("Whose name has a space", id="space", system_fingerprint="my model"))
    page.goto(site.list_url(q))
    expect(page.locator("#rows li")).to_have_count(count)
    expect(page.locator("[name=q]")).to_have_value(q)


@pytest.mark.parametrize("id", ["order/17", "user 5", "Zürich-1", "a%2Fb", "100%"])
def test_an_id_is_found_as_typed(site, page, id):
    site.post(talk("Hello", id=id))
    site.post(talk("Hello", id="another"))
    page.goto(site.list_url())
    page.locator("[name=q]").fill(f'id:"{id}"')
    page.keyboard.press("Enter")
    expect(page.locator("#rows li")).to_have_count(1)


def test_the_list_states_its_time_and_time_zone(site, page):
    file = site.folder / f"{site.post(talk('Hello'))}.json"
    os.utime(file, (1_780_000_000, 1_780_000_000))
    page.goto(site.list_url())
    expect(page.locator(".basis")).to_have_text("Times are those of storage, in UTC.")
    expect(page.locator("#rows time")).to_have_text("2026-05-28 20:26:40")


def test_a_time_that_is_not_one_is_refused(site, page):
    assert page.goto(site.list_url("since:yesterday")).status == 400
    expect(page.locator("main")).to_contain_text("`yesterday` is not a time: write `since` with 2026")


def test_a_trace_arrives_where_nothing_was_found(site, page):
    page.goto(site.list_url("fingerprint:late"))
    expect(page.locator(".none")).to_be_visible()
    site.post(talk("Late", system_fingerprint="late"))
    expect(page.locator("#rows li")).to_have_count(1)
    expect(page.locator(".none")).to_be_hidden()


def test_more_arrivals_than_a_page_leave_the_search_that_is_being_typed(site, page):
    site.post(talk("Hello"))
    page.goto(site.list_url())
    page.locator("[name=q]").fill("half of a sea")
    page.evaluate("window.stays = true")
    many = site.folder.parent / "later"
    many.mkdir()
    for number in range(60):
        (many / f"late-{number}.json").write_text('{"model":"m","created":1,"messages":[]}')
    many.rename(site.folder / "later")
    expect(page.locator("#rows li[data-key*=late-]")).to_have_count(50)
    expect(page.locator("#rows li")).to_have_count(50)
    expect(page.get_by_role("link", name="Further")).to_be_visible()
    assert page.evaluate("window.stays"), "the page was loaded again"
    expect(page.locator("[name=q]")).to_have_value("half of a sea")
    expect(page.locator("[name=q]")).to_be_focused()
