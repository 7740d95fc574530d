"""The socket options that Anthropic's SDK sets for its own client, because a long request may be silent for minutes.

The SDK cannot set them for a client that it is given. A new connection gets them through `httpcore`'s `trace` extension, which also
works behind a proxy.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

_SECONDS = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 60, "TCP_KEEPCNT": 5}
_CONNECTED = "connection.connect_tcp.complete"


def keep_alive(request: Any) -> None:
    """Adds the options to a connection that a request to Anthropic opens."""
    if "anthropic-version" not in request.headers:
        return
    before: Callable[[str, dict[str, Any]], None] | None = request.extensions.get("trace")

    def trace(event: str, info: dict[str, Any]) -> None:
        if event == _CONNECTED:
            _set_options(info)
        if before:
            before(event, info)

    request.extensions = {**request.extensions, "trace": trace}


def keep_alive_async(request: Any) -> None:
    """Adds the options in an asynchronous client."""
    if "anthropic-version" not in request.headers:
        return
    before: Callable[[str, dict[str, Any]], Awaitable[None]] | None = request.extensions.get("trace")

    async def trace(event: str, info: dict[str, Any]) -> None:
        if event == _CONNECTED:
            _set_options(info)
        if before:
            await before(event, info)

    request.extensions = {**request.extensions, "trace": trace}


def _set_options(info: dict[str, Any]) -> None:
    with contextlib.suppress(Exception):  # another library's transport may have no socket
        connection = info["return_value"].get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _SECONDS.items():
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        if sys.platform == "darwin" and not hasattr(socket, "TCP_KEEPINTVL"):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPALIVE", 0x10), 60)
