"""Tests the page of a session or an OpenTelemetry trace, and a span's conversation."""

import json
import os
import time

import agent
import pytest
from conftest import talk, unfold
from playwright.sync_api import expect
from test_hostile import HOSTILE


@pytest.fixture
def keys(site):
    """Stores the spans of an agent's run, the last one first, and another trace."""
    keys = [site.post(trace) for trace in reversed(list(agent.spans()))]
    for age, key in enumerate(keys):
        os.utime(site.folder / f"{key}.json", (time.time() - age, time.time() - age))  # the last span was stored last
    site.post(talk("Hello"))
    return keys


def session_url(site, id):
    return f"{site.url}session?id={id}"


def test_spans_are_a_tree_with_one_time_axis(site, keys, page, picture):
    page.goto(session_url(site, agent.TRACE))
    rows = page.locator("#rows li")
    expect(rows.locator("b")).to_have_text(["plan", "search the shop", "read the rules", "compare carriers", "answer"])
    expect(rows.first).to_contain_text("00f067aa02c700f0 is not stored here")
    levels = [row.get_attribute("class") for row in rows.all()]
    assert levels == ["depth-0", "depth-1", "depth-2", "depth-2", "depth-3", "depth-1"]
    bars = [[float(bar.get_attribute(side)) for side in ["x", "width"]] for bar in page.locator("rect.span-bar").all()]
    assert bars[0] == pytest.approx([0, 593.8], abs=0.1) and bars[4] == pytest.approx([625, 375], abs=0.1)
    expect(rows.nth(1)).to_contain_text("1.90 s")
    expect(rows.nth(1)).to_contain_text("960 tokens")
    expect(rows.nth(4).locator(".badge")).to_have_text("error")
    facts = page.locator("header.facts")
    for fact in ["OpenTelemetry trace", "3.20 s", "6,023", "2026-11-2"]:
        expect(facts).to_contain_text(fact)
    page.set_viewport_size({"width": 1000, "height": 500})
    picture("session", full_page=False)
    page.emulate_media(color_scheme="dark")
    picture("session-dark")
    page.set_viewport_size({"width": 375, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    picture("session-telephone")


def test_a_session_is_opened_from_a_trace_and_walked_through(site, keys, page):
    page.goto(site.trace_url(keys[0]))
    page.get_by_role("link", name="session-9").click()
    expect(page.locator("#rows li a")).to_have_count(5)
    page.go_back()
    page.get_by_role("link", name=agent.TRACE).click()
    expect(page.locator("#rows li a")).to_have_count(5)
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator("header.facts")).to_contain_text("search the shop")
    page.get_by_role("link", name="Previous", exact=True).click()
    expect(page.locator("header.facts")).to_contain_text("read the rules")
    page.get_by_role("link", name="Results", exact=True).click()
    expect(page.locator("#rows li")).to_have_count(5)


def test_the_conversation_of_a_span_is_read_from_its_attributes(site, keys, page, picture):
    page.goto(site.list_url("hamburg tool:track_order role:tool"))
    expect(page.locator("#rows li")).to_have_count(5)
    expect(page.locator("#rows .words").first).to_contain_text("Where is my order?")
    page.goto(site.trace_url(keys[0]))
    expect(page.locator(".message h2")).to_have_text(["system", "user", "assistant", "assistant"])
    expect(page.locator(".call h3")).to_contain_text("track_order")
    expect(page.locator(".call .result")).to_contain_text('"place": "Hamburg"')
    assert page.locator("figure img").evaluate("image => image.naturalWidth") == 160
    expect(page.locator("details.thinking")).to_have_count(1)
    expect(page.locator(".markdown strong")).to_have_text("Hamburg")
    for fact in ["1.20 s", "2,350 in, 310 out", "stop", "answer"]:
        expect(page.locator("header.facts dl")).to_contain_text(fact)
    picture("span")


def test_sessions_without_spans_and_without_traces_are_shown(site, page):
    first = site.post(talk("One", id="one", log={"session_id": "s/1 &x"}))
    site.post(talk("Two", id="two", created=1_795_305_700, log={"session_id": "s/1 &x", "duration": 2}))
    page.goto(site.trace_url(first))
    page.get_by_role("link", name="s/1 &x").click()
    expect(page.locator("#rows li a")).to_have_count(2)
    expect(page.locator("#rows li").first).to_contain_text("One")
    expect(page.locator("h1")).to_have_text("s/1 &x session")
    page.goto(session_url(site, "none"))
    expect(page.locator(".none")).to_be_visible()
    assert page.goto(f"{site.url}session?id=").status == 404


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_spans_and_outlines_stay_text(site, page, text):
    clean = text.replace("\0", "")
    part = {"type": text, "content": text}
    call = {"type": "tool_call", "id": text, "name": text, "arguments": {text: text}}
    answer = {"type": "tool_call_response", "id": "other", "response": {text: text}}
    parts = [{"type": "text", "content": text}, part, call, answer, {"type": "uri", "modality": text, "uri": text},
             {"type": "blob", "modality": "image", "mime_type": text, "content": text}]
    messages = [{"role": text, "parts": parts[place:] + parts[:place]} for place in range(len(parts))]
    keys = []
    for number in range(3):
        otel = {"traceId": clean or "t", "spanId": f"{number}{text}", "parentSpanId": f"{number - 1}{text}", "name": text,
                "startTimeUnixNano": text, "endTimeUnixNano": str(number), "start_time": 1e308, "end_time": -1e308,
                "attributes": {"gen_ai.input.messages": messages, "gen_ai.conversation.id": text, "error.type": text},
                "status": {"code": 2, "message": text}}
        keys.append(site.put(f"spans/{number}", {"model": text, "created": 1, "messages": [], "otel": otel}))
    page.goto(site.trace_url(keys[1]))
    expect(page.locator(".outline a")).to_have_count(6)
    unfold(page)
    for link in page.locator(".outline a").all():
        assert link.get_attribute("href").startswith("#turn-")
    page.locator("header.facts dl a").last.click()
    expect(page.locator("#rows li a")).to_have_count(3)
    assert page.locator("h1").count() == 1
    assert page.locator("main script, main iframe, main form, main link, main base, main img").count() == 0


def test_a_session_of_old_traces_is_found_whole(site, page):
    """The traces are not among the newest 2,000."""
    folder = site.folder.parent / "later"
    folder.mkdir()
    for number in range(2_500):
        is_of_session = number >= 2_450
        more = {"log": {"session_id": "old"}, "usage": {"total_tokens": 10}} if is_of_session else {}
        trace = talk(f"Question {number}", f"Answer {number}", created=1_795_305_600 + number, **more)
        (folder / f"{number}.json").write_text(json.dumps({**trace, **({"error": {"status": 429}} if number == 2_460 else {})}))
        os.utime(folder / f"{number}.json", (time.time() - number, time.time() - number))
    folder.rename(site.folder / "many")
    page.goto(session_url(site, "old"))
    expect(page.locator("#rows li")).to_have_count(50)
    facts = page.locator("header.facts")
    for fact in ["traces50", "modelgpt-4o", "tokens500", "errors1", "start2026-11-22"]:
        expect(facts).to_contain_text(fact)
    expect(page.locator(".more")).to_contain_text("2,500 of 2,500 traces searched.")
    preview = page.locator("#rows li").first.locator(".preview")
    preview.locator("summary").click()
    expect(preview.locator("pre")).to_have_text(["Question 2450", "Answer 2450"])
    page.locator("#rows li a").first.click()
    expect(page.locator(".message").first).to_contain_text("Question 2450")
    page.goto(session_url(site, "none"))
    expect(page.locator("main")).to_contain_text("No trace of this session is stored here.")
    expect(page.locator("main")).not_to_contain_text("1970")
