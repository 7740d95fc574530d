#!/usr/bin/env python3
"""Tests the clients with the newest version of each library, and writes the tables of `clients/LIBRARIES.md`.

    ATTEST=target/debug/attest clients/libraries/run.py FOLDER [LIBRARY...]

Keeps an environment per library in FOLDER. Each kind of call runs in a process of its own, against a provider stand-in and the
local endpoint. Exactly one trace must be stored for each request, with everything that the provider sent. The tables are written
only if no LIBRARY is given. CI does not run this command, because the newest versions change without a commit.
"""

import datetime
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
from typing import NamedTuple

HERE = pathlib.Path(__file__).resolve().parent
CLIENTS = HERE.parent
sys.path.append(str(CLIENTS / "python" / "tests"))
import provider  # noqa: E402, I001
from stand_ins import Endpoint, Server  # noqa: E402

KINDS = ("plain", "stream", "tools", "early")
SECONDS = 180  # per process; importing some libraries takes half a minute

QUIET = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "CREWAI_DISABLE_TELEMETRY": "true", "OTEL_SDK_DISABLED": "true"}
"""Keeps the libraries off the network."""


class Library(NamedTuple):
    title: str
    name: str
    packages: str
    plug: str
    missing: str = ""
    """Kinds of calls that the library does not have."""
    lost: str = ""
    """Kinds of calls whose response the library does not report."""


HTTP = "`http_client=http_client()`"
ASYNC = "`http_client=async_http_client()`"
FETCH = "`fetch: loggedFetch()`"
NO_HOOK = "no documented hook, [see below](#chatanthropic)"
PYDANTIC_AI = "pydantic-ai-slim[openai,anthropic]"
PYTHON = [
    Library("openai, Chat Completions", "openai_chat", "openai", HTTP),
    Library("openai, Responses", "openai_responses", "openai", HTTP),
    Library("openai, asynchronous", "openai_async", "openai", ASYNC),
    Library("anthropic", "anthropic", "anthropic", HTTP),
    Library("groq", "groq", "groq", HTTP),
    Library("mistralai", "mistral", "mistralai", "`client=http_client()`"),
    Library("LangChain, `ChatOpenAI`", "langchain_openai", "langchain-openai", "`http_client=`, `http_async_client=`"),
    Library("LangChain, `ChatAnthropic`", "langchain_anthropic", "langchain-anthropic", NO_HOOK),
    Library("LlamaIndex", "llama_index", "llama-index-llms-openai", "`OpenAI(http_client=, async_http_client=)`"),
    Library("OpenAI Agents", "openai_agents", "openai-agents", "`set_default_openai_client(AsyncOpenAI(http_client=…))`"),
    Library("Pydantic AI, OpenAI", "pydantic_ai_openai", PYDANTIC_AI, "`OpenAIProvider(http_client=…)`"),
    Library("Pydantic AI, Anthropic", "pydantic_ai_anthropic", PYDANTIC_AI, "`AnthropicProvider(anthropic_client=…)`"),
    Library("LiteLLM", "litellm", "litellm", "`litellm.callbacks = [attest_client.litellm.logger]`", lost="early"),
    Library("DSPy", "dspy", "dspy[litellm]", '`LM(engine="litellm")` and `litellm.callbacks`', lost="early"),
    Library("CrewAI", "crewai", "crewai", "`LLM(interceptor=attest_client.crewai.interceptor)`", missing="early"),
]
TYPESCRIPT = [
    Library("openai, Chat Completions", "openai_chat", "openai", FETCH),
    Library("openai, Responses", "openai_responses", "openai", FETCH),
    Library("@anthropic-ai/sdk", "anthropic", "@anthropic-ai/sdk", FETCH),
    Library("groq-sdk", "groq", "groq-sdk", FETCH),
    Library("@mistralai/mistralai", "mistral", "@mistralai/mistralai", "`httpClient: new HTTPClient({ fetcher: loggedFetch() })`"),
    Library("AI SDK, OpenAI", "ai_sdk_openai", "@ai-sdk/openai ai", f"`createOpenAI({{ {FETCH.strip('`')} }})`"),
    Library("AI SDK, Anthropic", "ai_sdk_anthropic", "@ai-sdk/anthropic ai", f"`createAnthropic({{ {FETCH.strip('`')} }})`"),
    Library("AI SDK, Mistral", "ai_sdk_mistral", "@ai-sdk/mistral ai", f"`createMistral({{ {FETCH.strip('`')} }})`"),
    Library("LangChain, `ChatOpenAI`", "langchain_openai", "@langchain/openai", "`configuration: { fetch }`"),
    Library("LangChain, `ChatAnthropic`", "langchain_anthropic", "@langchain/anthropic", "`clientOptions: { fetch }`"),
    Library("OpenAI Agents", "openai_agents", "@openai/agents openai zod", "`setDefaultOpenAIClient(new OpenAI({ fetch }))`"),
]


