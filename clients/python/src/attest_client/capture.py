"""HTTP clients that log each model call. They work with both libraries that the SDKs accept, `httpx` and `httpx2`."""

from __future__ import annotations

import collections
import functools
import importlib
import os
import threading
import time
import weakref
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from types import ModuleType
from typing import Any, ClassVar

from attest_client import client, handoff
from attest_client.background import BACKGROUND
from attest_client.body import LIMIT, Body
from attest_client.keepalive import keep_alive, keep_alive_async
from attest_client.mapping import OPENAI_RESPONSES
from attest_client.recording import Mask, Options, Recording, api_of
from attest_client.warn import never_raises


def http_client(
    *,
    mask: Mask | None = None,
    failures: bool = False,
    keep_secrets: bool = False,
    extra: Mapping[str, Any] | None = None,
    library: ModuleType | None = None,
    **options: Any,
) -> Any:
    """Returns a `Client` that logs each model call, for an SDK's `http_client` option.

    `mask` receives each trace before it is written anywhere, and returns the changed trace. With `failures`, failed calls are
    logged too. With `keep_secrets`, members that are known to hold credentials are not masked. `extra` becomes the member
    `log` of each trace. `library` is `httpx` or `httpx2`, by default `httpx2` if installed. `options` are those of its `Client`.
    """
    library = library or _library()
    return classes(library)[0](**{**_defaults(library), **options}, attest=Options(mask, failures, keep_secrets, extra or {}))


def async_http_client(
    *,
    mask: Mask | None = None,
    failures: bool = False,
    keep_secrets: bool = False,
    extra: Mapping[str, Any] | None = None,
    library: ModuleType | None = None,
    **options: Any,
) -> Any:
    """Returns an `AsyncClient` that logs each model call. Takes the same arguments as `http_client`."""
    library = library or _library()
    return classes(library)[1](**{**_defaults(library), **options}, attest=Options(mask, failures, keep_secrets, extra or {}))


