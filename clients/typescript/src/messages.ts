/** Converts providers' messages and items into trace messages, and back. */

import { isObject, type Json, type JsonObject } from "./json.js";

const ROLES: (Json | undefined)[] = ["system", "user", "assistant"];
const ASSISTANT_ITEMS = ["reasoning", "mcp_list_tools", "mcp_approval_request", "compaction", "program"];
const TOOL_BLOCKS: (Json | undefined)[] = ["thinking", "redacted_thinking", "tool_use", "tool_result"];

/**
 * Converts conversation items into trace messages: Chat Completions and Anthropic messages, and Responses items. Items without a role
 * get `defaultRole`.
 */
export function toMessages(items: Json[], defaultRole: "user" | "assistant"): JsonObject[] {
  return turns(items).flatMap((run) => {
    const [item] = run;
    if (run.length > 1 || isAssistantItem(item)) return [turn(run)];
    if (isTyped(item)) return [typed(item, defaultRole)];
    if (hasToolBlocks(item)) return split(item, defaultRole);
    return [message(item!, defaultRole)];
  });
}

/** Returns the provider's items from which a message was made. */
export function itemsOf(message: JsonObject): Json[] {
  const { role: _, content: __, original, ...rest } = message;
  if (original === undefined) return [message];
  if (Array.isArray(original)) return original;
  return [{ ...rest, ...(original as JsonObject) }];
}

/** Groups the items of each assistant turn in the Responses API: its reasoning, text and tool calls. */
function turns(items: Json[]): Json[][] {
  const groups: Json[][] = [];
  let run: Json[] = [];
  const cut = () => {
    // Messages without typed neighbours are not merged.
    groups.push(...(run.some(isAssistantItem) ? [run] : run.map((item) => [item])));
    run = [];
  };
  for (const item of items) {
    if (isAssistantItem(item) || isAssistantMessage(item)) {
      run.push(item);
    } else {
      cut();
      groups.push([item]);
    }
  }
  cut();
  return groups;
}

function isTyped(item: Json | undefined): item is JsonObject & { type: string } {
  return isObject(item) && typeof item.type === "string" && item.type !== "message";
}

function isAssistantItem(item: Json | undefined): boolean {
  return isTyped(item) && (ASSISTANT_ITEMS.includes(item.type) || item.type.endsWith("_call"));
}

function isAssistantMessage(item: Json): boolean {
  return isObject(item) && !isTyped(item) && item.role === "assistant";
}

function hasToolBlocks(item: Json | undefined): item is JsonObject & { content: Json[] } {
  return isObject(item) && Array.isArray(item.content) && item.content.some((block) => isObject(block) && TOOL_BLOCKS.includes(block.type));
}

/** Merges the reasoning, text and tool calls of a turn in the Responses API into one message. */
function turn(items: Json[]): JsonObject {
  const made = new Message(items);
  for (const item of items as JsonObject[]) {
    if (!isTyped(item)) {
      made.addText(textOf(item.content, "assistant"));
    } else if (item.type === "reasoning") {
      made.addReasoning(textOf(item.content) || textOf(item.summary));
    } else if (typeof item.call_id === "string") {
      const name = typeof item.name === "string" ? item.name : item.type.replace(/_call$/, "");
      const argument = ["arguments", "input", "action", "operation"].find((member) => Object.hasOwn(item, member));
      made.addCall(item.call_id, name, argument ? item[argument]! : {});
    }
  }
  return made.finish("assistant");
}

/** Converts an item of the Responses API that is not part of a turn, such as a tool's output, into a message. */
function typed(item: JsonObject & { type: string }, defaultRole: string): JsonObject {
  const made = new Message([item]);
  if (typeof item.call_id === "string") made.callId = item.call_id;
  made.addText(textOf(Object.hasOwn(item, "output") ? item.output : item.content));
  return made.finish(item.type.endsWith("_output") ? "user" : roleOf(item.role, defaultRole));
}

