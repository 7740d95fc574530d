// Any other client: log the request and its response yourself.
import { flush, logTrace } from "attest-client";

const request = { model: "my-model", messages: [{ role: "user", content: "Hello!" }] };
const response = { model: "my-model", choices: [{ index: 0, message: { role: "assistant", content: "Hi." }, finish_reason: "stop" }] };
logTrace(request, response, { user: "u-1" });

// Before the process exits, or a function's host freezes it.
await flush({ timeout: 5_000 });
