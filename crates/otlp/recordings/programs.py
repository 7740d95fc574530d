"""The Python applications that `record.py` runs: `programs.py PROGRAM SCENARIO`. Each scenario flushes the SDK at the end."""

import sys

from opentelemetry import _logs, trace
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from record import ANSWER, PROMPT, QUESTION, RESULT, TOOL


def ask_openai(scenario):
    from openai import OpenAI

    client = OpenAI()
    messages = [{"role": "system", "content": PROMPT}, {"role": "user", "content": QUESTION}]
    tools = [{"type": "function", "function": {"name": "weather", "description": "Weather", "parameters": TOOL}}]
    if scenario == "plain":
        client.chat.completions.create(model="stand-in", messages=messages)
    elif scenario == "stream":
        options = {"include_usage": True}
        for _ in client.chat.completions.create(model="stand-in", messages=messages, stream=True, stream_options=options):
            pass
    else:
        answer = client.chat.completions.create(model="stand-in", messages=messages, tools=tools)
        call = answer.choices[0].message.tool_calls[0]
        messages.append({"role": "assistant", "content": None, "tool_calls": [call.model_dump()]})
        messages.append({"role": "tool", "tool_call_id": call.id, "content": RESULT})
        client.chat.completions.create(model="stand-in", messages=messages, tools=tools)


def ask_anthropic(scenario):
    from anthropic import Anthropic

    client = Anthropic()
    arguments = {"model": "stand-in", "max_tokens": 99, "system": PROMPT}
    messages = [{"role": "user", "content": QUESTION}]
    if scenario == "plain":
        client.messages.create(messages=messages, **arguments)
    elif scenario == "stream":
        with client.messages.stream(messages=messages, **arguments) as stream:
            for _ in stream:
                pass
    else:
        arguments["tools"] = [{"name": "weather", "description": "Weather", "input_schema": TOOL}]
        answer = client.messages.create(messages=messages, **arguments)
        call = answer.content[0]
        messages.append({"role": "assistant", "content": [{"type": "tool_use", "id": call.id, "name": call.name,
                                                           "input": call.input}]})
        messages.append({"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": RESULT}]})
        client.messages.create(messages=messages, **arguments)


def genai_openai(scenario):
    from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument()
    ask_openai(scenario)


def openai_v2(scenario):
    from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor

    OpenAIInstrumentor().instrument()
    ask_openai(scenario)


def openllmetry_openai(scenario):
    from opentelemetry.instrumentation.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument()
    ask_openai(scenario)


def openllmetry_anthropic(scenario):
    from opentelemetry.instrumentation.anthropic import AnthropicInstrumentor

    AnthropicInstrumentor().instrument()
    ask_anthropic(scenario)


def anthropic_itself(scenario):
    ask_anthropic(scenario)


def openinference(scenario):
    from openinference.instrumentation.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument()
    ask_openai(scenario)


def pydantic_ai(scenario):
    import asyncio

    from pydantic_ai import Agent

    Agent.instrument_all(True)
    agent = Agent("openai-chat:stand-in", instructions=PROMPT)
    if scenario == "tools":

        @agent.tool_plain
        def weather(city: str) -> str:
            return RESULT

    async def stream():
        async with agent.run_stream(QUESTION) as result:
            async for _ in result.stream_text():
                pass

    if scenario == "stream":
        asyncio.run(stream())
    else:
        assert agent.run_sync(QUESTION).output == "".join(ANSWER)


def langchain(scenario):
    from langchain.agents import create_agent
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI
    from opentelemetry.instrumentation.langchain import LangchainInstrumentor

    LangchainInstrumentor().instrument()
    model = ChatOpenAI(model="stand-in", stream_usage=True)
    messages = [("system", PROMPT), ("user", QUESTION)]
    if scenario == "plain":
        model.invoke(messages)
    elif scenario == "stream":
        for _ in model.stream(messages):
            pass
    else:

        @tool
        def weather(city: str) -> str:
            """Weather"""
            return RESULT

        create_agent(model, [weather], system_prompt=PROMPT).invoke({"messages": [("user", QUESTION)]})


if __name__ == "__main__":
    program, scenario = sys.argv[1:]
    resource = Resource({"service.name": "recorded", "service.instance.id": "1"})
    traces, logs = TracerProvider(resource=resource), LoggerProvider(resource=resource)
    traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
    trace.set_tracer_provider(traces)
    _logs.set_logger_provider(logs)
    globals()[program](scenario)
    traces.shutdown()
    logs.shutdown()
