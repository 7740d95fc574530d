"""OpenAI's Chat Completions: one line logs every call, streams too."""

import attest_client
from openai import OpenAI

client = OpenAI(http_client=attest_client.http_client())

completion = client.chat.completions.create(
    model="gpt-4o-mini",
    messages=[{"role": "user", "content": "Say hello."}],
)
print(completion.choices[0].message.content)

for chunk in client.chat.completions.create(
    model="gpt-4o-mini",
    messages=[{"role": "user", "content": "Say hello."}],
    stream=True,
):
    print(chunk.choices[0].delta.content or "" if chunk.choices else "", end="", flush=True)
print()
