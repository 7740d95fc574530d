/** One exchange for each API: the request, the response without streaming, and the same response as a stream. */

import { events, type Json } from "./support.js";

export interface Exchange {
  request: Json;
  response: Json;
  stream: string;
}

const CHAT_HEAD = { id: "chatcmpl-1", created: 1795305600, model: "gpt-4o-2024-08-06", service_tier: "default", system_fingerprint: "fp_1" };
const CHAT_USAGE = { prompt_tokens: 9, completion_tokens: 2, total_tokens: 11, new_detail: { a: 1 } };
const token = (text: string) => ({ token: text, logprob: -0.25, bytes: [...Buffer.from(text)], top_logprobs: [] });
const chunk = (choices: Json[], usage: Json | null = null) => ({ ...CHAT_HEAD, object: "chat.completion.chunk", choices, usage, obfuscation: "x" });
const delta = (index: number, delta: Json, rest: Json = {}) => ({ index, delta, logprobs: null, finish_reason: null, ...rest });

export const CHAT: Exchange = {
  request: {
    model: "gpt-4o",
    messages: [
      { role: "developer", content: "Kurz." },
      { role: "user", content: [{ type: "text", text: "Hi" }, { type: "image_url", image_url: { url: "data:," } }] },
      { role: "tool", tool_call_id: "call_0", content: "42" },
    ],
    temperature: 0.5,
  },
  response: {
    ...CHAT_HEAD,
    object: "chat.completion",
    choices: [
      {
        index: 0,
        message: {
          role: "assistant",
          content: null,
          refusal: null,
          tool_calls: [
            { id: "call_1", type: "function", function: { name: "f", arguments: '{"a": 1}' } },
            { id: "call_2", type: "function", function: { name: "g", arguments: "{}" } },
          ],
        },
        logprobs: null,
        finish_reason: "tool_calls",
      },
      {
        index: 1,
        message: { role: "assistant", content: "Grüße", refusal: null },
        logprobs: { content: [token("Grü"), token("ße")], refusal: null },
        finish_reason: "stop",
      },
    ],
    usage: CHAT_USAGE,
  },
  stream: events([
    chunk([delta(0, { role: "assistant", content: null, refusal: null })]),
    chunk([delta(1, { role: "assistant", content: "", refusal: null })]),
    chunk([delta(1, { content: "Grü" }, { logprobs: { content: [token("Grü")], refusal: null } })]),
    chunk([delta(0, { tool_calls: [{ index: 0, id: "call_1", type: "function", function: { name: "f", arguments: "" } }] })]),
    chunk([delta(0, { tool_calls: [{ index: 0, function: { arguments: '{"a"' } }] })]),
    chunk([delta(0, { tool_calls: [{ index: 0, function: { arguments: ": 1}" } }] })]),
    chunk([delta(0, { tool_calls: [{ index: 1, id: "call_2", type: "function", function: { name: "g", arguments: "{}" } }] })]),
    chunk([delta(1, { content: "ße" }, { logprobs: { content: [token("ße")], refusal: null } })]),
    chunk([delta(0, {}, { finish_reason: "tool_calls" })]),
    chunk([delta(1, {}, { finish_reason: "stop" })]),
    chunk([], CHAT_USAGE),
    "[DONE]",
  ]),
};

const REASONING = { id: "rs_1", type: "reasoning", summary: [{ type: "summary_text", text: "Look." }], encrypted_content: null };
const PART = { type: "output_text", text: "Sunny.", annotations: [], logprobs: [] };
const MESSAGE = { id: "msg_1", type: "message", status: "completed", role: "assistant", content: [PART] };
const RESPONSE = {
  id: "resp_1",
  object: "response",
  created_at: 1795305600,
  status: "completed",
  error: null,
  incomplete_details: null,
  instructions: "Kurz.",
  model: "gpt-5-2025-08-07",
  output: [REASONING, MESSAGE],
  parallel_tool_calls: true,
  temperature: 1,
  tool_choice: "auto",
  tools: [],
  top_p: 1,
  usage: { input_tokens: 5, input_tokens_details: { cached_tokens: 0 }, output_tokens: 3, output_tokens_details: { reasoning_tokens: 2 }, total_tokens: 8 },
};
const STARTED = { ...RESPONSE, status: "in_progress", output: [], usage: null };
const { content: _, ...MESSAGE_HEAD } = MESSAGE;

