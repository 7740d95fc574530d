"""Anthropic's Messages API, streamed."""

import attest_client
from anthropic import Anthropic

client = Anthropic(http_client=attest_client.http_client())

with client.messages.stream(
    model="claude-sonnet-4-5",
    max_tokens=256,
    system="Be brief.",
    messages=[{"role": "user", "content": "Say hello."}],
) as stream:
    for text in stream.text_stream:
        print(text, end="", flush=True)
print()
