"""Tests sessions, users, tags and other `extra` members, per client and per call."""

import asyncio
import contextvars
import json
import threading

import httpx2
import pytest

import attest_client

REQUEST = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def provider(request):
    """Responds with the request, so that a test sees what the provider received."""
    received = {"headers": dict(request.headers), "body": json.loads(request.content)}
    return httpx2.Response(200, json={"model": "m", "created": 1, "choices": [], "received": received})


def client(**options):
    return attest_client.http_client(transport=httpx2.MockTransport(provider), **options)


def call(client):
    return client.post("http://provider/v1/chat/completions", json=REQUEST).json()["received"]


def test_a_call_has_the_members_of_its_client_and_of_its_context(logged):
    own = client(extra={"session_id": "client", "user": "client", "n": 1})
    plain = call(own)
    with attest_client.extra(session_id="s-1", tags=["a", "b"]):
        assert call(own) == plain, "the request does not change"
        with attest_client.extra(session_id="s-2"):
            call(own)
        attest_client.log_trace(REQUEST, {}, user="u-1")
    call(client())
    logs = [trace.get("log") for trace in logged()]
    of_client = {"session_id": "client", "user": "client", "n": 1}
    expected = [
        of_client,
        {**of_client, "session_id": "s-1", "tags": ["a", "b"]},
        {**of_client, "session_id": "s-2", "tags": ["a", "b"]},
        {"session_id": "s-1", "tags": ["a", "b"], "user": "u-1"},
        None,
    ]
    assert sorted(map(json.dumps, logs)) == sorted(map(json.dumps, expected))


def test_tasks_have_contexts_of_their_own(logged):
    async def run(session):
        with attest_client.extra(session_id=session):
            await asyncio.sleep(0)
            own = attest_client.async_http_client(transport=httpx2.MockTransport(provider))
            await own.post("http://provider/v1/chat/completions", json=REQUEST)

    async def run_all():
        await asyncio.gather(*(run(f"s-{place}") for place in range(8)))

    asyncio.run(run_all())
    assert sorted(trace["log"]["session_id"] for trace in logged()) == [f"s-{place}" for place in range(8)]


def test_a_thread_gets_a_copied_context(logged):
    with attest_client.extra(session_id="s"):
        for target in (contextvars.copy_context().run, lambda function: function()):
            thread = threading.Thread(target=target, args=(lambda: call(client()),))
            thread.start()
            thread.join()
    assert sorted(trace.get("log", {}).get("session_id", "") for trace in logged()) == ["", "s"]


def test_a_stream_belongs_to_the_context_in_which_it_was_started(logged):
    own = client()
    with attest_client.extra(session_id="start"):
        response = own.send(own.build_request("POST", "http://provider/v1/chat/completions", json=REQUEST), stream=True)
    with attest_client.extra(session_id="end"):
        response.read()
    [trace] = logged()
    assert trace["log"] == {"session_id": "start"}


def test_an_exception_ends_the_context(logged):
    with pytest.raises(KeyError), attest_client.extra(session_id="s"):
        raise KeyError
    call(client())
    [trace] = logged()
    assert "log" not in trace


def test_an_asynchronous_generator_may_end_in_another_context():
    async def generator():
        with attest_client.extra(session_id="s"):
            yield

    async def run():
        generating = generator()
        await anext(generating)
        await asyncio.create_task(generating.aclose())

    asyncio.run(run())
