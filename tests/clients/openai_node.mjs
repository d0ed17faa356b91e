// The official Node client: chats, streams, summaries, usage, errors, several turns.
import assert from "node:assert";
import OpenAI from "openai";

const api = new OpenAI({ baseURL: process.env.PONDER_URL, apiKey: "any" });
const model = process.env.PONDER_MODEL_NAME, question = "What is 123 * 45?";
const messages = [{ role: "user", content: question }];

const chat = await api.chat.completions.create({ model, messages });
assert(chat.choices[0].message.content && chat.usage.completion_tokens_details.reasoning_tokens);
const again = [...messages, chat.choices[0].message, { role: "user", content: "And * 2?" }];
assert((await api.chat.completions.create({ model, messages: again })).choices[0].message.content);
const stream = api.chat.completions.stream({ model, messages });
assert.equal((await stream.finalChatCompletion()).choices[0].message.content, chat.choices[0].message.content);

const first = await api.responses.create({ model, input: question, reasoning: { effort: "low", summary: "auto" } });
assert(first.output_text && first.output[0].summary.length);
const kinds = [];
const responses = api.responses.stream({ model, input: question, reasoning: { effort: "low" } });
for await (const event of responses) kinds.push(event.type);
assert.equal((await responses.finalResponse()).output_text, first.output_text);
assert(kinds.includes("response.reasoning_summary_text.delta"));
const second = await api.responses.create({ model, input: "And * 2?", previous_response_id: first.id });
assert.equal((await api.responses.retrieve(second.id)).output_text, second.output_text);
await assert.rejects(api.chat.completions.create({ model: "nobody", messages }), (err) => err.code === "model_not_found");
