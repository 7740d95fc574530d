// Azure OpenAI. Requires AZURE_OPENAI_ENDPOINT, AZURE_OPENAI_API_KEY and OPENAI_API_VERSION.
import { loggedFetch } from "attest-client";
import { AzureOpenAI } from "openai";

const client = new AzureOpenAI({ fetch: loggedFetch() });

const completion = await client.chat.completions.create({ model: "gpt-4o", messages: [{ role: "user", content: "Hello!" }] });
console.log(completion.choices[0]?.message.content);
