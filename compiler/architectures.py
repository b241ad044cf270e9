"""What is published of well-known models: how many parameters they have, and what a token adds to their KV cache.

The numbers are those of each model's `config.json`. Models of which some layers keep a window of tokens only (Gemma 2
and later, Mistral 7B v0.1) are left out: of them no single number is true.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Architecture(NamedTuple):
    parameters: int
    """Experts included; rounded down to a tenth of a billion."""
    layers: int
    kv_heads: int
    head_dim: int

    @property
    def kv_per_token(self) -> int:
        """Numbers, not bytes: a key and a value for each head that has its own, in each layer."""
        return 2 * self.layers * self.kv_heads * self.head_dim


def _of(tenths: int, layers: int, kv_heads: int, head_dim: int) -> Architecture:
    """`tenths` of a billion parameters."""
    return Architecture(tenths * 10**8, layers, kv_heads, head_dim)


_LLAMA_2_7B, _LLAMA_2_13B, _LLAMA_2_70B = _of(67, 32, 32, 128), _of(130, 40, 40, 128), _of(689, 80, 8, 128)
_LLAMA_3_8B, _LLAMA_3_70B, _LLAMA_3_405B = _of(80, 32, 8, 128), _of(705, 80, 8, 128), _of(4058, 126, 8, 128)
_QWEN_7B, _QWEN_14B, _QWEN_32B, _QWEN_72B = (
    _of(76, 28, 4, 128),
    _of(147, 48, 8, 128),
    _of(327, 64, 8, 128),
    _of(727, 80, 8, 128),
)
_MISTRAL_7B, _GEMMA_2B, _GEMMA_7B = _of(72, 32, 8, 128), _of(25, 18, 1, 256), _of(85, 28, 16, 256)

ARCHITECTURES: Mapping[str, Architecture] = {
    "llama-7b": _LLAMA_2_7B,
    "llama-13b": _LLAMA_2_13B,
    "llama-2-7b": _LLAMA_2_7B,
    "llama-2-13b": _LLAMA_2_13B,
    "llama-2-70b": _LLAMA_2_70B,
    "codellama-7b": _LLAMA_2_7B,
    "codellama-13b": _LLAMA_2_13B,
    "codellama-34b": _of(337, 48, 8, 128),
    "codellama-70b": _LLAMA_2_70B,
    "llama-3-8b": _LLAMA_3_8B,
    "llama-3-70b": _LLAMA_3_70B,
    "llama-3.1-8b": _LLAMA_3_8B,
    "llama-3.1-70b": _LLAMA_3_70B,
    "llama-3.1-405b": _LLAMA_3_405B,
    "llama-3.3-70b": _LLAMA_3_70B,
    "qwen2.5-7b": _QWEN_7B,
    "qwen2.5-14b": _QWEN_14B,
    "qwen2.5-32b": _QWEN_32B,
    "qwen2.5-72b": _QWEN_72B,
    "qwen2.5-coder-7b": _QWEN_7B,
    "qwen2.5-coder-14b": _QWEN_14B,
    "qwen2.5-coder-32b": _QWEN_32B,
    "qwen2.5-math-7b": _QWEN_7B,
    "qwen2.5-math-72b": _QWEN_72B,
    "qwen3-8b": _of(81, 36, 8, 128),
    "qwen3-14b": _of(147, 40, 8, 128),
    "qwen3-32b": _of(327, 64, 8, 128),
    "mistral-7b-v0.2": _MISTRAL_7B,
    "mistral-7b-v0.3": _MISTRAL_7B,
    "mistral-7b-instruct-v0.2": _MISTRAL_7B,
    "mistral-7b-instruct-v0.3": _MISTRAL_7B,
    "mixtral-8x7b": _of(467, 32, 8, 128),
    "mixtral-8x22b": _of(1406, 56, 8, 128),
    "gemma-2b": _GEMMA_2B,
    "gemma-7b": _GEMMA_7B,
    "codegemma-7b": _GEMMA_7B,
}
"""By the beginnings of their names, as their publishers write them, in lower case and without `meta-`."""

_FAMILIES = {name.partition("-")[0] for name in ARCHITECTURES}
_SEGMENTS = sorted({name.count("-") + 1 for name in ARCHITECTURES})


def architecture(model_name: str) -> Architecture | None:
    """Of the model with the id `org/name`; None where it is not in the catalogue."""
    segments = model_name.rpartition("/")[2].lower().removeprefix("meta-").split("-")
    if segments[0] not in _FAMILIES:
        return None
    for count in _SEGMENTS:
        found = ARCHITECTURES.get("-".join(segments[:count]))
        if found is not None:
            return found
    return None
