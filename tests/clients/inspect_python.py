"""Inspect: one sample evaluated over chats, as of any compatible server, and over responses, as of OpenAI's own."""

import asyncio
import tempfile

import inspect_ai
from checks import GIVEN, counts, run, same
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.log import read_eval_log
from inspect_ai.model import ChatMessageUser, GenerateConfig, get_model
from inspect_ai.scorer import match

(ASKED, THEN), (FIRST, SECOND) = GIVEN.questions, GIVEN.replies
CONFIG = GenerateConfig(max_retries=0, reasoning_effort="medium", reasoning_summary="auto")


def models(name=GIVEN.model, key=GIVEN.key):
    own = {"base_url": GIVEN.url, "api_key": key, "config": CONFIG, "memoize": False}
    return (
        get_model(f"openai-api/ponder/{name}", **own),
        get_model(f"openai/{name}", responses_api=True, **own),
    )


def evaluated(model):
    task = Task(dataset=[Sample(ASKED, target=FIRST.answer)], scorer=match())
    with tempfile.TemporaryDirectory() as folder:
        (log,) = eval(task, model=model, log_dir=folder, display="none")
        return read_eval_log(log.location)


def streamed(model):
    parts = []

    async def hear(part):
        parts.append(part)

    return asyncio.run(model.generate(ASKED, on_stream=hear)), parts


def thought(message):
    assert not isinstance(message.content, str), message
    return "".join(part.summary or part.reasoning for part in message.content if part.type == "reasoning")


def chat():
    for model in models():
        log = evaluated(model)
        assert log.status == "success", log.error
        same(log.samples[0].output.completion, FIRST.answer)
        same(log.results.scores[0].metrics["accuracy"].value, 1.0)


def streaming():
    for model in models():
        output, parts = streamed(model)
        same((output.completion, output.stop_reason), (FIRST.answer, "stop"))
        same("".join(part.text for part in parts if part.type == "text"), FIRST.answer)
        kinds = [part.type for part in parts]
        assert kinds.count("reasoning") > 1 and kinds.index("reasoning") < kinds.index("text"), kinds


def summary():
    for model in models():
        output, parts = streamed(model)
        told = asyncio.run(model.generate(ASKED)).message, output.message
        texts = [*map(thought, told), "".join(part.reasoning for part in parts if part.type == "reasoning")]
        same(["".join(text.split()) for text in texts], ["".join(FIRST.summary.split())] * 3)  # put together bare
        none = asyncio.run(model.generate(ASKED, config=GenerateConfig(reasoning_effort="none")))
        assert not none.usage.reasoning_tokens, none


def usage():
    for model in models():
        (told,) = evaluated(model).stats.model_usage.values()
        read = told.input_tokens + (told.input_tokens_cache_read or 0)  # Inspect counts what was cached apart
        counts(read, told.output_tokens, told.reasoning_tokens, FIRST)


def errors():
    for name, key, word in (("nobody", GIVEN.key, "404"), (GIVEN.model, "wrong", "401")):
        for model in models(name, key):
            log = evaluated(model)
            same(log.status, "error")
            assert word in log.error.message, log.error.message
    for model in models():
        output = asyncio.run(model.generate(ASKED * 4000))
        same(output.stop_reason, "model_length")


def turns():
    for model in models():
        first = asyncio.run(model.generate(ASKED)).message
        again = asyncio.run(model.generate([ChatMessageUser(content=ASKED), first, ChatMessageUser(content=THEN)]))
        read = again.usage.input_tokens + (again.usage.input_tokens_cache_read or 0)
        same((again.completion, read), (SECOND.answer, SECOND.prompt))


version = inspect_ai.__version__
run(version, chat=chat, streaming=streaming, summary=summary, usage=usage, errors=errors, turns=turns)
