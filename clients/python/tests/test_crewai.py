"""Tests the CrewAI interceptor with a transport that calls it as CrewAI does. `clients/libraries` runs it in CrewAI itself."""

import asyncio
import sys
import types
from typing import Generic, TypeVar

import httpx
import pytest

import attest_client
from stand_ins import Server

ANSWER = b'{"id":"c","created":1,"model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"}}]}'
CHUNK = b'data: {"id":"c","created":1,"model":"gpt-4o","choices":[{"index":0,"delta":{"role":"assistant","content":"Hi"}}]}\n\n'
Sent, Received = TypeVar("Sent"), TypeVar("Received")


class BaseInterceptor(Generic[Sent, Received]):
    pass


@pytest.fixture
def interceptor(monkeypatch):
    base = types.ModuleType("crewai.llms.hooks.base")
    base.BaseInterceptor = BaseInterceptor
    for name in ("crewai", "crewai.llms", "crewai.llms.hooks"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, base.__name__, base)
    import attest_client.crewai

    yield attest_client.crewai.Interceptor(mask=lambda trace: {**trace, "masked": True}, extra={"run": 1})
    del sys.modules["attest_client.crewai"]


def respond(_path, _headers, body):
    if b'"stream"' in body:
        return 200, {"content-type": "text/event-stream"}, [CHUNK, b"data: [DONE]\n\n"]
    return 200, {}, ANSWER


@pytest.mark.parametrize("body", [{"model": "gpt-4o"}, {"model": "gpt-4o", "stream": True}], ids=["plain", "stream"])
@pytest.mark.parametrize("is_async", [False, True], ids=["", "async"])
def test_the_interceptor_logs_each_call_once(interceptor, logged, body, is_async):
    class Transport(httpx.HTTPTransport):
        def handle_request(self, request):
            return interceptor.on_inbound(super().handle_request(interceptor.on_outbound(request)))

    class AsyncTransport(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request):
            sent = await interceptor.aon_outbound(request)
            return await interceptor.aon_inbound(await super().handle_async_request(sent))

    async def post(url):
        async with httpx.AsyncClient(transport=AsyncTransport()) as client:
            await asyncio.gather(*[client.post(url, json={**body, "user": str(number)}) for number in range(3)])

    with Server(respond) as server:
        url = f"{server.url}/v1/chat/completions"
        if is_async:
            asyncio.run(post(url))
        else:
            with httpx.Client(transport=Transport()) as client:
                for number in range(3):
                    client.post(url, json={**body, "user": str(number)})
    traces = logged()
    assert sorted(trace["request"]["user"] for trace in traces) == ["0", "1", "2"]
    for trace in traces:
        assert trace["messages"][-1]["content"] == "Hi" and "incomplete" not in trace
        assert trace["masked"] and trace["log"] == {"run": 1}
    assert attest_client.counters()["logged"] == 3
