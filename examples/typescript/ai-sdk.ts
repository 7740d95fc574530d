// The AI SDK, plain and streamed.
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, streamText } from "ai";
import { loggedFetch } from "attest-client";

const openai = createOpenAI({ fetch: loggedFetch() });

const { text } = await generateText({ model: openai("gpt-5"), prompt: "Hello!" });
console.log(text);

const { textStream } = streamText({ model: openai("gpt-5"), prompt: "Hello!" });
for await (const part of textStream) process.stdout.write(part);
