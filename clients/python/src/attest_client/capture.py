"""HTTP clients that log each call of a model. They work with `httpx` and with `httpx2`, which the SDKs accept."""

from __future__ import annotations

import functools
import importlib
import os
import weakref
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import Any, ClassVar

from attest_client import client, handoff
from attest_client.recording import Call, Mask, api_of
from attest_client.warn import never_raises


def http_client(*, mask: Mask | None = None, failures: bool = False, library: ModuleType | None = None, **options: Any) -> Any:
    """Returns a `Client` that logs each call of a model, for the `http_client` of an SDK.

    `mask` receives each trace before it is written anywhere, and returns the changed trace. With `failures`, failed calls are
    logged too. `library` is `httpx` or `httpx2`, by default the newest one installed. `options` are those of its `Client`.
    """
    library = library or _library()
    return _classes(library)[0](**{**_defaults(library), **options}, attest=(mask, failures))


def async_http_client(
    *, mask: Mask | None = None, failures: bool = False, library: ModuleType | None = None, **options: Any
) -> Any:
    """Returns an `AsyncClient` that logs each call of a model. The arguments are those of `http_client`."""
    library = library or _library()
    return _classes(library)[1](**{**_defaults(library), **options}, attest=(mask, failures))


def _library() -> ModuleType:
    for name in ("httpx2", "httpx"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ImportError("http_client needs httpx2 or httpx; SDKs such as openai and anthropic install one of them")


def _defaults(library: ModuleType) -> dict[str, Any]:
    """The options with which OpenAI's and Anthropic's SDKs create their clients. The SDKs set the timeout themselves."""
    limits = library.Limits(max_connections=1_000, max_keepalive_connections=100)
    return {"limits": limits, "follow_redirects": True}


@functools.cache
def _classes(library: Any) -> tuple[type, type]:
    """The client classes for a library. They are created on demand, because neither library is required."""

    class LoggingClient(library.Client):  # type: ignore[misc]
        def __init__(self, *, attest: tuple[Mask | None, bool], **options: Any):
            super().__init__(**options)
            self._attest = attest

        def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
            call = _start(request, *self._attest)
            try:
                response = super().send(request, stream=stream, **options)
            except BaseException as error:
                if call:
                    call.fail(error)
                raise
            return _watch(library, call, response, CopiedStream)

    class LoggingAsyncClient(library.AsyncClient):  # type: ignore[misc]
        def __init__(self, *, attest: tuple[Mask | None, bool], **options: Any):
            super().__init__(**options)
            self._attest = attest

        async def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
            call = _start(request, *self._attest)
            try:
                response = await super().send(request, stream=stream, **options)
            except BaseException as error:
                if call:
                    call.fail(error)
                raise
            return _watch(library, call, response, CopiedAsyncStream)

    class CopiedStream(library.SyncByteStream):  # type: ignore[misc]
        def __init__(self, stream: Any, copy: _Copy):
            self._stream, self._copy = stream, copy

        def __iter__(self) -> Iterator[bytes]:
            with self._copy:
                for chunk in self._stream:
                    self._copy.chunks.append(chunk)
                    yield chunk
                self._copy.is_whole = True

        def close(self) -> None:
            self._stream.close()
            self._copy.finish("closed")

    class CopiedAsyncStream(library.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, stream: Any, copy: _Copy):
            self._stream, self._copy = stream, copy

        async def __aiter__(self) -> AsyncIterator[bytes]:
            with self._copy:
                async for chunk in self._stream:
                    self._copy.chunks.append(chunk)
                    yield chunk
                self._copy.is_whole = True

        async def aclose(self) -> None:
            await self._stream.aclose()
            self._copy.finish("closed")

    return LoggingClient, LoggingAsyncClient


class _Copy:
    """Copies the bytes of a response as the application receives them. Logs the call once, when the response ends."""

    in_flight: ClassVar[set[_Copy]] = set()

    def __init__(self, library: Any, call: Call, response: Any):
        self._library, self._calls = library, [call]
        self.in_flight.add(self)
        self._status, self._headers = response.status_code, response.headers
        self.chunks: list[bytes] = []
        self.is_whole = False
        self._inherited = -1
        """The number of chunks that the parent of a fork had received, or -1 in the process that made the call."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if kind is GeneratorExit:  # perhaps in a finalizer
            handoff.defer(functools.partial(self.finish, "closed"))
            return
        is_closed = kind is None or not issubclass(kind, Exception)  # GeneratorExit, or a task that was cancelled
        self.finish("closed" if is_closed else "broken")

    def inherit(self) -> None:
        """Leaves the call to the parent after a fork, unless this process reads on."""
        self._inherited = len(self.chunks)

    @never_raises
    def finish(self, reason: str) -> None:
        self.in_flight.discard(self)
        try:
            call = self._calls.pop()  # atomic: the thread that ends the process may come here too
        except IndexError:
            return
        if self._inherited == len(self.chunks) and not self.is_whole:
            return  # only the parent reads this response
        body = _decoded(self._library, self._headers, self.chunks)
        call.finish(self._status, self._headers.get("content-type", ""), body, None if self.is_whole else reason)


@never_raises
def _start(request: Any, mask: Mask | None, failures: bool) -> Call | None:
    api = api_of(request.method, request.url.path)
    return Call(api, request.content, mask, failures) if api and client.is_configured() else None


def _watch(library: Any, call: Call | None, response: Any, copied: type) -> Any:
    """Logs a response that was read already, or else copies its stream. Returns the response."""
    if call and response.is_stream_consumed:
        _finish(call, response)
    elif call:
        copy = _Copy(library, call, response)
        response.stream = copied(response.stream, copy)
        # An iterator that was started logs the call when it is collected. This covers a stream that is never read.
        weakref.finalize(response.stream, handoff.defer, functools.partial(copy.finish, "closed")).atexit = False
    return response


def _finish_all() -> None:
    for copy in list(_Copy.in_flight):
        copy.finish("closed")


def _after_fork() -> None:
    for copy in _Copy.in_flight:
        copy.inherit()


client.before_close.append(_finish_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@never_raises
def _finish(call: Call, response: Any) -> None:
    call.finish(response.status_code, response.headers.get("content-type", ""), response.content)


def _decoded(library: Any, headers: Any, chunks: list[bytes]) -> bytes:
    """Returns the body without its content encoding, up to the point where decoding fails."""
    encoding = headers.get("content-encoding")
    if not encoding or encoding == "identity":
        return b"".join(chunks)

    class Chunks(library.SyncByteStream):  # type: ignore[misc]
        def __iter__(self) -> Iterator[bytes]:
            yield from chunks

    body = b""
    try:
        for part in library.Response(200, headers={"content-encoding": encoding}, stream=Chunks()).iter_bytes():
            body += part
    except library.DecodingError:
        pass  # the stream was cut off
    return body
