"""The OpenAI Agents SDK: the default client of every agent logs."""

import attest_client
from agents import Agent, Runner, set_default_openai_client
from openai import AsyncOpenAI

set_default_openai_client(AsyncOpenAI(http_client=attest_client.async_http_client()), use_for_tracing=False)

agent = Agent(name="Greeter", instructions="Be brief.", model="gpt-5-mini")
print(Runner.run_sync(agent, "Say hello.").final_output)
