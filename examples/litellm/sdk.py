"""LiteLLM's SDK: one callback logs every call to every provider."""

import attest_client.litellm
import litellm

litellm.callbacks = [attest_client.litellm.logger]

completion = litellm.completion(model="openai/gpt-4o-mini", messages=[{"role": "user", "content": "Say hello."}])
print(completion.choices[0].message.content)
