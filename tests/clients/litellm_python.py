"""LiteLLM: chats, streams with reasoning, usage, errors, several turns."""

import os

import litellm

model, url = "hosted_vllm/" + os.environ["PONDER_MODEL_NAME"], os.environ["PONDER_URL"]
turns = [{"role": "user", "content": "What is 123 * 45?"}]


def ask(messages, **more):
    return litellm.completion(model=model, api_base=url, api_key="any", messages=messages, **more)


whole = ask(turns, reasoning_effort="low")
message = whole.choices[0].message
assert message.content and message.reasoning_content and whole.usage.completion_tokens_details.reasoning_tokens
parts = [chunk.choices[0].delta for chunk in ask(turns, reasoning_effort="low", stream=True) if chunk.choices]
assert "".join(part.content or "" for part in parts) == message.content
assert any(getattr(part, "reasoning_content", None) for part in parts)
assert ask([*turns, message.model_dump(), {"role": "user", "content": "And * 2?"}]).choices[0].message.content
try:
    litellm.completion(model="hosted_vllm/nobody", api_base=url, api_key="any", messages=turns, num_retries=0)
except litellm.NotFoundError:
    pass
else:
    raise AssertionError("an unknown model was not refused")
