"""Tests the page with 100,000 traces, and with a large conversation."""

import json
import re
import time
from pathlib import Path

import pytest
from conftest import talk
from playwright.sync_api import expect


@pytest.fixture
def many(site):
    trace = json.dumps(talk("Hello"))
    for fingerprint in range(100):
        folder = site.folder / f"many-{fingerprint}"
        folder.mkdir(parents=True)
        for number in range(1_000):
            (folder / f"{number}.json").write_text(trace)


def fastest(page, url, ready, count, runs=5):
    """Returns the shortest time until a page is complete, because other work on the machine only adds to it."""
    times = []
    for _ in range(runs):
        start = time.monotonic()
        page.goto(url)
        expect(page.locator(ready)).to_have_count(count)
        times.append(time.monotonic() - start)
    return min(times)


FIRST_PAINT = """new Promise(painted => new PerformanceObserver(list => {
    for (const entry of list.getEntriesByName("first-contentful-paint")) painted(entry.startTime / 1_000);
}).observe({ type: "paint", buffered: true }))"""


def first_paint(page, url, messages):
    """Returns the shortest time until a page shows its first content, in seconds."""
    paints = []
    for _ in range(5):
        page.goto(url)
        expect(page.locator(".message")).to_have_count(messages)
        paints.append(page.evaluate(FIRST_PAINT))  # the paint may follow the load
    return min(paints)


def peak(site):
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{site.process.pid}/status").read_text())[1]) // 1024


def test_a_hundred_thousand_traces_are_shown_within_a_second(site, many, page):
    page.goto(site.list_url())
    later = site.folder.parent / "later"
    later.mkdir()
    for number in range(60):
        (later / f"late-{number}.json").write_text(json.dumps(talk("Hello")))
    later.rename(site.folder / "later")
    expect(page.locator("#rows li a[href*=late-]")).to_have_count(50)
    expect(page.locator("#rows li")).to_have_count(50)
    listed = fastest(page, site.list_url(), "#rows li", 50)
    overview = fastest(page, site.url, "svg.chart", 3)
    page.goto(site.list_url())
    page.get_by_role("link", name="Further").click()
    expect(page.locator("#rows li")).to_have_count(50)
    memory = peak(site)
    print(f"100,000 traces: list {listed:.2f} s, overview {overview:.2f} s, {memory} MiB at the peak")
    limit = max(1, 8 * fastest(page, site.list_url("fingerprint:none"), ".none", 1))  # higher on a machine that other work slows down
    assert listed < limit and overview < limit
    assert memory < 150, f"{memory} MiB"


def test_a_large_conversation_is_painted_within_a_second(site, page):
    """A trace of 4 MiB with 2,000 messages."""
    text = "A line of a **long** conversation, with `code` and a [link](https://a.test).\n\n" * 26
    key = site.put("large/1", talk(*[text] * 2_000))
    size = (site.folder / f"{key}.json").stat().st_size
    assert 3.9 < size / 2**20 < 4.5, size
    small = site.put("small/1", talk("Hello"))
    paint, floor = first_paint(page, site.trace_url(key), 500), first_paint(page, site.trace_url(small), 1)
    print(f"4 MiB: first paint {paint:.2f} s, of one message {floor:.2f} s, {peak(site)} MiB at the peak")
    assert paint < max(1, 8 * floor)  # higher on a machine that other work slows down
    page.goto(site.trace_url(key))
    for _ in range(3):
        page.get_by_role("link", name="Further turns").click()
        expect(page.locator(".message")).to_have_count(500)
    expect(page.get_by_role("link", name="Further turns")).to_have_count(0)
