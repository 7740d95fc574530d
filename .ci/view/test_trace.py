"""Tests the page of one trace, and of two side by side."""

import urllib.parse

import agent
import pytest
from conftest import talk
from playwright.sync_api import expect

CODE = "def f():\n    return  1\n"


@pytest.fixture
def first(site):
    answer = "It is **on** its way.\n\n" + CODE
    return site.post(talk("Where is my refund?", answer, usage={"total_tokens": 12}, own=2**80))


def test_plain_text_is_exact_and_every_member_is_shown(site, first, page, context):
    page.goto(site.trace_url(first, plain="true"))
    expect(page.locator("[data-role=user]")).to_contain_text("Where is my refund?")
    assert page.locator("[data-role=assistant] pre.content").text_content() == "It is **on** its way.\n\n" + CODE
    expect(page.locator("main")).to_contain_text("total_tokens")
    expect(page.locator("dt:text-is('own') + dd")).to_have_text(str(2**80))
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy JSON").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == (site.folder / f"{first}.json").read_text()
    page.locator("details.take summary").click()
    expect(page.locator("#command")).to_contain_text(f"'s3://traces/{first}' -")


def test_the_assistants_markdown_is_rendered_unless_switched_off(site, first, page, picture):
    page.goto(site.trace_url(first))
    expect(page.locator("[data-role=assistant] strong")).to_have_text("on")
    picture("trace")
    page.get_by_role("link", name="Plain text").click()
    expect(page.locator("[data-role=assistant] strong")).to_have_count(0)
    assert "plain=true" in page.url
    page.get_by_role("link", name="Render Markdown").click()
    expect(page.locator("[data-role=assistant] strong")).to_have_text("on")
    page.keyboard.press("m")
    expect(page.locator("[data-role=assistant] strong")).to_have_count(0)
    page.go_back()
    expect(page.locator("[data-role=assistant] strong")).to_have_text("on")


def test_a_long_message_is_folded(site, page):
    key = site.post(talk("Hello", "line of a long message\n" * 400, id="long", system_fingerprint="other/fingerprint"))
    page.goto(site.trace_url(key, plain="true"))
    folded = page.locator("[data-role=assistant] pre.content")
    expect(folded).to_be_hidden()
    page.locator("[data-role=assistant] summary").first.click()
    expect(folded).to_be_visible()


def test_the_difference_of_two_traces_is_marked(site, first, page, picture):
    second = site.post(talk("Where is my refund?", "It was **sent** yesterday.", id="second"))
    site.post(talk("Hello"))
    page.goto(site.trace_url(first))
    page.get_by_role("link", name="Compare with another").click()
    page.get_by_label("Search").fill("refund")
    page.keyboard.press("Enter")
    expect(page.locator("main p").first).to_contain_text(first)
    rows = page.locator("#rows li")
    expect(rows).to_have_count(2)
    rows.first.locator("a").click()
    assert page.url.endswith(f"with={urllib.parse.quote(second, safe='')}")
    expect(page.locator("details.same")).to_have_text(["user the same: Where is my refund?Where is my refund?"])
    expect(page.locator("[data-role=assistant]")).to_have_count(2)
    expect(page.locator("mark").filter(has_text="sent")).to_have_count(1)
    expect(page.locator("mark").filter(has_text="refund")).to_have_count(0)
    picture("compare")


def test_an_expensive_comparison_is_cut_short_and_leaves_the_endpoint_answering(site, page, context):
    keys = []
    for side in ["a", "b"]:
        lines = "\n".join(f"{side} {number}" for number in range(20_000))
        keys.append(site.post(talk(lines, id=side)))
    compared = site.trace_url(keys[0], **{"with": keys[1]})
    others = [context.new_page() for _ in range(4)]
    for other in others:
        other.evaluate(f"void (location.href = {compared!r})")
    site.post(talk("Hello", id="meanwhile"))
    page.goto(compared)
    expect(page.get_by_role("status")).to_contain_text("cut short")
    assert page.locator("mark").count() > 0


def test_a_comparison_shows_turns_instead_of_stored_json(site, page):
    one, other = agent.chat(), agent.chat(id="other")
    other["messages"][1]["original"]["content"][1]["image_url"]["url"] = f"data:image/png;base64,{agent.png(80)}"
    other["messages"][3]["original"]["content"] = '{"status": "delivered", "place": "Bremen"}'
    page.goto(site.trace_url(site.post(one), **{"with": site.post(other)}))
    expect(page.locator("details.same").first).to_contain_text("Answer from the shop's tools only.")
    called = page.locator("article[data-role=assistant]").first
    expect(called).to_contain_text("call track_order call_1:")
    expect(page.locator("main")).not_to_contain_text("iVBORw0KGgo")
    marks = page.locator("mark").all_text_contents()
    assert any('transit"' in mark for mark in marks), marks
    pictures = page.locator("article[data-role=user]").all_text_contents()
    assert len({text.split("SHA-256 ")[1][:16] for text in pictures}) == 2, pictures
