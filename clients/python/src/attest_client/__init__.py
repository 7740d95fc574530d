"""Logs every language model call as a chat trace, and loses none.

`OpenAI(http_client=attest_client.http_client())` is the only line that an application needs. `ATTEST_URL` and `ATTEST_API_KEY`
configure the endpoint; they are read when the first call is logged.
"""

from attest_client import masks
from attest_client.capture import async_http_client, http_client
from attest_client.client import flush
from attest_client.context import extra
from attest_client.recording import log_trace
from attest_client.warn import counters

__all__ = ["async_http_client", "counters", "extra", "flush", "http_client", "log_trace", "masks"]
