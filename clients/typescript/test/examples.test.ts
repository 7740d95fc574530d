/** Runs each example in examples/typescript against a stand-in for its provider. `EXAMPLES` is that folder if the tests run elsewhere. */

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { rebuild } from "attest-client/mapping";
import { ANTHROPIC, CHAT, RESPONSES } from "./exchanges.js";
import { endpoint, run, serve } from "./support.js";

const FOLDER = process.env.EXAMPLES ?? fileURLToPath(new URL("../../../examples/typescript/", import.meta.url));
const EXAMPLES = {
  "ai-sdk.ts": [RESPONSES, RESPONSES],
  "anthropic.ts": [ANTHROPIC, ANTHROPIC],
  "azure.ts": [CHAT],
  "by-hand.ts": [],
  "ollama.ts": [CHAT],
  "openai-chat.ts": [CHAT, CHAT],
  "openai-responses.ts": [RESPONSES, RESPONSES],
};

test("every example is run", () => {
  assert.deepEqual(readdirSync(FOLDER).filter((name) => name.endsWith(".ts")).sort(), Object.keys(EXAMPLES));
});

for (const [file, exchanges] of Object.entries(EXAMPLES)) {
  test(`examples/typescript/${file}`, async () => {
    const attest = await endpoint();
    const url = await serve((request, { url: path }) => {
      const { response, stream } = path!.includes("/messages") ? ANTHROPIC : path!.includes("/responses") ? RESPONSES : CHAT;
      return request.stream ? [200, { "content-type": "text/event-stream" }, stream] : [200, { "content-type": "application/json" }, JSON.stringify(response)];
    });
    const providers = {
      OPENAI_BASE_URL: `${url}/v1`,
      OPENAI_API_KEY: "sk",
      ANTHROPIC_BASE_URL: url,
      ANTHROPIC_API_KEY: "sk",
      AZURE_OPENAI_ENDPOINT: url,
      AZURE_OPENAI_API_KEY: "k",
      OPENAI_API_VERSION: "2025-01-01-preview",
      OLLAMA_URL: `${url}/v1`,
    };
    const openai = file === "azure.ts" ? { OPENAI_BASE_URL: undefined } : {};
    await run(`await import(${JSON.stringify(join(FOLDER, file))})`, { ...attest.environment, ...providers, ...openai }, ["--import", "tsx"]);
    const traces = attest.traces();
    if (file === "by-hand.ts") assert.deepEqual(traces.map(({ messages }) => messages.length), [2]);
    else assert.deepEqual(traces.map((trace) => rebuild(trace).response), exchanges.map(({ response }) => response));
    assert.deepEqual(attest.spooled, []);
  });
}
