// The AI SDK: chats, as of any compatible server, and chats and responses, as of OpenAI's own.
import assert from "node:assert";
import { APICallError, generateText, streamText } from "ai";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { counts, given, run, version } from "./checks.mjs";

const { model, questions: [prompt, then], replies: [first, second] } = given;

// The providers: how the first and the last show summaries, the second, OpenAI's chats, knows no field for them.
const providers = (apiKey = given.key) => {
  const own = { baseURL: given.url, apiKey };
  const compatible = createOpenAICompatible({ name: "ponder", includeUsage: true, ...own }), openai = createOpenAI(own);
  return { compatible, chats: openai.chat, responses: openai.responses };
};

// What all requests to a model have in common.
const openai = { reasoningEffort: "medium", forceReasoning: true };
const how = (kind, model) => ({
  model,
  maxRetries: 0,
  providerOptions: {
    ponder: { reasoningEffort: "medium" },
    openai: kind === "responses" ? { reasoningSummary: "auto", ...openai } : openai,
  },
});
const kinds = (name = model, apiKey) =>
  Object.entries(providers(apiKey)).map(([kind, make]) => [kind, how(kind, make(name))]);

async function streamed(one) {
  const stream = streamText({ ...one, prompt, onError: () => {} }), parts = [];
  for await (const part of stream.fullStream) parts.push(part);
  return [stream, parts];
}

const deltas = (parts, type) => parts.filter((part) => part.type === type).map((part) => part.text).join("");
const bare = (text) => text.replaceAll(/\s/g, ""); // parts are put together without a break

async function chat() {
  for (const [, one] of kinds()) {
    const told = await generateText({ ...one, prompt });
    assert.deepEqual([told.text, told.finishReason, told.warnings], [first.answer, "stop", []]);
  }
}

async function streaming() {
  for (const [, one] of kinds()) {
    const [stream, parts] = await streamed(one);
    assert.deepEqual([await stream.text, await stream.finishReason], [first.answer, "stop"]);
    assert.equal(deltas(parts, "text-delta"), first.answer);
    const told = parts.map((part) => part.type);
    if (told.includes("reasoning-delta"))
      assert(told.indexOf("reasoning-delta") < told.indexOf("text-delta"), told.join(" "));
  }
}

async function summary() {
  for (const [kind, one] of kinds().filter(([kind]) => kind !== "chats")) {
    assert.equal(bare((await generateText({ ...one, prompt })).reasoningText), bare(first.summary), kind);
    const [, parts] = await streamed(one);
    assert.equal(bare(deltas(parts, "reasoning-delta")), bare(first.summary), kind);
    const starts = parts.filter((part) => part.type === "reasoning-start").length;
    assert.equal(starts, kind === "responses" ? first.summary.match(/^\*\*/gm).length : 1);
  }
}

async function usage() {
  const right = (told) => counts(told.inputTokens, told.outputTokens, told.outputTokenDetails.reasoningTokens, first);
  for (const [, one] of kinds()) {
    right((await generateText({ ...one, prompt })).usage);
    const [stream] = await streamed(one);
    right(await stream.usage);
    const providerOptions = { ponder: { reasoningEffort: "none" }, openai: { ...openai, reasoningEffort: "none" } };
    const none = (await generateText({ ...one, prompt, providerOptions })).usage;
    assert.equal(none.outputTokenDetails.reasoningTokens, 0);
  }
}

async function errors() {
  const refused = (status, word) => (err) => {
    assert(APICallError.isInstance(err), err);
    assert.equal(err.statusCode, status);
    assert.match(err.message, word);
    return true;
  };
  for (const [, one] of kinds("nobody")) {
    await assert.rejects(generateText({ ...one, prompt }), refused(404, /'nobody' does not exist/));
    const [, parts] = await streamed(one);
    assert(refused(404, /'nobody' does not exist/)(parts.find((part) => part.type === "error").error));
  }
  for (const [, one] of kinds(model, "wrong"))
    await assert.rejects(generateText({ ...one, prompt }), refused(401, /API key/));
}

async function turns() {
  for (const [kind, one] of kinds()) {
    const before = await generateText({ ...one, prompt });
    const messages = [{ role: "user", content: prompt }, ...before.response.messages, { role: "user", content: then }];
    const after = await generateText({ ...one, messages });
    assert.deepEqual([after.text, after.usage.inputTokens], [second.answer, second.prompt], kind);
  }
  const options = { ...openai, store: false, include: ["reasoning.encrypted_content"] };
  const sealed = { ...how("responses", providers().responses(model)), providerOptions: { openai: options } };
  const before = await generateText({ prompt, ...sealed });
  const messages = [{ role: "user", content: prompt }, ...before.response.messages, { role: "user", content: then }];
  const after = await generateText({ messages, ...sealed });
  assert.deepEqual([after.text, after.usage.inputTokens], [second.answer, second.prompt]);
}

await run(version("ai"), { chat, streaming, summary, usage, errors, turns });
