// OpenAI's Chat Completions, plain and streamed.
import { loggedFetch } from "attest-client";
import OpenAI from "openai";

const client = new OpenAI({ fetch: loggedFetch() });
const request = { model: "gpt-4o", messages: [{ role: "user" as const, content: "Hello!" }] };

const completion = await client.chat.completions.create(request);
console.log(completion.choices[0]?.message.content);

for await (const chunk of await client.chat.completions.create({ ...request, stream: true })) {
  process.stdout.write(chunk.choices[0]?.delta.content ?? "");
}
