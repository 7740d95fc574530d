// Anthropic's Messages API, plain and streamed.
import Anthropic from "@anthropic-ai/sdk";
import { loggedFetch } from "attest-client";

const client = new Anthropic({ fetch: loggedFetch() });
const request = { model: "claude-opus-4-1", max_tokens: 1024, messages: [{ role: "user" as const, content: "Hello!" }] };

const message = await client.messages.create(request);
console.log(message.content);

for await (const event of await client.messages.create({ ...request, stream: true })) {
  if (event.type === "content_block_delta" && event.delta.type === "text_delta") process.stdout.write(event.delta.text);
}
