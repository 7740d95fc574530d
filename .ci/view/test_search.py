"""Tests that a search reads all traces, streams what it finds, and can be stopped."""

import json
import os
import re
import subprocess
import time
import urllib.request

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import PATIENCE, talk
from playwright.sync_api import expect

MANY = 3_000


def fill(site, folder, *names, trace):
    """Makes many files appear at once, so that no listing sees only some of them."""
    later = site.folder.parent / "later" / folder
    later.mkdir(parents=True)
    for name in names:
        (later / f"{name}.json").write_text(json.dumps(trace(name)))
    later.rename(site.folder / folder)
    later.parent.rmdir()


@pytest.fixture
def many(site):
    """Stores 3,000 traces. Three of them, including the oldest, are about a refund."""
    texts = {7: "Where is my refund?", 1_500: "A REFUND, please", 2_999: "the oldest refund"}
    fill(site, "many", *range(MANY), trace=lambda number: talk(texts.get(number, f"Question {number}"), "Answer"))
    for number in range(MANY):
        os.utime(site.folder / f"many/{number}.json", (time.time() - number, time.time() - number))


def slow(site, page, count=40):
    """Stores traces of 4 MB that contain only one of two words. Returns the URL of a slow search for both words."""
    text = "refun " * 650_000
    fill(site, "slow", *range(count), trace=lambda number: talk(f"{text} {number}"))
    return site.list_url("refun 77777")


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_a_search_reads_everything_and_counts(site, many, page, place):
    if place == "bucket":
        site.url = site.view("--bucket", "traces")
    page.goto(site.list_url("refund"))
    expect(page.locator("#rows li")).to_have_count(3)
    expect(page.locator(".more")).to_have_text(re.compile(r"^\s*3 found in 3,000 traces\.\s*$"))
    expect(page.get_by_role("link", name="Further")).to_have_count(0)
    expect(page.locator(".progress:visible")).to_have_count(0)
    page.goto(site.list_url("nowhere"))
    expect(page.locator(".none")).to_be_visible()
    expect(page.locator(".more")).to_contain_text("0 found in 3,000 traces")


def test_a_search_works_without_scripts(site, many, browser):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(site.list_url("refund"))
    expect(page.locator("#rows li")).to_have_count(3)
    expect(page.locator(".more")).to_contain_text("3 found in 3,000 traces.")
    page.goto(site.list_url("answer"))
    expect(page.locator(".more")).to_contain_text("3,000 found in 3,000 traces.")
    page.get_by_role("link", name="Further").click()
    expect(page.locator(".more")).to_contain_text("50 of 3,000 found in 3,000 traces.")
    page.context.close()


def test_a_hit_has_a_snippet_and_opens_at_its_turn(site, page, picture):
    calls = [{"id": "c", "type": "function", "function": {"name": "track", "arguments": '{"city": "D\\u00fcsseldorf"}'}}]
    trace = talk(*["A long message.\n" * 40] * 30, "Where is my Refund for <b>Düsseldorf</b>?", "On its way")
    trace["messages"] += [{"role": "assistant", "content": "", "tool_calls": calls}]
    site.post(trace)
    page.goto(site.list_url("refund"))
    expect(page.locator(".snippet")).to_have_text("Where is my Refund for <b>Düsseldorf</b>?")
    expect(page.locator(".snippet mark")).to_have_text("Refund")
    picture("search")
    page.locator("#rows a").first.click()
    page.wait_for_url(lambda url: url.endswith("#turn-31"))
    expect(page.locator("#turn-31")).to_be_in_viewport()
    page.go_back()
    page.locator("[name=q]").fill("track düsseldorf")
    page.keyboard.press("Enter")
    expect(page.locator(".snippet mark").first).to_have_text("Düsseldorf")


def test_a_hit_on_a_later_page_of_a_conversation_opens_there(site, page):
    site.put("long/1", talk(*["Hello"] * 700, "refund"))
    page.goto(site.list_url("refund"))
    page.locator("#rows a").first.click()
    expect(page.locator("#turn-701")).to_be_in_viewport()


def test_a_hit_in_another_choice_opens_at_the_choices(site, page):
    choices = {str(place): {"message": {"role": "assistant", "content": text}} for place, text in enumerate(["yes", "refund"])}
    site.post(talk("Hello", "yes", choices=choices))
    page.goto(site.list_url("refund"))
    expect(page.locator(".snippet mark")).to_have_text("refund")
    page.locator("#rows a").first.click()
    expect(page.locator("#choices")).to_be_in_viewport()


