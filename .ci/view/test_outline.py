"""Tests the outline of a long conversation, and the token bar."""

from itertools import accumulate

import agent
import pytest
from conftest import talk
from playwright.sync_api import expect

TURNS = 60


@pytest.fixture
def key(site):
    """Stores a long conversation. Every tenth turn calls a tool."""
    trace = talk(*[f"turn {number} " + "with many words\n" * 12 for number in range(TURNS)])
    for number in range(9, TURNS, 10):
        call = {"id": f"c{number}", "type": "function", "function": {"name": f"tool_{number}", "arguments": "{}"}}
        trace["messages"][number]["tool_calls"] = [call]
    return site.post(trace)


def test_the_outline_lists_turns_and_jumps_to_one(site, key, page, picture):
    page.goto(site.trace_url(key))
    entries = page.locator(".outline a")
    expect(entries).to_have_count(TURNS)
    expect(entries.nth(9)).to_contain_text("assistant turn 9")
    expect(entries.nth(9)).to_contain_text("tool_9")
    expect(page.locator(".outline")).to_have_css("position", "sticky")
    entries.nth(40).click()
    assert page.url.endswith("#turn-41")
    expect(page.locator("#turn-41")).to_be_in_viewport()
    expect(page.locator("#turn-1")).not_to_be_in_viewport()
    expect(entries.nth(40)).to_have_attribute("data-seen", "")
    expect(entries.nth(40)).to_be_in_viewport()  # the outline stays beside the turn
    picture("outline", full_page=False)
    page.go_back()
    expect(page.locator("#turn-1")).to_be_in_viewport()


def test_the_keyboard_reaches_a_turn_through_the_outline(site, key, page):
    page.goto(site.trace_url(key))
    expect(page.locator(".outline a").first).to_be_visible()
    page.keyboard.press("t")
    expect(page.locator(".outline a").first).to_be_focused()
    for _ in range(5):
        page.keyboard.press("j")
    page.keyboard.press("k")
    expect(page.locator(".outline a").nth(4)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#turn-5")).to_be_in_viewport()
    expect(page.locator("#turn-5")).to_be_focused()
    page.keyboard.press("j")
    expect(page.locator("#turn-6")).to_be_focused()


def test_the_outline_is_folded_above_the_conversation_on_a_telephone(site, key, page, picture):
    page.set_viewport_size({"width": 375, "height": 700})
    page.goto(site.trace_url(key))
    entry = page.locator(".outline a").nth(30)
    expect(entry).to_be_hidden()
    picture("outline-telephone", full_page=False)
    page.locator(".outline summary").click()
    entry.click()
    expect(page.locator("#turn-31")).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_a_short_conversation_has_no_outline(site, page):
    page.goto(site.trace_url(site.post(talk("Hello", "Hi"))))
    expect(page.locator(".message")).to_have_count(2)
    expect(page.locator(".outline")).to_have_count(0)


def test_tokens_are_a_bar_with_their_numbers(site, page):
    page.goto(site.trace_url(site.post(agent.chat())))
    expect(page.locator(".usage li")).to_have_text(["256 input", "1,024 cached", "118 output", "96 reasoning"])
    expect(page.locator(".usage svg")).to_have_attribute("aria-label", "Tokens: 256 input, 1,024 cached, 118 output, 96 reasoning")
    bars = page.locator(".usage rect").all()
    starts, widths = ([int(bar.get_attribute(name)) for bar in bars] for name in ("x", "width"))
    assert starts == [0, *accumulate(widths[:-1])]
    counts = [256, 1024, 118, 96]
    assert widths == pytest.approx([count / sum(counts) * sum(widths) for count in counts], abs=1)
    page.goto(site.trace_url(site.post(talk("a", "b", id="none"))))
    expect(page.locator(".usage")).to_have_count(0)
