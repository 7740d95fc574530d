// The JavaScript applications that `record.py` runs: `programs.cjs PROGRAM SCENARIO`.

const { NodeSDK } = require("@opentelemetry/sdk-node");

const { prompt, question, result, tool } = JSON.parse(process.env.TEXTS);
const [program, scenario] = process.argv.slice(2);

async function aiSdk() {
  const { generateText, jsonSchema, registerTelemetry, stepCountIs, streamText } = await import("ai");
  const { createOpenAI } = await import("@ai-sdk/openai");
  const { OpenTelemetry } = await import("@ai-sdk/otel");
  registerTelemetry(new OpenTelemetry());
  const model = createOpenAI().chat("stand-in");
  const weather = { description: "Weather", inputSchema: jsonSchema(tool), execute: async () => result };
  const call = { model, instructions: prompt, prompt: question };
  if (scenario === "stream") {
    for await (const _ of streamText(call).textStream);
  } else {
    await generateText(scenario === "tools" ? { ...call, tools: { weather }, stopWhen: stepCountIs(2) } : call);
  }
}

async function openai() {
  const { OpenAI } = require("openai"); // after the SDK has started, because the instrumentation replaces the module
  const create = (call) => new OpenAI().chat.completions.create({ model: "stand-in", ...call });
  const messages = [{ role: "system", content: prompt }, { role: "user", content: question }];
  if (scenario === "plain") {
    await create({ messages });
  } else if (scenario === "stream") {
    for await (const _ of await create({ messages, stream: true, stream_options: { include_usage: true } }));
  } else {
    const tools = [{ type: "function", function: { name: "weather", description: "Weather", parameters: tool } }];
    const { message } = (await create({ messages, tools })).choices[0];
    messages.push(message, { role: "tool", tool_call_id: message.tool_calls[0].id, content: result });
    await create({ messages, tools });
  }
}

async function main() {
  const instrumentations = [];
  if (program === "openai") {
    const { OpenAIInstrumentation } = require("@opentelemetry/instrumentation-openai");
    instrumentations.push(new OpenAIInstrumentation());
  }
  const sdk = new NodeSDK({ instrumentations });
  sdk.start();
  await { aiSdk, openai }[program]();
  await sdk.shutdown();
}

main();
