"""Members that the application adds to the `log` of the calls in a context."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator, Mapping
from typing import Any

_members: contextvars.ContextVar[Mapping[str, Any]] = contextvars.ContextVar("attest_extra", default={})  # noqa: B039 (never changed)


@contextlib.contextmanager
def extra(**members: Any) -> Iterator[None]:
    """Adds `members`, such as `session_id`, `user` and `tags`, to the `log` of each call that starts in this context.

    The context belongs to the thread or task, and to the tasks that it creates. New threads need `contextvars.copy_context`.
    Members replace those of an outer context and of the client. The request to the provider does not change.
    """
    token = _members.set({**_members.get(), **members})
    try:
        yield
    finally:
        # An asynchronous generator may be closed in another context, where the members were never set.
        with contextlib.suppress(ValueError):
            _members.reset(token)


def current() -> Mapping[str, Any]:
    return _members.get()
