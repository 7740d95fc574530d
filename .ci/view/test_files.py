"""The page over files of JSON Lines, without an import."""

import gzip
import json
import subprocess
import os

import agent
import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import talk
from playwright.sync_api import expect


@pytest.fixture
def keys(site):
    """Stores a conversation of an agent, the spans of a session, and two conversations."""
    keys = [site.post(agent.chat()), *map(site.post, agent.spans())]
    return [*keys, site.post(talk("Where is my refund?", "On its way.", id="r1")), site.post(talk("Hello", "Hi", id="h1"))]


def exported(site, name):
    """Exports all traces into a file, and returns its path."""
    file = site.folder.parent / name
    subprocess.run([os.environ["ATTEST"], "export", "-q", "--folder", site.folder, "-o", file], check=True)
    return file


@pytest.mark.parametrize("name", ["traces.jsonl", "traces.jsonl.gz", "traces.jsonl.zst"])
def test_an_exported_file_shows_the_pages_of_its_traces(site, keys, page, name):
    endpoint, files = site.url, site.view(str(exported(site, name)))
    content = lambda: page.locator(".transcript").inner_html()
    for key in keys:
        site.url = endpoint
        page.goto(site.trace_url(key))
        expected = content()
        site.url = files
        page.goto(site.trace_url(key))
        assert content() == expected
        answer = page.request.get(f"{files}raw", params={"key": key})
        assert answer.text() == (site.folder / f"{key}.json").read_text()
    page.goto(site.list_url())
    expect(page.locator("h1")).to_have_text(f"Traces {name}")
    expect(page.locator("#rows li")).to_have_count(len(keys))
    expect(page.locator("nav.tree")).to_contain_text("gpt-4o")
    page.goto(site.list_url('"my refund"'))
    page.locator("#rows a").first.click()
    expect(page.locator("h1")).to_have_text("Where is my refund?")
    page.goto(f"{files}session?id={agent.TRACE}")
    expect(page.locator("#rows rect.span-bar")).to_have_count(5)
    page.goto(files)
    expect(page.locator(".bound")).to_have_text(f"All {len(keys)} traces were read.")


@pytest.mark.parametrize("scheme, width", [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)])
def test_lines_that_are_no_traces_are_counted_on_the_page(site, page, scheme, width):
    file = site.folder.parent / "mixed.jsonl"
    lines = [json.dumps(talk("Hello", id="h1")), "x" * 200, json.dumps(talk("Hello", id="h1")), json.dumps(talk("no id"))]
    file.write_text("\n".join(lines))
    url = site.view(str(file))
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    for path in ["", "traces"]:
        page.goto(url + path)
        expect(page.locator(".notice")).to_contain_text([
            "1 line is not shown, because it is not a trace.",
            "1 line is not shown, because an earlier line has the same key.",
            "1 line has no id.",
        ])
        expect(page.locator(".rows li")).to_have_count(2)
        assert Axe().run(page).violations_count == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_an_empty_file_does_not_show_how_to_store_a_trace(site, page):
    file = site.folder.parent / "empty.jsonl"
    file.touch()
    url = site.view(str(file))
    page.goto(url)
    expect(page.locator(".bound")).to_have_text("No line is a trace.")
    page.goto(url + "traces")
    expect(page.get_by_text("No trace here.")).to_be_visible()
    expect(page.get_by_text("curl")).to_be_hidden()


def test_a_list_of_a_file_has_the_order_of_its_lines(site, page):
    file = site.folder.parent / "ordered.jsonl.gz"
    ids = [f"t{number * 37 % 120:03}" for number in range(120)]
    file.write_bytes(gzip.compress("\n".join(json.dumps(talk("a", id=id)) for id in ids).encode()))
    site.url = site.view(str(file))
    page.goto(site.list_url())
    listed = []
    while True:
        expect(page.locator("#rows li").first).to_be_visible()
        listed += [row.get_attribute("data-key") for row in page.locator("#rows li").all()]
        further = page.get_by_role("link", name="Further")
        if further.count() == 0:
            break
        further.click()
        expect(page.locator(f"#rows li[data-key='{listed[-1]}']")).to_have_count(0)
    assert listed == [f"gpt-4o/{id}" for id in ids]
