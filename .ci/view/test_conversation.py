"""Tests that a conversation is shown as it happened: roles, tools, thinking, media, sources and choices."""

import agent
import pytest
from conftest import talk
from playwright.sync_api import expect


@pytest.fixture
def key(site):
    return site.post(agent.chat())


def test_an_agents_conversation_is_shown_as_it_happened(site, key, page, picture):
    page.goto(site.trace_url(key))
    expect(page.locator(".message h2")).to_have_text(["developer", "user", "assistant", "assistant"])
    calls = page.locator(".call")
    expect(calls).to_have_count(2)
    expect(calls.first.locator("h3")).to_contain_text("track_order")
    expect(calls.first.locator(".arguments")).to_contain_text('"order": "17"')
    expect(calls.first.locator(".result")).to_contain_text("Hamburg")
    expect(calls.last.locator(".result")).to_contain_text("14 days")
    thinking = page.locator("details.thinking")
    expect(thinking.locator("pre")).to_be_hidden()
    thinking.locator("summary").click()
    expect(thinking.locator("pre")).to_have_text("The label shows 17. I ask both tools.")
    thinking.locator("summary").click()
    image = page.locator("figure img")
    expect(image).to_be_visible()
    assert image.evaluate("image => image.naturalWidth") == 160
    expect(page.locator(".sources li")).to_have_text(["Shipping · https://shop.test/shipping"])
    expect(page.locator(".markdown table td").first).to_have_text("packed")
    expect(page.locator(".markdown .code .s-keyword, .markdown .code .s-storage").first).to_be_visible()
    facts = page.locator("header.facts dl")
    for fact in ["gpt-4o-2024-08-06", "order-17", "2.34 s", "1,280 in, 214 out", "stop", "openai-chat", "session-5", "KiB"]:
        expect(facts).to_contain_text(fact)
    page.set_viewport_size({"width": 1000, "height": 1560})
    picture("conversation", full_page=False)


def test_the_conversation_in_dark_and_on_a_telephone(site, key, page, picture):
    page.emulate_media(color_scheme="dark")
    page.goto(site.trace_url(key))
    expect(page.locator(".call")).to_have_count(2)
    picture("conversation-dark")
    page.set_viewport_size({"width": 375, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    picture("conversation-telephone")


def test_several_choices_are_tabs_without_a_script(site, page, context, picture):
    choice = lambda text, reason: {"message": {"role": "assistant", "content": text}, "finish_reason": reason}
    trace = talk("A name?", "Ada", choices={"0": choice("Ada", "stop"), "1": choice("Grace", "length")})
    page.goto(site.trace_url(site.post(trace)))
    panels = page.locator(".panel")
    expect(panels.nth(0)).to_be_visible()
    expect(panels.nth(1)).to_be_hidden()
    page.get_by_text("Choice 1 length").click()
    expect(panels.nth(0)).to_be_hidden()
    expect(panels.nth(1)).to_contain_text("Grace")
    page.get_by_role("radio").nth(1).press("ArrowLeft")
    expect(panels.nth(0)).to_be_visible()
    picture("choices")


def test_audio_is_played_and_a_file_is_downloaded(site, page):
    parts = [
        {"type": "input_audio", "input_audio": {"data": agent.wav(), "format": "wav"}},
        {"type": "file", "file": {"filename": "../a/report.html", "file_data": "data:text/html;base64,PHNjcmlwdD4="}},
        {"type": "image_url", "image_url": {"url": "http://evil.test/a.png"}},
    ]
    message = {"role": "user", "content": "", "original": {"role": "user", "content": parts}}
    page.goto(site.trace_url(site.post({"model": "m", "created": 1, "messages": [message]})))
    seconds = "audio => { audio.preload = 'auto'; audio.load(); return new Promise(done => audio.oncanplay = () => done(audio.duration)) }"
    assert page.locator("audio").evaluate(seconds) == pytest.approx(0.1)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download report.html").click()
    assert download.value.suggested_filename == "report.html"
    assert download.value.path().read_bytes() == b"<script>"
    expect(page.locator(".elsewhere")).to_contain_text("http://evil.test/a.png (not loaded)")


def test_errors_refusals_and_incomplete_answers_are_marked_and_found(site, page):
    site.post(talk("a", id="fine"))
    site.post(talk("a", id="failed", error={"status": 429, "body": "slow down"}))
    site.post(talk("a", "Hel", id="cut", incomplete="closed"))
    refused = {"role": "assistant", "content": "No.", "original": {"role": "assistant", "content": None, "refusal": "No."}}
    refusal = site.post({**talk("a", id="refused"), "messages": [refused]})
    for state, id in [("error", "failed"), ("incomplete", "cut"), ("refusal", "refused")]:
        page.goto(site.list_url(f"is:{state}"))
        expect(page.locator("#rows li")).to_have_count(1)
        expect(page.locator(".badge")).to_have_text(state)
        page.locator("#rows a").click()
        expect(page.locator("header.facts")).to_contain_text(id)
    page.goto(site.trace_url(refusal))
    expect(page.locator("details.refusal pre")).to_be_hidden()


def test_tools_roles_and_sessions_are_found(site, key, page):
    site.post(agent.chat(id="again"))
    site.post(talk("Hello"))
    for q, count in [("tool:track_order", 2), ("tool:none", 0), ("role:tool", 2), ("role:developer", 2), ("hamburg", 2)]:
        page.goto(site.list_url(q))
        expect(page.locator("#rows li")).to_have_count(count)
    page.goto(site.trace_url(key))
    page.get_by_role("link", name="session-5").click()
    expect(page.locator("#rows li")).to_have_count(2)


def test_next_and_previous_stay_within_the_result(site, page):
    for number in range(3):
        site.post(talk(f"refund {number}", id=f"r{number}"))
        site.post(talk("other", id=f"o{number}"))
    page.goto(site.list_url("refund"))
    order = [row.get_attribute("data-key") for row in page.locator("#rows li").all()]
    page.locator("#rows a").first.click()
    expect(page.get_by_role("link", name="Previous", exact=True)).to_have_count(0)
    page.get_by_role("link", name="Next", exact=True).click()
    expect(page.locator("#fact-key")).to_have_text(order[1])
    page.keyboard.press("n")
    expect(page.locator("#fact-key")).to_have_text(order[2])
    expect(page.get_by_role("link", name="Next", exact=True)).to_have_count(0)
    page.keyboard.press("p")
    expect(page.locator("#fact-key")).to_have_text(order[1])
    expect(page.locator("[name=q]")).to_have_value("refund")
    page.go_back()
    expect(page.locator("#fact-key")).to_have_text(order[2])
