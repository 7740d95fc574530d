"""A local model: Ollama, vLLM, llama.cpp and others speak OpenAI's Chat Completions."""

import os

import attest_client
from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("OLLAMA_URL", "http://localhost:11434/v1"),  # vLLM: http://localhost:8000/v1
    api_key="none",
    http_client=attest_client.http_client(),
)

completion = client.chat.completions.create(model="olmo2", messages=[{"role": "user", "content": "Say hello."}])
print(completion.choices[0].message.content)
