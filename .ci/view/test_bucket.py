"""Tests the page over a bucket, and the page restricted to one fingerprint."""

import json

import pytest
from conftest import talk
from playwright.sync_api import expect


def test_a_bucket_is_shown_page_by_page_in_the_order_of_the_keys(site, page):
    for fingerprint in range(100):
        for number in range(60 if fingerprint == 7 else 1):
            site.put(f"many-{fingerprint}/{number}", talk("Hello"))
    bucket_url = site.view("--bucket", "traces")
    page.goto(f"{bucket_url}traces?q=fingerprint:many-7/")
    expect(page.locator("#rows li")).to_have_count(50)
    first_of_page = page.locator("#rows li a").first.get_attribute("href")
    page.get_by_role("link", name="Further").click()
    expect(page.locator("#rows li")).to_have_count(10)
    assert page.locator("#rows li a").first.get_attribute("href") != first_of_page
    page.goto(f"{bucket_url}traces")
    expect(page.locator("nav.tree")).to_contain_text("many-99")
    page.locator("#rows li a").first.click()
    expect(page.locator(".message").first).to_be_visible()
    page.locator("details.take summary").click()
    assert f"aws s3 cp --endpoint-url {site.s3} 's3://traces/" in page.locator("#command").text_content()


@pytest.mark.parametrize("place", ["bucket", "folder"])
def test_a_page_for_one_fingerprint_shows_no_other(site, page, place):
    of_session = {"log": {"session_id": "shared-session"}}
    shown = site.post(talk("Shown", system_fingerprint="open", **of_session))
    secret = site.post(talk("Hidden", system_fingerprint="secret", **of_session))
    beside = site.post(talk("Hidden", system_fingerprint="opened"))
    options = ["--bucket", "traces"] if place == "bucket" else ["--folder", str(site.folder)]
    url = site.view(*options, "--fingerprint", "open")
    page.goto(f"{url}traces")
    expect(page.locator("#rows li")).to_have_count(1)
    expect(page.locator("nav.tree li")).to_have_text(["open"])
    for q in ["fingerprint:secret", "fingerprint:", "Hidden", "id:"]:
        page.goto(f"{url}traces?q={q}")
        expect(page.locator("main")).not_to_contain_text("Hidden")
    page.goto(f"{url}session?id=shared-session")
    expect(page.locator("#rows li")).to_have_count(1)
    expect(page.locator("main")).not_to_contain_text("Hidden")
    assert page.goto(f"{url}trace?key={shown}").status == 200
    for to in ["next", "previous"]:
        page.goto(f"{url}step?key={shown}&to={to}")
        expect(page.locator("main")).not_to_contain_text("Hidden")
    for key in [secret, beside, f"open/../{secret}", f"open/%2e%2e/{secret}", f"open/..%2F{secret}"]:
        for route in [f"trace?key={key}", f"trace?key={shown}&with={key}", f"raw?key={key}"]:
            answer = page.goto(url + route)
            assert answer.status == 404, (route, answer.status)
            assert "Hidden" not in answer.text(), route


def test_a_trace_of_a_bucket_is_read_as_stored(site, page):
    key = site.post(talk("Hello", own=2**80))
    url = site.view("--bucket", "traces")
    assert json.loads(page.goto(f"{url}raw?key={key}").text())["own"] == 2**80
