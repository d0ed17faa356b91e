// The official Node client: chats and responses.
import assert from "node:assert";
import OpenAI from "openai";
import { counts, given, run, version } from "./checks.mjs";

const { model, questions: [asked, then], replies: [first, second] } = given;
const api = new OpenAI({ baseURL: given.url, apiKey: given.key, maxRetries: 0 });
const messages = [{ role: "user", content: asked }];
const reasoning = { effort: "medium", summary: "auto" };

async function chat() {
  const told = await api.chat.completions.create({ model, messages });
  assert.deepEqual([told.choices[0].message.content, told.choices[0].finish_reason], [first.answer, "stop"]);
  assert.equal((await api.responses.create({ model, input: asked })).output_text, first.answer);
  assert((await api.models.list()).data.some((one) => one.id === model));
}

async function streaming() {
  const chats = api.chat.completions.stream({ model, messages });
  assert.equal((await chats.finalChatCompletion()).choices[0].message.content, first.answer);
  const kinds = [], stream = api.responses.stream({ model, input: asked });
  for await (const event of stream) kinds.push(event.type);
  const whole = await stream.finalResponse();
  assert.deepEqual([whole.output_text, kinds[0], kinds.at(-1)], [first.answer, "response.created", "response.completed"]);
  assert(kinds.indexOf("response.reasoning_summary_text.delta") < kinds.indexOf("response.output_text.delta"));
  const replayed = [];
  const again = await api.responses.retrieve(whole.id, { stream: true, starting_after: 2 });
  for await (const event of again) replayed.push(event.type);
  assert.deepEqual(replayed, kinds.slice(3));
}

async function summary() {
  const told = await api.responses.create({ model, input: asked, reasoning });
  assert.deepEqual(told.output.map((item) => item.type), ["reasoning", "message"]);
  assert.equal(told.output[0].summary.map((part) => part.text).join("\n\n"), first.summary);
  const parts = [];
  for await (const event of await api.responses.create({ model, input: asked, reasoning, stream: true }))
    if (event.type === "response.reasoning_summary_text.done") parts.push(event.text);
  assert.equal(parts.join("\n\n"), first.summary);
  let text = "";
  for await (const chunk of await api.chat.completions.create({ model, messages, stream: true }))
    text += chunk.choices[0].delta.reasoning_content ?? "";
  assert.equal(text, first.summary);
  const none = await api.responses.create({ model, input: asked, reasoning: { effort: "none" } });
  assert.deepEqual(none.output.map((item) => item.type), ["message"]);
}

async function usage() {
  const ofChat = (told) =>
    counts(told.prompt_tokens, told.completion_tokens, told.completion_tokens_details.reasoning_tokens, first);
  ofChat((await api.chat.completions.create({ model, messages })).usage);
  let last;
  const how = { stream: true, stream_options: { include_usage: true } };
  for await (const chunk of await api.chat.completions.create({ model, messages, ...how })) last = chunk;
  ofChat(last.usage);
  const told = (await api.responses.create({ model, input: asked })).usage;
  counts(told.input_tokens, told.output_tokens, told.output_tokens_details.reasoning_tokens, first);
}

async function errors() {
  const asks = [(how) => api.chat.completions.create({ model, messages, ...how })];
  asks.push((how) => api.responses.create({ model, input: asked, ...how }));
  for (const ask of asks) {
    for (const stream of [false, true])
      await assert.rejects(ask({ model: "nobody", stream }), (err) => {
        assert(err instanceof OpenAI.NotFoundError && err.requestID);
        return err.code === "model_not_found";
      });
    await assert.rejects(ask({ temperature: 9 }), (err) => {
      assert(err instanceof OpenAI.BadRequestError);
      return err.code === "invalid_value" && err.param === "temperature";
    });
  }
  const stranger = new OpenAI({ baseURL: given.url, apiKey: "wrong", maxRetries: 0 });
  await assert.rejects(stranger.models.list(), (err) => err instanceof OpenAI.AuthenticationError);
}

async function turns() {
  const told = (await api.chat.completions.create({ model, messages })).choices[0].message;
  const next = { role: "user", content: then };
  const again = await api.chat.completions.create({ model, messages: [...messages, told, next] });
  assert.deepEqual([again.choices[0].message.content, again.usage.prompt_tokens], [second.answer, second.prompt]);
  const right = (reply) => assert.deepEqual([reply.output_text, reply.usage.input_tokens], [second.answer, second.prompt]);
  const before = await api.responses.create({ model, input: asked });
  const after = await api.responses.create({ model, input: then, previous_response_id: before.id });
  right(after);
  assert.deepEqual((await api.responses.retrieve(after.id)).output, after.output);
  const how = { store: false, include: ["reasoning.encrypted_content"] };
  const sealed = await api.responses.create({ model, input: asked, ...how });
  assert(sealed.output[0].encrypted_content);
  right(await api.responses.create({ model, input: [...messages, ...sealed.output, next], ...how }));
}

await run(version("openai"), { chat, streaming, summary, usage, errors, turns });