def test_a_search_shows_how_far_it_is_and_stops(site, page):
    page.goto(slow(site, page), wait_until="commit")
    stop = page.locator(".progress:visible").get_by_role("button", name="Stop")
    stop.click(no_wait_after=True)
    expect(page.locator(".more")).to_contain_text(re.compile(r"Stopped: 0 found in \d+ of 40 traces\."))
    expect(page.locator(".progress:visible")).to_have_count(0)
    searched = int(re.search(r"in (\d+) of", page.locator(".more").text_content())[1])
    page.get_by_role("link", name="Continue").click()
    expect(page.locator(".more")).to_contain_text(f"0 found in {40 - searched} traces from here on.")


def test_without_scripts_a_search_stops_where_the_browser_stops(site, browser):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(slow(site, page), wait_until="commit")
    page.locator(".progress:visible").get_by_role("button", name="Stop").click(no_wait_after=True)
    page.context.close()


def read_bytes(process):
    """Returns how many bytes a process has read."""
    with open(f"/proc/{process.pid}/io") as io:
        return int(re.search(r"rchar: (\d+)", io.read())[1])


def test_a_closed_connection_ends_the_search(site, page):
    url = slow(site, page, count=120)
    with urllib.request.urlopen(url) as response:
        response.read(2_000)
    before = read_bytes(site.process)
    with urllib.request.urlopen(site.list_url("fingerprint:none")) as response:
        response.read()
    while (after := read_bytes(site.process)) != before:  # the batches in flight finish first
        before = after
        time.sleep(0.5)
    assert after < 60 * 4e6 * 2, "the search went on"


def test_rows_arrive_before_the_search_ends(site, page):
    url = slow(site, page)
    site.post(talk("refun 77777"))
    with urllib.request.urlopen(url) as response:
        text = b""
        while b"data-key" not in text:
            text += response.read1()
        assert b'class="more"' not in text
        text += response.read()
    assert b"1 found in 41 traces" in text


def test_going_back_to_a_result_does_not_search_again(site, many, page):
    page.goto(site.list_url("refund"))
    page.locator("#rows a").first.click()
    before = read_bytes(site.process)
    page.get_by_role("link", name="Results", exact=True).click()
    expect(page.locator("#rows li")).to_have_count(3)
    assert read_bytes(site.process) - before < 500_000
    site.post(talk("A new refund"))
    deadline = time.monotonic() + PATIENCE / 1_000
    while page.locator("#rows li").count() == 3:  # a folder's listing may be up to a second old
        assert time.monotonic() < deadline, "the search was not repeated"
        page.reload()
        expect(page.locator(".more")).to_contain_text("found in")
    expect(page.locator("#rows li")).to_have_count(4)


def test_objects_that_are_too_large_are_counted(site, page):
    site.put("large/1", talk("refund" + "x" * 40_000_000))
    site.post(talk("refund"))
    page.goto(site.list_url("refund"))
    expect(page.locator(".more")).to_contain_text("1 cannot be read, and were not searched.")


def test_a_result_has_no_accessibility_violations(site, many, page):
    page.goto(site.list_url("refund"))
    expect(page.locator("#rows li")).to_have_count(3)
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_a_result_is_exported_by_a_download_and_by_the_shown_command(site, page, tmp_path, place):
    for number in range(120):
        site.put(f"m/{number}", json.dumps({**talk(f"it's {number}", "Yes"), "log": {"rating": number % 5}}, indent=1))
    site.put("m/not-a-trace", '{"log": {"rating": 4}}')
    if place == "bucket":
        site.url = site.view("--bucket", "traces")
    page.goto(site.list_url("\"it's\" log.rating>=4"))
    page.get_by_text("Export this result").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "traces.jsonl"
    downloaded = download.value.path().read_text().splitlines()
    assert len(downloaded) == 24
    assert {json.loads(line)["log"]["rating"] for line in downloaded} == {4}
    for block, file in [("export", "traces.jsonl"), ("examples", "examples.jsonl")]:
        command = page.locator(f"pre#{block}").text_content()
        program = f"attest() {{ \"{os.environ['ATTEST']}\" \"$@\"; }}; {command}"
        environment = {**os.environ, **site.aws}
        done = subprocess.run(["bash", "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True)
        exported = (tmp_path / file).read_text().splitlines()
        assert len(exported) == 24, (command, done.stderr)
        if block == "export":
            assert sorted(exported) == sorted(downloaded), command


def test_an_export_of_an_unknown_field_is_refused(site):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{site.url}export?q=color:red")
    assert refused.value.code == 400 and "fingerprint" in refused.value.read().decode()
