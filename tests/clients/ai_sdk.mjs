// The AI SDK: text, streams with reasoning, usage, errors, several turns, over chats and over responses.
import assert from "node:assert";
import { generateText, streamText } from "ai";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";

const name = process.env.PONDER_MODEL_NAME, prompt = "What is 123 * 45?";
const chats = createOpenAICompatible({ name: "ponder", baseURL: process.env.PONDER_URL, apiKey: "any" });
const responses = createOpenAI({ baseURL: process.env.PONDER_URL, apiKey: "any" });
const options = { openai: { reasoningSummary: "auto", forceReasoning: true } };

for (const model of [chats(name), responses.responses(name)]) {
  const whole = await generateText({ model, prompt, providerOptions: options });
  assert(whole.text && whole.usage.outputTokens > 0);
  const stream = streamText({ model, prompt, providerOptions: options });
  const kinds = new Set();
  for await (const part of stream.fullStream) kinds.add(part.type);
  assert(kinds.has("reasoning-delta") && kinds.has("text-delta"), [...kinds].join(" "));
  const messages = [{ role: "user", content: prompt }, ...whole.response.messages, { role: "user", content: "And * 2?" }];
  assert((await generateText({ model, messages, providerOptions: options })).text);
}
await assert.rejects(generateText({ model: chats("nobody"), prompt, maxRetries: 0 }), /does not exist/);
