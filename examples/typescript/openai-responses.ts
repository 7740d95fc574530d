// OpenAI's Responses API, plain and streamed.
import { loggedFetch } from "attest-client";
import OpenAI from "openai";

const client = new OpenAI({ fetch: loggedFetch() });
const request = { model: "gpt-5", input: "Hello!" };

const response = await client.responses.create(request);
console.log(response.output_text);

for await (const event of await client.responses.create({ ...request, stream: true })) {
  if (event.type === "response.output_text.delta") process.stdout.write(event.delta);
}
