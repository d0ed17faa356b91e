"""LiteLLM: chats, as of OpenAI and as of a vLLM server, and responses."""

import os
from functools import partial
from importlib.metadata import version

from checks import GIVEN, counts, refused, run, same

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it looks for prices on the Internet first
import litellm

litellm.suppress_debug_info = True
(ASKED, THEN), (FIRST, SECOND) = GIVEN.questions, GIVEN.replies
TURN = {"role": "user", "content": ASKED}


def ask(messages, model=GIVEN.model, key=GIVEN.key, prefix="openai", **more):
    return litellm.completion(
        model=f"{prefix}/{model}", api_base=GIVEN.url, api_key=key, messages=messages, num_retries=0, **more
    )


ASKS = (ask, partial(ask, prefix="hosted_vllm"))


def respond(turns, model=GIVEN.model, key=GIVEN.key, **more):
    return litellm.responses(
        model=f"openai/{model}", api_base=GIVEN.url, api_key=key, input=turns, num_retries=0, **more
    )


def answer(response):
    return "".join(part.text for item in response.output if item.type == "message" for part in item.content)


def chat():
    for asking in ASKS:
        same(asking([TURN]).choices[0].message.content, FIRST.answer)
    same(answer(respond(ASKED)), FIRST.answer)


def streaming():
    for asking in ASKS:
        chunks = [chunk.choices[0].delta for chunk in asking([TURN], stream=True) if chunk.choices]
        same("".join(chunk.content or "" for chunk in chunks), FIRST.answer)
    kinds = [str(getattr(event.type, "value", event.type)) for event in respond(ASKED, stream=True)]
    same((kinds[0], kinds[-1]), ("response.created", "response.completed"))
    assert kinds.index("response.reasoning_summary_text.delta") < kinds.index("response.output_text.delta"), kinds


def summary():
    for asking in ASKS:
        same(asking([TURN], reasoning_effort="medium").choices[0].message.reasoning_content, FIRST.summary)
        stream = asking([TURN], reasoning_effort="medium", stream=True)
        deltas = [chunk.choices[0].delta for chunk in stream if chunk.choices]
        told = [text for delta in deltas if (text := getattr(delta, "reasoning_content", None))]
        same("".join(told), FIRST.summary)
        assert len(told) > 1, told
        none = asking([TURN], reasoning_effort="none")
        assert not getattr(none.choices[0].message, "reasoning_content", None), none
    item = respond(ASKED, reasoning={"effort": "medium", "summary": "auto"}).output[0]
    same((item.type, "\n\n".join(part.text for part in item.summary)), ("reasoning", FIRST.summary))


def usage():
    for asking in ASKS:
        *_, last = asking([TURN], stream=True, stream_options={"include_usage": True})
        for told in (asking([TURN]).usage, last.usage):
            counts(told.prompt_tokens, told.completion_tokens, told.completion_tokens_details.reasoning_tokens, FIRST)
    told = respond(ASKED).usage
    counts(told.input_tokens, told.output_tokens, told.output_tokens_details.reasoning_tokens, FIRST)


def errors():
    for asking in (*ASKS, respond):
        refused(litellm.NotFoundError, partial(asking, [TURN], model="nobody"))
        refused(litellm.AuthenticationError, partial(asking, [TURN], key="wrong"))
        refused(litellm.BadRequestError, partial(asking, [TURN], temperature=9))
        refused(litellm.ContextWindowExceededError, partial(asking, [TURN | {"content": ASKED * 4000}]))


def turns():
    then = {"role": "user", "content": THEN}
    for asking in ASKS:
        message = asking([TURN]).choices[0].message
        for told in (message, message.model_dump()):  # with the summaries in it, which must not be read again
            again = asking([TURN, told, then])
            same((again.choices[0].message.content, again.usage.prompt_tokens), (SECOND.answer, SECOND.prompt))
    first = respond(ASKED)
    for more in ({"previous_response_id": first.id, "turns": THEN}, {"turns": [TURN, *first.output, then]}):
        again = respond(**more)
        same((answer(again), again.usage.input_tokens), (SECOND.answer, SECOND.prompt))


run(version("litellm"), chat=chat, streaming=streaming, summary=summary, usage=usage, errors=errors, turns=turns)
