// A server that speaks OpenAI's API, such as Ollama or vLLM.
import { loggedFetch } from "attest-client";
import OpenAI from "openai";

const baseURL = process.env.OLLAMA_URL ?? "http://localhost:11434/v1";
const client = new OpenAI({ baseURL, apiKey: "ollama", fetch: loggedFetch() });

const completion = await client.chat.completions.create({ model: "olmo2", messages: [{ role: "user", content: "Hello!" }] });
console.log(completion.choices[0]?.message.content);
