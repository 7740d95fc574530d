"""Tests calls that arrived through OpenTelemetry: their conversation, and the span or log record as it was sent."""

import json
import urllib.request

import agent
from playwright.sync_api import expect

TRACE, SPAN = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174"
INPUT = [
    {"role": "user", "parts": [
        {"type": "text", "content": "Where is my order?"},
        {"type": "blob", "modality": "image", "mime_type": "image/png", "content": agent.png()}]},
    {"role": "assistant", "parts": [
        {"type": "reasoning", "content": "I ask the tracker."},
        {"type": "tool_call", "id": "call_1", "name": "track_order", "arguments": {"order": "17"}}]},
    {"role": "tool", "parts": [{"type": "tool_call_response", "id": "call_1", "response": {"place": "Hamburg"}}]}]
OUTPUT = [{"role": "assistant", "finish_reason": "stop", "parts": [{"type": "text", "content": "It is in **Hamburg**."}]}]
ATTRIBUTES = {
    "gen_ai.operation.name": "chat",
    "gen_ai.response.model": "gpt-4o",
    "gen_ai.response.finish_reasons": ["stop"],
    "gen_ai.usage.input_tokens": 820,
    "gen_ai.usage.output_tokens": 140,
    "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "Answer from the shop's tools only."}]),
    "gen_ai.input.messages": json.dumps(INPUT),
    "gen_ai.output.messages": json.dumps(OUTPUT),
    "shop.shelf": "north-7",
}


def attributes():
    return [{"key": name, "value": any_value(value)} for name, value in ATTRIBUTES.items()]


def any_value(value):
    if isinstance(value, list):
        return {"arrayValue": {"values": [any_value(item) for item in value]}}
    return {"intValue": value} if isinstance(value, int) else {"stringValue": value}


def send(site, signal, body):
    """Exports a batch, and returns the key of the only trace in the folder."""
    headers = {"x-api-key": "view", "content-type": "application/json"}
    request = urllib.request.Request(f"{site.endpoint_url}/v1/{signal}", data=json.dumps(body).encode(), headers=headers)
    assert json.load(urllib.request.urlopen(request)) == {}
    [file] = (site.folder / "gpt-4o").iterdir()
    return f"gpt-4o/{file.name.removesuffix('.json')}"


def test_a_span_is_shown_as_a_conversation_with_the_span_folded(site, page, picture):
    span = {
        "traceId": TRACE, "spanId": SPAN, "name": "chat gpt-4o", "attributes": attributes(),
        "startTimeUnixNano": "1795305600000000000", "endTimeUnixNano": "1795305602340000000",
        "events": [{"name": "retried", "timeUnixNano": "1795305601000000000"}]}
    scope = {"scope": {"name": "shop.tracing", "version": "7"}, "spans": [span]}
    key = send(site, "traces", {"resourceSpans": [{"scopeSpans": [scope]}]})
    page.goto(site.trace_url(key))
    expect(page.locator(".message h2")).to_have_text(["system gen_ai.system_instructions", "user", "assistant", "assistant"])
    expect(page.locator("figure img")).to_be_visible()
    expect(page.locator("details.thinking pre")).to_have_text("I ask the tracker.")
    expect(page.locator(".call h3")).to_contain_text("track_order")
    expect(page.locator(".call .result")).to_contain_text("Hamburg")
    expect(page.locator("[data-role=assistant] strong")).to_have_text("Hamburg")
    facts = page.locator("header.facts dl")
    for fact in ["gpt-4o", "2.34 s", "820 in, 140 out", "stop", "otel", "chat gpt-4o", TRACE]:
        expect(facts.first).to_contain_text(fact)
    raw = page.locator("#otel pre")
    expect(raw).to_be_hidden()
    page.get_by_text("OpenTelemetry span").click()
    expect(raw).to_be_visible()
    shown = json.loads(raw.text_content())
    assert shown == json.loads((site.folder / f"{key}.json").read_text())["otel"]
    assert shown["span"]["events"] == span["events"] and shown["scope"] == scope["scope"]
    expect(raw).to_contain_text("north-7")
    expect(page.locator("dt:text-is('otel')")).to_have_count(0)
    picture("otel")


def test_a_log_record_is_shown_as_a_conversation_with_the_record_folded(site, page):
    record = {
        "traceId": TRACE, "spanId": SPAN, "eventName": "gen_ai.client.inference.operation.details",
        "timeUnixNano": "1795305600000000000", "attributes": attributes()}
    key = send(site, "logs", {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]})
    page.goto(site.trace_url(key))
    expect(page.locator(".message h2").last).to_have_text("assistant")
    raw = page.locator("#otel pre")
    expect(raw).to_be_hidden()
    page.get_by_text("OpenTelemetry log record").click()
    expect(raw).to_contain_text("north-7")
