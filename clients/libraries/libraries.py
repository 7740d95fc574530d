"""Calls a model through each Python library. The arguments are the library and the kind of call. `PROVIDER` is the provider's URL.

The kinds are `plain`, `stream`, `tools` and `early`, which leaves a stream after its first text.
"""

import asyncio
import functools
import os
import sys

import attest_client

URL = os.environ["PROVIDER"] + "/v1"
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"name": "weather", "description": "Returns the weather.", "parameters": PARAMETERS}
CHAT_TOOL = {"type": "function", "function": FUNCTION}
RESPONSES_TOOL = {"type": "function", **FUNCTION, "strict": False}
ANTHROPIC_TOOL = {"name": "weather", "description": "Returns the weather.", "input_schema": PARAMETERS}


def weather(city: str) -> str:
    """Returns the weather."""
    return f"rain in {city}"


def user(text):
    return [{"role": "user", "content": text}]


def first(stream):
    """Reads a stream up to its first text, and closes it."""
    for chunk in stream:
        if "Hello" in str(chunk):
            break
    close = getattr(stream, "close", None)
    if close:
        close()


def drain(stream):
    for _ in stream:
        pass


def http():
    return attest_client.http_client()


def openai_chat(kind):
    import openai

    create = openai.OpenAI(base_url=URL, api_key="x", http_client=http()).chat.completions.create
    call(create, kind, model="gpt-4o", tool=CHAT_TOOL)


def openai_responses(kind):
    import openai

    create = openai.OpenAI(base_url=URL, api_key="x", http_client=http()).responses.create
    call(lambda *, messages, **options: create(input=messages, **options), kind, model="gpt-5", tool=RESPONSES_TOOL)


def openai_async(kind):
    import openai

    async def run():
        client = openai.AsyncOpenAI(base_url=URL, api_key="x", http_client=attest_client.async_http_client())
        options = {"tools": [CHAT_TOOL]} if kind == "tools" else {"stream": True} if kind != "plain" else {}
        answer = await client.chat.completions.create(model="gpt-4o", messages=user(kind), **options)
        if "stream" in options:
            async for chunk in answer:
                if kind == "early" and "Hello" in str(chunk):
                    await answer.close()
                    break

    asyncio.run(run())


def anthropic(kind):
    import anthropic

    create = anthropic.Anthropic(base_url=URL.removesuffix("/v1"), api_key="x", http_client=http()).messages.create
    call(create, kind, model="claude-sonnet-4-5", tool=ANTHROPIC_TOOL, max_tokens=64)


def groq(kind):
    import groq

    create = groq.Groq(base_url=URL, api_key="x", http_client=http()).chat.completions.create
    call(create, kind, model="gpt-4o", tool=CHAT_TOOL)


def mistral(kind):
    try:
        from mistralai import Mistral
    except ImportError:
        from mistralai.client import Mistral

    client = Mistral(server_url=URL.removesuffix("/v1"), api_key="x", client=http())
    if kind in ("plain", "tools"):
        client.chat.complete(model="mistral", messages=user(kind), **({"tools": [CHAT_TOOL]} if kind == "tools" else {}))
    else:
        with client.chat.stream(model="mistral", messages=user(kind)) as stream:
            (first if kind == "early" else drain)(stream)


def call(create, kind, tool, **options):
    """Calls a method that has the signature of OpenAI's SDK."""
    options["messages"] = user(kind)
    if kind == "plain":
        create(**options)
    elif kind == "tools":
        create(**options, tools=[tool])
    else:
        (first if kind == "early" else drain)(create(**options, stream=True))


def langchain(model, kind):
    if kind == "plain":
        model.invoke(kind)
    elif kind == "tools":
        model.bind_tools([weather]).invoke(kind)
    else:
        (first if kind == "early" else drain)(model.stream(kind))


def langchain_openai(kind):
    from langchain_openai import ChatOpenAI

    langchain(ChatOpenAI(model="gpt-4o", base_url=URL, api_key="x", http_client=http()), kind)