def run(*command, **options):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **options).stdout


def python_environment(folder, library):
    """Returns the command that runs `libraries.py`, and the version of the library."""
    name = library.packages.partition("[")[0]
    environment = folder / f"python-{name}"
    python = environment / "bin" / "python"
    if not python.exists():
        run(sys.executable, "-m", "venv", environment)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(*pip, "--upgrade", *library.packages.split())
    run(*pip, CLIENTS / "python")
    run(*pip, "--no-deps", "--force-reinstall", CLIENTS / "python")
    code = f"import importlib.metadata; print(importlib.metadata.version({name!r}))"
    return [python, HERE / "libraries.py"], run(python, "-c", code).strip()


def typescript_environment(folder, library, tarball):
    packages = library.packages.split()
    environment = folder / ("node-" + packages[0].replace("/", "-"))
    environment.mkdir(parents=True, exist_ok=True)
    if not (environment / "package.json").exists():
        (environment / "package.json").write_text('{"private": true}')
    npm = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"]
    run(*npm, *[f"{package}@latest" for package in packages], tarball, cwd=environment)
    shutil.copy(HERE / "libraries.mjs", environment)
    package = json.loads((environment / "node_modules" / packages[0] / "package.json").read_text())
    return ["node", environment / "libraries.mjs"], package["version"]


def outcome(command, library, kind):
    """Makes one kind of call, and returns its table cell."""
    if kind in library.missing:
        return "–"
    answers = provider.Provider()
    with tempfile.TemporaryDirectory() as home, Server(answers) as server:
        endpoint = Endpoint(pathlib.Path(home, "traces"))
        variables = {"ATTEST_URL": endpoint.url, "ATTEST_API_KEY": "recipe", "ATTEST_SPOOL": f"{home}/spool"}
        variables |= {"PROVIDER": server.url, "HOME": home, "OPENAI_API_KEY": "x"}
        try:
            done = subprocess.run(
                [*command, library.name, kind],
                env={**os.environ, **variables, **QUIET},
                capture_output=True,
                text=True,
                timeout=SECONDS,
            )
        except subprocess.TimeoutExpired:
            return f"no: {SECONDS} s are over"
        finally:
            traces = endpoint.traces()
            endpoint.kill()
    if done.returncode:
        print(done.stderr[-2_000:], file=sys.stderr)
        return f"no: status {done.returncode}"
    return judged(traces, answers.requests, kind, kind in library.lost)


def judged(traces, requests, kind, is_lost):
    if len(traces) != requests or not traces:
        return f"no: {len(traces)} traces of {requests} requests"
    text = json.dumps(traces)
    if kind == "early":
        if [trace.get("incomplete") for trace in traces] != ["closed"]:
            return "no: the trace is not incomplete"
        return "the request" if is_lost else "yes" if provider.TEXT[:5] in text else "no: the received part is missing"
    if any("incomplete" in trace or "error" in trace for trace in traces):
        return "no: the trace is incomplete"
    if kind == "tools" and not any(message.get("tool_calls") for trace in traces for message in trace["messages"]):
        return "no: the tool call is missing"
    if kind != "tools" and traces[-1]["messages"][-1]["content"] != provider.TEXT:
        return "no: the text is missing"
    return "yes"


def table(rows):
    head = ["library", "version", "how", "plain", "stream", "tools", "early close"]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def main():
    folder, names = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2:]
    folder.mkdir(parents=True, exist_ok=True)
    tarball = folder / run("npm", "pack", "--silent", "--pack-destination", folder, cwd=CLIENTS / "typescript").strip()
    tables = []
    for language, libraries in (("python", PYTHON), ("typescript", TYPESCRIPT)):
        rows = []
        for library in libraries:
            if names and f"{language}/{library.name}" not in names:
                continue
            if language == "python":
                command, version = python_environment(folder, library)
            else:
                command, version = typescript_environment(folder, library, tarball)
            rows.append([library.title, version, library.plug, *[outcome(command, library, kind) for kind in KINDS]])
            print(table(rows[-1:]).splitlines()[-1], flush=True)
        tables.append(table(rows))
    if not names:
        node = run("node", "--version").strip()
        date = f"{datetime.date.today()}, Python {platform.python_version()}, Node.js {node}"
        page = CLIENTS / "LIBRARIES.md"
        before, _, rest = page.read_text().partition("<!-- tables -->")
        after = rest.partition("<!-- end -->")[2]
        written = f"Measured on {date}.\n\n**Python**\n\n{tables[0]}\n\n**TypeScript**\n\n{tables[1]}\n"
        page.write_text(f"{before}<!-- tables -->\n\n{written}\n<!-- end -->{after}")
    sys.exit(any("| no: " in part for part in tables))


if __name__ == "__main__":
    main()
