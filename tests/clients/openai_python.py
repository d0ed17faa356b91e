"""The official Python client: chats and responses."""

from functools import partial

import openai
from checks import GIVEN, counts, refused, run, same
from openai import OpenAI

api = OpenAI(base_url=GIVEN.url, api_key=GIVEN.key, max_retries=0)
MODEL, (ASKED, THEN), (FIRST, SECOND) = GIVEN.model, GIVEN.questions, GIVEN.replies
TURN = {"role": "user", "content": ASKED}


def chat() -> None:
    told = api.chat.completions.create(model=MODEL, messages=[TURN])
    same((told.choices[0].message.content, told.choices[0].finish_reason), (FIRST.answer, "stop"))
    same(api.responses.create(model=MODEL, input=ASKED).output_text, FIRST.answer)
    assert MODEL in [model.id for model in api.models.list()]


def streaming() -> None:
    with api.chat.completions.stream(model=MODEL, messages=[TURN]) as stream:
        kinds = [event.type for event in stream]
    same(stream.get_final_completion().choices[0].message.content, FIRST.answer)
    assert "content.delta" in kinds and "content.done" in kinds, kinds
    with api.responses.stream(model=MODEL, input=ASKED) as stream:
        kinds = [event.type for event in stream]
    same((stream.get_final_response().output_text, kinds[0]), (FIRST.answer, "response.created"))
    same(kinds[-1], "response.completed")
    assert kinds.index("response.reasoning_summary_text.delta") < kinds.index("response.output_text.delta")
    response = stream.get_final_response()
    replayed = [event.type for event in api.responses.retrieve(response.id, stream=True, starting_after=2)]
    same(replayed, [event.type for event in api.responses.retrieve(response.id, stream=True)][3:])


def summary() -> None:
    told = api.responses.create(model=MODEL, input=ASKED, reasoning={"effort": "medium", "summary": "auto"})
    same((told.output[0].type, told.output[1].type), ("reasoning", "message"))
    same("\n\n".join(part.text for part in told.output[0].summary), FIRST.summary)
    with api.responses.stream(model=MODEL, input=ASKED, reasoning={"effort": "medium"}) as stream:
        parts = [event.text for event in stream if event.type == "response.reasoning_summary_text.done"]
    same("\n\n".join(parts), FIRST.summary)
    chunks = api.chat.completions.create(model=MODEL, messages=[TURN], stream=True)
    same("".join(getattr(chunk.choices[0].delta, "reasoning_content", "") for chunk in chunks), FIRST.summary)
    told = api.responses.create(model=MODEL, input=ASKED, reasoning={"effort": "none"})
    same([item.type for item in told.output], ["message"])


def usage() -> None:
    told = api.chat.completions.create(model=MODEL, messages=[TURN]).usage
    counts(told.prompt_tokens, told.completion_tokens, told.completion_tokens_details.reasoning_tokens, FIRST)
    how = {"stream": True, "stream_options": {"include_usage": True}}
    *_, last = api.chat.completions.create(model=MODEL, messages=[TURN], **how)
    told = last.usage
    counts(told.prompt_tokens, told.completion_tokens, told.completion_tokens_details.reasoning_tokens, FIRST)
    told = api.responses.create(model=MODEL, input=ASKED).usage
    counts(told.input_tokens, told.output_tokens, told.output_tokens_details.reasoning_tokens, FIRST)


def errors() -> None:
    for ask, turns in ((api.chat.completions.create, {"messages": [TURN]}), (api.responses.create, {"input": ASKED})):
        for stream in (False, True):
            err = refused(openai.NotFoundError, partial(ask, model="nobody", stream=stream, **turns))
            same(err.code, "model_not_found")
            assert err.request_id
        err = refused(openai.BadRequestError, partial(ask, model=MODEL, temperature=9, **turns))
        same((err.code, err.param), ("invalid_value", "temperature"))
    stranger = api.with_options(api_key="wrong")
    same(refused(openai.AuthenticationError, stranger.models.list).code, "invalid_api_key")


def turns() -> None:
    told = api.chat.completions.create(model=MODEL, messages=[TURN]).choices[0].message
    again = api.chat.completions.create(model=MODEL, messages=[TURN, told, {"role": "user", "content": THEN}])
    same((again.choices[0].message.content, again.usage.prompt_tokens), (SECOND.answer, SECOND.prompt))
    first = api.responses.create(model=MODEL, input=ASKED)
    second = api.responses.create(model=MODEL, input=THEN, previous_response_id=first.id)
    same((second.output_text, second.usage.input_tokens), (SECOND.answer, SECOND.prompt))
    same(api.responses.retrieve(second.id).output, second.output)
    how = {"store": False, "include": ["reasoning.encrypted_content"]}
    first = api.responses.create(model=MODEL, input=ASKED, **how)
    assert first.output[0].encrypted_content
    sent = [TURN, *first.output, {"role": "user", "content": THEN}]
    second = api.responses.create(model=MODEL, input=sent, **how)
    same((second.output_text, second.usage.input_tokens), (SECOND.answer, SECOND.prompt))


run(openai.__version__, chat=chat, streaming=streaming, summary=summary, usage=usage, errors=errors, turns=turns)
