"""Azure OpenAI. Requires AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_API_KEY."""

import attest_client
from openai import AzureOpenAI

client = AzureOpenAI(api_version="2024-10-21", http_client=attest_client.http_client())

completion = client.chat.completions.create(
    model="my-deployment",
    messages=[{"role": "user", "content": "Say hello."}],
)
print(completion.choices[0].message.content)
