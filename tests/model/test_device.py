"""Device and number format are what was asked for, or the ones that suit, with the reason."""

import pytest

from ponder.errors import ConfigError
from ponder.model.device import pick_sampling_dtype


def test_sampling_is_in_float32_on_a_cpu_and_in_half_of_it_on_cuda_unless_asked_otherwise() -> None:
    assert pick_sampling_dtype("cpu").value == "float32" and "kernels" in pick_sampling_dtype("cpu").reason
    assert pick_sampling_dtype("cuda").value == "bfloat16"
    assert pick_sampling_dtype("cuda", "float32") == ("float32", "asked for")
    with pytest.raises(ConfigError, match="'float16'.*float32, bfloat16"):
        pick_sampling_dtype("cuda", "float16")
