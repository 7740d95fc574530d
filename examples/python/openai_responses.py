"""OpenAI's Responses API with the asynchronous client."""

import asyncio

import attest_client
from openai import AsyncOpenAI


async def main() -> None:
    client = AsyncOpenAI(http_client=attest_client.async_http_client())
    response = await client.responses.create(model="gpt-5-mini", instructions="Be brief.", input="Say hello.")
    print(response.output_text)


asyncio.run(main())
