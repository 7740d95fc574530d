/**
 * Calls a model through each TypeScript library. The arguments are the library and the kind of call. `PROVIDER` is the provider's URL.
 *
 * The kinds are `plain`, `stream`, `tools` and `early`, which leaves a stream after its first text.
 */

import { flush, loggedFetch } from "attest-client";

const [library, kind] = process.argv.slice(2);
const baseURL = `${process.env.PROVIDER}/v1`;
const apiKey = "x";
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
const description = "Returns the weather.";
const CHAT_TOOL = { type: "function", function: { name: "weather", description, parameters } };
const RESPONSES_TOOL = { type: "function", name: "weather", description, parameters, strict: false };
const ANTHROPIC_TOOL = { name: "weather", description, input_schema: parameters };
const messages = [{ role: "user", content: kind }];

/** Reads a stream to its end or, for `early`, up to its first text. */
async function read(stream) {
  for await (const part of stream) {
    if (kind === "early" && JSON.stringify(part).includes("Hello")) break;
  }
}

/** Calls a method that has the signature of OpenAI's SDK. */
async function call(create, options, tool) {
  if (kind === "plain") return await create(options);
  if (kind === "tools") return await create({ ...options, tools: [tool] });
  await read(await create({ ...options, stream: true }));
}

async function aiSdk(model) {
  const { generateText, jsonSchema, streamText, tool } = await import("ai");
  const tools = { weather: tool({ description, inputSchema: jsonSchema(parameters), execute: async () => "rain" }) };
  if (kind === "plain") return await generateText({ model, prompt: kind });
  if (kind === "tools") return await generateText({ model, prompt: kind, tools });
  const abort = new AbortController();
  for await (const text of streamText({ model, prompt: kind, abortSignal: abort.signal, onError() {} }).textStream) {
    if (kind === "early" && text.includes("Hello")) abort.abort();
  }
}

async function langchain(model) {
  if (kind === "plain") return await model.invoke(kind);
  if (kind === "tools") return await model.bindTools([CHAT_TOOL]).invoke(kind);
  await read(await model.stream(kind));
}

const LIBRARIES = {
  async openai_chat() {
    const { default: OpenAI } = await import("openai");
    const client = new OpenAI({ baseURL, apiKey, fetch: loggedFetch() });
    await call((options) => client.chat.completions.create(options), { model: "gpt-4o", messages }, CHAT_TOOL);
  },
  async openai_responses() {
    const { default: OpenAI } = await import("openai");
    const client = new OpenAI({ baseURL, apiKey, fetch: loggedFetch() });
    await call((options) => client.responses.create(options), { model: "gpt-5", input: messages }, RESPONSES_TOOL);
  },
  async anthropic() {
    const { default: Anthropic } = await import("@anthropic-ai/sdk");
    const client = new Anthropic({ baseURL: process.env.PROVIDER, apiKey, fetch: loggedFetch() });
    await call((options) => client.messages.create(options), { model: "claude-sonnet-4-5", max_tokens: 64, messages }, ANTHROPIC_TOOL);
  },
  async groq() {
    const { default: Groq } = await import("groq-sdk");
    const client = new Groq({ baseURL: process.env.PROVIDER, apiKey, fetch: loggedFetch() });
    await call((options) => client.chat.completions.create(options), { model: "gpt-4o", messages }, CHAT_TOOL);
  },
  async mistral() {
    const { Mistral } = await import("@mistralai/mistralai");
    const { HTTPClient } = await import("@mistralai/mistralai/lib/http.js");
    const client = new Mistral({ serverURL: process.env.PROVIDER, apiKey, httpClient: new HTTPClient({ fetcher: loggedFetch() }) });
    const options = { model: "mistral", messages, ...(kind === "tools" ? { tools: [CHAT_TOOL] } : {}) };
    if (kind === "plain" || kind === "tools") return await client.chat.complete(options);
    await read(await client.chat.stream(options));
  },
  async ai_sdk_openai() {
    const { createOpenAI } = await import("@ai-sdk/openai");
    await aiSdk(createOpenAI({ baseURL, apiKey, fetch: loggedFetch() })("gpt-5"));
  },
  async ai_sdk_anthropic() {
    const { createAnthropic } = await import("@ai-sdk/anthropic");
    await aiSdk(createAnthropic({ baseURL, apiKey, fetch: loggedFetch() })("claude-sonnet-4-5"));
  },
  async ai_sdk_mistral() {
    const { createMistral } = await import("@ai-sdk/mistral");
    await aiSdk(createMistral({ baseURL, apiKey, fetch: loggedFetch() })("mistral-large-latest"));
  },
  async langchain_openai() {
    const { ChatOpenAI } = await import("@langchain/openai");
    await langchain(new ChatOpenAI({ model: "gpt-4o", apiKey, configuration: { baseURL, fetch: loggedFetch() } }));
  },
  async langchain_anthropic() {
    const { ChatAnthropic } = await import("@langchain/anthropic");
    const clientOptions = { fetch: loggedFetch() };
    await langchain(new ChatAnthropic({ model: "claude-sonnet-4-5", apiKey, anthropicApiUrl: process.env.PROVIDER, clientOptions }));
  },
  async openai_agents() {
    const { Agent, run, setDefaultOpenAIClient, setTracingDisabled, tool } = await import("@openai/agents");
    const { default: OpenAI } = await import("openai");
    setTracingDisabled(true);
    setDefaultOpenAIClient(new OpenAI({ baseURL, apiKey, fetch: loggedFetch() }));
    const weather = tool({ name: "weather", description, parameters, strict: true, execute: async () => "rain" });
    const agent = new Agent({ name: "a", model: "gpt-5", tools: kind === "tools" ? [weather] : [] });
    if (kind === "plain" || kind === "tools") return await run(agent, kind);
    const abort = new AbortController();
    const result = await run(agent, kind, { stream: true, signal: abort.signal });
    for await (const event of result) {
      if (kind === "early" && JSON.stringify(event.data ?? {}).includes("Hello")) abort.abort();
    }
  },
};

await LIBRARIES[library]();
await new Promise((resolve) => setTimeout(resolve, 100)); // a cancelled body ends in a later turn of the event loop
if (!(await flush())) process.exitCode = 3;