export const RESPONSES: Exchange = {
  request: { model: "gpt-5", instructions: "Kurz.", input: "Weather?" },
  response: RESPONSE,
  stream: events(
    [
      { type: "response.created", response: STARTED },
      { type: "response.in_progress", response: STARTED },
      { type: "response.output_item.added", output_index: 0, item: { ...REASONING, summary: [] } },
      { type: "response.reasoning_summary_part.added", item_id: "rs_1", output_index: 0, summary_index: 0, part: { type: "summary_text", text: "" } },
      { type: "response.reasoning_summary_text.delta", item_id: "rs_1", output_index: 0, summary_index: 0, delta: "Look." },
      { type: "response.reasoning_summary_text.done", item_id: "rs_1", output_index: 0, summary_index: 0, text: "Look." },
      { type: "response.reasoning_summary_part.done", item_id: "rs_1", output_index: 0, summary_index: 0, part: { type: "summary_text", text: "Look." } },
      { type: "response.output_item.done", output_index: 0, item: REASONING },
      { type: "response.output_item.added", output_index: 1, item: { ...MESSAGE_HEAD, status: "in_progress", content: [] } },
      { type: "response.content_part.added", item_id: "msg_1", output_index: 1, content_index: 0, part: { ...PART, text: "" } },
      { type: "response.output_text.delta", item_id: "msg_1", output_index: 1, content_index: 0, delta: "Sun", logprobs: [] },
      { type: "response.output_text.delta", item_id: "msg_1", output_index: 1, content_index: 0, delta: "ny.", logprobs: [] },
      { type: "response.output_text.done", item_id: "msg_1", output_index: 1, content_index: 0, text: "Sunny.", logprobs: [] },
      { type: "response.content_part.done", item_id: "msg_1", output_index: 1, content_index: 0, part: PART },
      { type: "response.output_item.done", output_index: 1, item: MESSAGE },
      { type: "response.completed", response: RESPONSE },
    ].map((event, sequence_number) => ({ ...event, sequence_number })),
    true,
  ),
};

const CITATION = { type: "char_location", cited_text: "Sunny", document_index: 0, document_title: "Report", start_char_index: 0, end_char_index: 5, file_id: null };
const USAGE = { input_tokens: 12, cache_creation_input_tokens: 0, cache_read_input_tokens: 0, output_tokens: 1, service_tier: "standard" };

export const ANTHROPIC: Exchange = {
  request: {
    model: "claude-opus-4-1",
    max_tokens: 1024,
    system: "Kurz.",
    messages: [
      { role: "user", content: "Weather?" },
      { role: "assistant", content: [{ type: "tool_use", id: "toolu_0", name: "f", input: {} }] },
      { role: "user", content: [{ type: "tool_result", tool_use_id: "toolu_0", content: "sunny" }] },
    ],
  },
  response: {
    id: "msg_1",
    type: "message",
    role: "assistant",
    model: "claude-opus-4-1-20250805",
    content: [
      { type: "thinking", thinking: "Let me look.", signature: "c2lnbmF0dXJl" },
      { type: "text", text: "Sunny.", citations: [CITATION] },
      { type: "server_tool_use", id: "srvtoolu_1", name: "web_search", input: { query: "weather" } },
      { type: "web_search_tool_result", tool_use_id: "srvtoolu_1", content: [] },
      { type: "tool_use", id: "toolu_1", name: "f", input: { n: 1, nested: { a: [true] } } },
      { type: "tool_use", id: "toolu_2", name: "g", input: {} },
    ],
    stop_reason: "tool_use",
    stop_sequence: null,
    usage: { ...USAGE, output_tokens: 40, server_tool_use: { web_search_requests: 1 } },
  },
  stream: events(
    [
      {
        type: "message_start",
        message: { id: "msg_1", type: "message", role: "assistant", model: "claude-opus-4-1-20250805", content: [], stop_reason: null, stop_sequence: null, usage: USAGE },
      },
      { type: "content_block_start", index: 0, content_block: { type: "thinking", thinking: "", signature: "" } },
      { type: "ping" },
      { type: "content_block_delta", index: 0, delta: { type: "thinking_delta", thinking: "Let me" } },
      { type: "content_block_delta", index: 0, delta: { type: "thinking_delta", thinking: " look." } },
      { type: "content_block_delta", index: 0, delta: { type: "signature_delta", signature: "c2lnbmF0dXJl" } },
      { type: "content_block_stop", index: 0 },
      { type: "content_block_start", index: 1, content_block: { type: "text", text: "" } },
      { type: "content_block_delta", index: 1, delta: { type: "citations_delta", citation: CITATION } },
      { type: "content_block_delta", index: 1, delta: { type: "text_delta", text: "Sun" } },
      { type: "content_block_delta", index: 1, delta: { type: "text_delta", text: "ny." } },
      { type: "content_block_stop", index: 1 },
      { type: "content_block_start", index: 2, content_block: { type: "server_tool_use", id: "srvtoolu_1", name: "web_search", input: {} } },
      { type: "content_block_delta", index: 2, delta: { type: "input_json_delta", partial_json: '{"query": "weather"}' } },
      { type: "content_block_stop", index: 2 },
      { type: "content_block_start", index: 3, content_block: { type: "web_search_tool_result", tool_use_id: "srvtoolu_1", content: [] } },
      { type: "content_block_stop", index: 3 },
      { type: "content_block_start", index: 4, content_block: { type: "tool_use", id: "toolu_1", name: "f", input: {} } },
      { type: "content_block_delta", index: 4, delta: { type: "input_json_delta", partial_json: "" } },
      { type: "content_block_delta", index: 4, delta: { type: "input_json_delta", partial_json: '{"n": 1, "nes' } },
      { type: "content_block_delta", index: 4, delta: { type: "input_json_delta", partial_json: 'ted": {"a": [true]}}' } },
      { type: "content_block_stop", index: 4 },
      { type: "content_block_start", index: 5, content_block: { type: "tool_use", id: "toolu_2", name: "g", input: {} } },
      { type: "content_block_stop", index: 5 },
      { type: "message_delta", delta: { stop_reason: "tool_use", stop_sequence: null }, usage: { output_tokens: 40, server_tool_use: { web_search_requests: 1 } } },
      { type: "message_stop" },
    ],
    true,
  ),
};
