"""LangChain: both clients, because `ainvoke` uses the asynchronous one."""

import attest_client
from langchain_openai import ChatOpenAI

model = ChatOpenAI(
    model="gpt-4o-mini",
    http_client=attest_client.http_client(),
    http_async_client=attest_client.async_http_client(),
)
print(model.invoke("Say hello.").content)
