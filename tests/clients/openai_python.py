"""The official Python client: chats, streams, summaries, usage, errors, several turns."""

import os

import openai

api = openai.OpenAI(base_url=os.environ["PONDER_URL"], api_key="any")
model, question = os.environ["PONDER_MODEL_NAME"], "What is 123 * 45?"

chat = api.chat.completions.create(model=model, messages=[{"role": "user", "content": question}])
assert chat.choices[0].message.content and chat.usage and chat.usage.completion_tokens_details
assert chat.usage.completion_tokens_details.reasoning_tokens
turns = [{"role": "user", "content": question}, chat.choices[0].message, {"role": "user", "content": "And * 2?"}]
assert api.chat.completions.create(model=model, messages=turns).choices[0].message.content
with api.chat.completions.stream(model=model, messages=turns[:1]) as stream:
    assert stream.get_final_completion().choices[0].message.content == chat.choices[0].message.content

first = api.responses.create(model=model, input=question, reasoning={"effort": "low", "summary": "auto"})
assert first.output_text and first.output[0].type == "reasoning" and first.output[0].summary
assert first.usage and first.usage.output_tokens_details.reasoning_tokens
with api.responses.stream(model=model, input=question, reasoning={"effort": "low"}) as stream:
    kinds = [event.type for event in stream]
    whole = stream.get_final_response()
assert whole.output_text == first.output_text and "response.reasoning_summary_text.delta" in kinds
second = api.responses.create(model=model, input="And * 2?", previous_response_id=first.id)
assert second.output_text and api.responses.retrieve(second.id).output_text == second.output_text
assert api.responses.cancel(second.id).status == second.status
try:
    api.chat.completions.create(model="nobody", messages=turns[:1])
except openai.NotFoundError as err:
    assert err.code == "model_not_found" and err.request_id
else:
    raise AssertionError("an unknown model was not refused")