/** Splits a message with content blocks of the Messages API: each tool result becomes a separate message. */
function split(item: JsonObject & { content: Json[] }, defaultRole: string): JsonObject[] {
  const segments: { isResult: boolean; blocks: Json[] }[] = [];
  for (const block of item.content) {
    const isResult = isObject(block) && block.type === "tool_result";
    if (isResult || segments.length === 0 || segments.at(-1)!.isResult) segments.push({ isResult, blocks: [] });
    segments.at(-1)!.blocks.push(block);
  }
  const role = roleOf(item.role, defaultRole);
  return segments.map(({ blocks }, place) => {
    const made = new Message(place === 0 ? [item] : []);
    for (const block of blocks.filter(isObject)) {
      if (block.type === "thinking") {
        made.addReasoning(textOf(block.thinking));
      } else if (block.type === "tool_use" && typeof block.id === "string" && typeof block.name === "string") {
        made.addCall(block.id, block.name, block.input === undefined ? {} : block.input);
      } else if (block.type === "tool_result") {
        if (typeof block.tool_use_id === "string") made.callId = block.tool_use_id;
        made.addText(textOf(block.content));
      }
    }
    const rest = blocks.filter((block) => !(isObject(block) && (block.type === "thinking" || block.type === "tool_result")));
    made.addText(textOf(rest, role));
    return made.finish(role);
  });
}

/** Builds a message from provider items. */
class Message {
  private readonly texts: string[] = [];
  private readonly reasoning: string[] = [];
  private readonly calls: JsonObject[] = [];
  callId: string | undefined;

  constructor(private readonly original: Json[]) {}

  addText(text: string): void {
    if (text) this.texts.push(text);
  }

  addReasoning(text: string): void {
    if (text) this.reasoning.push(text);
  }

  addCall(id: string, name: string, args: Json): void {
    this.calls.push({ id, type: "function", function: { name, arguments: args } });
  }

  finish(role: string): JsonObject {
    return {
      role,
      content: this.texts.join("\n"),
      ...(this.reasoning.length > 0 ? { reasoning_content: this.reasoning.join("\n") } : {}),
      ...(this.calls.length > 0 ? { tool_calls: this.calls } : {}),
      ...(this.callId ? { tool_call_id: this.callId } : {}),
      original: this.original,
    };
  }
}

/** Fits a message with `role` and `content` to the trace schema. */
function message(item: Json, defaultRole: string): JsonObject {
  if (!isObject(item)) return { role: defaultRole, content: "", original: [item] };
  const { role, content, original, ...rest } = item;
  const isReserved = Object.hasOwn(item, "original") || Object.hasOwn(item, "member");
  if (ROLES.includes(role) && typeof content === "string" && !isReserved) return item;
  const fitted = roleOf(role, defaultRole);
  const text = textOf(content, fitted);
  if (Object.hasOwn(item, "member")) return { role: fitted, content: text, original: [item] };
  const changed = Object.entries({ role, content, original }).filter(([name]) => Object.hasOwn(item, name)) as [string, Json][];
  return { role: fitted, content: text, ...rest, original: Object.fromEntries(changed) };
}

function roleOf(role: Json | undefined, defaultRole: string): string {
  if (role === undefined || role === null) return defaultRole;
  return ROLES.includes(role) ? (role as string) : role === "developer" ? "system" : "user";
}

/**
 * Returns the text of a `content` member, which is a string or a list of parts. Each part starts a new line. Adjacent text parts of
 * the assistant are joined, because citations split its text into pieces.
 */
export function textOf(content: Json | undefined, role = "user"): string {
  if (!Array.isArray(content)) return typeof content === "string" ? content : "";
  let text = "";
  let isFirst = true;
  let isAdjacent = false;
  for (const part of content) {
    const partText = textOfPart(part);
    if (partText !== undefined) {
      text += isFirst || (isAdjacent && role === "assistant") ? partText : `\n${partText}`;
      isFirst = false;
    }
    isAdjacent = partText !== undefined;
  }
  return text;
}

function textOfPart(part: Json): string | undefined {
  if (!isObject(part)) return undefined;
  return [part.text, part.refusal].find((text): text is string => typeof text === "string");
}
