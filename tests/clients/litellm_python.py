"""LiteLLM: chats as of a vLLM server, which are the ones whose effort it passes on, and responses."""

import os
from importlib.metadata import version

from checks import GIVEN, counts, refused, run, same

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it looks for prices on the Internet first
import litellm

litellm.suppress_debug_info = True
(ASKED, THEN), (FIRST, SECOND) = GIVEN.questions, GIVEN.replies
TURN = {"role": "user", "content": ASKED}


def ask(messages, model=GIVEN.model, key=GIVEN.key, **more):
    return litellm.completion(
        model=f"hosted_vllm/{model}", api_base=GIVEN.url, api_key=key, messages=messages, num_retries=0, **more
    )


def respond(turns, model=GIVEN.model, key=GIVEN.key, **more):
    return litellm.responses(
        model=f"openai/{model}", api_base=GIVEN.url, api_key=key, input=turns, num_retries=0, **more
    )


def answer(response):
    return "".join(part.text for item in response.output if item.type == "message" for part in item.content)


def chat():
    same(ask([TURN]).choices[0].message.content, FIRST.answer)
    same(answer(respond(ASKED)), FIRST.answer)


def streaming():
    chunks = [chunk.choices[0].delta for chunk in ask([TURN], stream=True) if chunk.choices]
    same("".join(chunk.content or "" for chunk in chunks), FIRST.answer)
    kinds = [str(getattr(event.type, "value", event.type)) for event in respond(ASKED, stream=True)]
    same((kinds[0], kinds[-1]), ("response.created", "response.completed"))
    assert kinds.index("response.reasoning_summary_text.delta") < kinds.index("response.output_text.delta"), kinds


def summary():
    same(ask([TURN], reasoning_effort="medium").choices[0].message.reasoning_content, FIRST.summary)
    chunks = [chunk.choices[0].delta for chunk in ask([TURN], reasoning_effort="medium", stream=True) if chunk.choices]
    told = [text for chunk in chunks if (text := getattr(chunk, "reasoning_content", None))]
    same("".join(told), FIRST.summary)
    assert len(told) > 1, told
    assert not getattr(ask([TURN], reasoning_effort="none").choices[0].message, "reasoning_content", None)
    item = respond(ASKED, reasoning={"effort": "medium", "summary": "auto"}).output[0]
    same((item.type, "\n\n".join(part.text for part in item.summary)), ("reasoning", FIRST.summary))


def usage():
    told = ask([TURN]).usage
    counts(told.prompt_tokens, told.completion_tokens, told.completion_tokens_details.reasoning_tokens, FIRST)
    *_, last = ask([TURN], stream=True, stream_options={"include_usage": True})
    told = last.usage
    counts(told.prompt_tokens, told.completion_tokens, told.completion_tokens_details.reasoning_tokens, FIRST)
    told = respond(ASKED).usage
    counts(told.input_tokens, told.output_tokens, told.output_tokens_details.reasoning_tokens, FIRST)


def errors():
    for asking in (ask, respond):
        refused(litellm.NotFoundError, lambda: asking([TURN], model="nobody"))  # noqa: B023
        refused(litellm.AuthenticationError, lambda: asking([TURN], key="wrong"))  # noqa: B023
        refused(litellm.BadRequestError, lambda: asking([TURN], temperature=9))  # noqa: B023
        long = [TURN | {"content": ASKED * 4000}]
        refused(litellm.ContextWindowExceededError, lambda: asking(long))  # noqa: B023


def turns():
    message, then = ask([TURN]).choices[0].message, {"role": "user", "content": THEN}
    for told in (message, message.model_dump()):  # with the summaries in it, which must not be read again
        again = ask([TURN, told, then])
        same((again.choices[0].message.content, again.usage.prompt_tokens), (SECOND.answer, SECOND.prompt))
    first = respond(ASKED)
    for more in ({"previous_response_id": first.id, "turns": THEN}, {"turns": [TURN, *first.output, then]}):
        again = respond(**more)
        same((answer(again), again.usage.input_tokens), (SECOND.answer, SECOND.prompt))


run(version("litellm"), chat=chat, streaming=streaming, summary=summary, usage=usage, errors=errors, turns=turns)