def langchain_anthropic(kind):
    import anthropic
    from langchain_anthropic import ChatAnthropic

    class LoggedChatAnthropic(ChatAnthropic):
        @functools.cached_property
        def _client(self):
            return anthropic.Anthropic(**self._client_params, http_client=http())

    langchain(LoggedChatAnthropic(model="claude-sonnet-4-5", base_url=URL.removesuffix("/v1"), api_key="x", max_tokens=64), kind)


def llama_index(kind):
    from llama_index.core.tools import FunctionTool
    from llama_index.llms.openai import OpenAI

    model = OpenAI(model="gpt-4o", api_base=URL, api_key="x", http_client=http())
    if kind == "plain":
        model.complete(kind)
    elif kind == "tools":
        model.chat_with_tools([FunctionTool.from_defaults(fn=weather)], user_msg=kind)
    else:
        (first if kind == "early" else drain)(model.stream_complete(kind))


def openai_agents(kind):
    import openai
    from agents import Agent, Runner, function_tool, set_default_openai_client, set_tracing_disabled

    client = openai.AsyncOpenAI(base_url=URL, api_key="x", http_client=attest_client.async_http_client())
    set_default_openai_client(client, use_for_tracing=False)
    set_tracing_disabled(True)
    agent = Agent(name="a", model="gpt-5", tools=[function_tool(weather)] if kind == "tools" else [])
    if kind in ("plain", "tools"):
        return Runner.run_sync(agent, kind)

    async def run():
        result = Runner.run_streamed(agent, kind)
        async for event in result.stream_events():
            if kind == "early" and "Hello" in str(event):
                result.cancel()

    return asyncio.run(run())


def pydantic_ai(kind, model):
    from pydantic_ai import Agent

    agent = Agent(model, tools=[weather] if kind == "tools" else [])
    if kind in ("plain", "tools"):
        return agent.run_sync(kind)

    async def run():
        async with agent.run_stream(kind) as result:
            async for text in result.stream_text(delta=True, debounce_by=None):
                if kind == "early" and "Hello" in text:
                    break

    return asyncio.run(run())


def pydantic_ai_openai(kind):
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    provider = OpenAIProvider(base_url=URL, api_key="x", http_client=attest_client.async_http_client())
    pydantic_ai(kind, OpenAIChatModel("gpt-4o", provider=provider))


def pydantic_ai_anthropic(kind):
    import anthropic
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.providers.anthropic import AnthropicProvider

    http_client = attest_client.async_http_client()
    client = anthropic.AsyncAnthropic(base_url=URL.removesuffix("/v1"), api_key="x", http_client=http_client)
    pydantic_ai(kind, AnthropicModel("claude-sonnet-4-5", provider=AnthropicProvider(anthropic_client=client)))


def litellm(kind):
    import litellm

    import attest_client.litellm

    litellm.callbacks = [attest_client.litellm.logger]

    def create(**options):
        return litellm.completion(api_base=URL, api_key="x", **options)

    call(create, kind, model="openai/gpt-4o", tool=CHAT_TOOL)


def dspy(kind):
    import dspy
    import litellm

    import attest_client.litellm

    litellm.callbacks = [attest_client.litellm.logger]
    class Unparsed(dspy.ChatAdapter):
        def parse(self, signature, completion):
            return {"answer": completion}

    dspy.configure(lm=dspy.LM("openai/gpt-4o", engine="litellm", api_base=URL, api_key="x", cache=False), adapter=Unparsed())
    if kind == "plain":
        dspy.settings.lm(kind)
    elif kind == "tools":
        dspy.settings.lm(kind, tools=[CHAT_TOOL])
    else:
        program = dspy.streamify(dspy.Predict("question -> answer"), async_streaming=False)
        (first if kind == "early" else drain)(program(question=kind))


def crewai(kind):
    from crewai import LLM

    import attest_client.crewai

    options = {"base_url": URL, "api_key": "x", "stream": kind == "stream"}
    model = LLM(model="openai/gpt-4o", interceptor=attest_client.crewai.interceptor, **options)
    model.call(user(kind), tools=[CHAT_TOOL] if kind == "tools" else None)


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
