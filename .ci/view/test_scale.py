"""100,000 traces in a folder."""

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


def test_a_hundred_thousand_traces_are_listed_within_a_second(site, many, page):
    page.goto(site.list_url())
    later = site.folder.parent / "later"
    later.mkdir()
    for number in range(60):
        (later / f"late-{number}.json").write_text(json.dumps(talk("Hello")))
    later.rename(site.folder / "later")
    expect(page.locator("#rows li a[href*=late-]")).to_have_count(50)
    expect(page.locator("#rows li")).to_have_count(50)
    for _ in range(3):
        start = time.monotonic()
        page.goto(site.list_url())
        expect(page.locator("#rows li")).to_have_count(50)
        print(f"first page of 100,000: {time.monotonic() - start:.2f} s")
    page.get_by_role("link", name="Further").click()
    expect(page.locator("#rows li")).to_have_count(50)
    memory = int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{site.process.pid}/status").read_text())[1]) // 1024
    print(f"{memory} MiB at the peak")
    assert memory < 150, f"{memory} MiB"