def _library() -> ModuleType:
    for name in ("httpx2", "httpx"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ImportError("http_client needs httpx2 or httpx; SDKs such as openai and anthropic install one of them")


def _defaults(library: ModuleType) -> dict[str, Any]:
    """Returns the options with which OpenAI's and Anthropic's SDKs create their clients. The SDKs set the timeout themselves."""
    limits = library.Limits(max_connections=1_000, max_keepalive_connections=100)
    return {"limits": limits, "follow_redirects": True}


@functools.cache
def classes(library: Any) -> tuple[type, type, type, type]:
    """Creates the logging clients and copied streams of a library. Neither library is required, so this happens on demand."""

    class LoggingClient(library.Client):  # type: ignore[misc]
        def __init__(self, *, attest: Options, **options: Any):
            super().__init__(**options)
            self._attest = attest
            self._keeps_alive = "transport" not in options

        def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
            if self._keeps_alive:
                keep_alive(request)
            recording = start(request, self._attest)
            try:
                response = super().send(request, stream=stream, **options)
            except BaseException as error:
                if recording:
                    recording.fail(error)
                raise
            watch(library, recording, response, CopiedStream)
            return response

    class LoggingAsyncClient(library.AsyncClient):  # type: ignore[misc]
        def __init__(self, *, attest: Options, **options: Any):
            super().__init__(**options)
            self._attest = attest
            self._keeps_alive = "transport" not in options

        async def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
            if self._keeps_alive:
                keep_alive_async(request)
            recording = start(request, self._attest)
            try:
                response = await super().send(request, stream=stream, **options)
            except BaseException as error:
                if recording:
                    recording.fail(error)
                raise
            watch(library, recording, response, CopiedAsyncStream)
            return response

    class CopiedStream(library.SyncByteStream):  # type: ignore[misc]
        def __init__(self, stream: Any, copy: _Copy):
            self._stream, self._copy = stream, copy

        def __iter__(self) -> Iterator[bytes]:
            with self._copy:
                for chunk in self._stream:
                    self._copy.add(chunk)
                    yield chunk
                self._copy.is_whole = True

        def close(self) -> None:
            self._stream.close()
            self._copy.close()

    class CopiedAsyncStream(library.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, stream: Any, copy: _Copy):
            self._stream, self._copy = stream, copy

        async def __aiter__(self) -> AsyncIterator[bytes]:
            with self._copy:
                async for chunk in self._stream:
                    self._copy.add(chunk)
                    yield chunk
                self._copy.is_whole = True

        async def aclose(self) -> None:
            await self._stream.aclose()
            self._copy.close()

    return LoggingClient, LoggingAsyncClient, CopiedStream, CopiedAsyncStream


class _Copy:
    """Copies the bytes of a response as the application receives them. Logs the call once, when the response ends.

    Chunks are parsed immediately, so that the end of a long stream does not block the application. One thread at a time parses
    them: the application's, or the one that ends the process. A finalizer that runs during this leaves its work to that thread.
    """

    in_flight: ClassVar[set[_Copy]] = set()

    def __init__(self, library: Any, recording: Recording, response: Any):
        self._recordings = [recording]
        self.in_flight.add(self)
        self._status = response.status_code
        self._body = recording.body(response.headers.get("content-type", ""))
        self._decoder = _Decoder(library, response.headers.get("content-encoding", ""))
        self.is_whole = False
        self._chunks: collections.deque[tuple[bytes, float]] = collections.deque()
        """The chunks that are not parsed yet, each with its arrival time."""
        self._count = 0
        self._inherited = -1
        """The number of chunks that the parent of a fork had received, or -1 in the process that made the call."""
        self._ends: list[tuple[str | None, float]] = []
        """Why and when the response ended, once it has. The reason is `None` for a regular end."""
        self._is_deferred = False
        """Whether the end is left to a thread, because the iterator was abandoned."""
        self._turn = threading.Lock()
        self._reader: int | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if kind is GeneratorExit:  # perhaps in a finalizer
            self._is_deferred = True
            handoff.defer(functools.partial(self.finish, "closed"))
            return
        is_closed = kind is None or not issubclass(kind, Exception)  # for example, in a cancelled task
        self.finish("closed" if is_closed else "broken")

    def close(self) -> None:
        if not self._is_deferred:  # httpx also closes a response in its iterator's finalizer
            self.finish("closed")

    def inherit(self) -> None:
        """Leaves the call to the parent after a fork, unless this process continues to read."""
        self._inherited = self._count
        self._turn, self._reader = threading.Lock(), None

    def add(self, chunk: bytes) -> None:
        self._count += 1
        self._chunks.append((chunk, time.perf_counter()))
        self._read(seconds=0)

    def finish(self, reason: str) -> None:
        self.in_flight.discard(self)
        if self._inherited == self._count and not self.is_whole:
            return  # only the parent reads this response
        self._ends.append((None if self.is_whole else reason, time.perf_counter()))
        self._read(seconds=1)

    @never_raises
    def _read(self, seconds: float) -> None:
        while (self._chunks or self._ends) and self._recordings:
            if self._reader == threading.get_ident() or not self._turn.acquire(timeout=seconds):
                return
            try:
                self._reader = threading.get_ident()
                self._read_all()
            finally:
                self._reader = None
                self._turn.release()

    def _read_all(self) -> None:
        while self._chunks and self._recordings:
            chunk, arrived = self._chunks.popleft()
            self._decoder.feed(chunk, self._body)
            self._recordings[0].note(self._body, arrived)
        if self._ends and self._recordings:
            recording = self._recordings.pop()
            self._decoder.finish(self._body)
            reason, ended = self._ends[0]
            recording.finish(self._status, self._body, ended, reason)


@never_raises
def start(request: Any, options: Options) -> Recording | None:
    api, retrieved = api_of(request.method, request.url.path), BACKGROUND.response_of(request.method, request.url.path)
    if not (api or retrieved) or not client.is_configured():
        return None
    return Recording(api or OPENAI_RESPONSES, request.content, options, retrieved)


@never_raises
def watch(library: Any, recording: Recording | None, response: Any, copied: type) -> None:
    """Logs a response that has already been read, or else copies its stream."""
    if not recording or not recording.wants(response.status_code):
        return
    if response.is_stream_consumed:
        body = recording.body(response.headers.get("content-type", ""))
        body.feed(response.content)
        recording.finish(response.status_code, body, time.perf_counter())
        return
    copy = _Copy(library, recording, response)
    response.stream = copied(response.stream, copy)
    # A started iterator logs the call when it is garbage-collected. This finalizer covers a stream that is never read.
    weakref.finalize(response.stream, handoff.defer, functools.partial(copy.finish, "closed")).atexit = False


def _finish_all() -> None:
    for copy in list(_Copy.in_flight):
        copy.finish("closed")


def _after_fork() -> None:
    for copy in _Copy.in_flight:
        copy.inherit()


client.before_close.append(_finish_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class _Decoder:
    """Decodes a body's content encoding until decoding fails, and no further than the part that is kept."""

    def __init__(self, library: Any, encoding: str):
        self._library, self._encoding = library, encoding.strip().lower()
        self._inflate: Any = None
        if self._encoding in ("gzip", "x-gzip"):
            self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._is_plain = self._encoding in ("", "identity")
        self._chunks: list[bytes] = []
        """The body in an encoding that only the library decodes, and only at the end."""
        self._size = 0

    def feed(self, chunk: bytes, body: Body) -> None:
        if self._is_plain:
            body.feed(chunk)
        elif self._encoding == "broken" or body.is_truncated:
            return
        elif self._inflate:
            try:
                body.feed(self._inflate.decompress(chunk, LIMIT + 1))
            except zlib.error:
                self._encoding = "broken"
        elif self._size <= LIMIT:
            self._size += len(chunk)
            self._chunks.append(chunk)

    def finish(self, body: Body) -> None:
        chunks, self._chunks = self._chunks, []
        if not chunks:
            return
        library: Any = self._library

        class Chunks(library.SyncByteStream):  # type: ignore[misc]
            def __iter__(self) -> Iterator[bytes]:
                yield from chunks

        try:
            for part in library.Response(200, headers={"content-encoding": self._encoding}, stream=Chunks()).iter_bytes():
                body.feed(part)
                if body.is_truncated:
                    return
        except library.DecodingError:
            pass  # the stream was cut off
