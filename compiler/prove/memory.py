"""Whether an instance fits the memory of its GPUs: the weights, a sequence of full length, and a batch of such.

All is counted at the least, and what cannot be known not at all: what is refused could not start.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from compiler.catalogue import flag_name
from compiler.diagnostics import Diagnostic, error, warning
from compiler.fleet import (
    GIB,
    Engine,
    Framework,
    Model,
    ModelType,
    Quantization,
    SharingMode,
    Version,
    bytes_of,
    least_weights_on_gpus,
)

_COUNTED = frozenset({Framework.VLLM, Framework.SGLANG, Framework.TGI})
"""Of the others the checkpoint or the model repository decides what policy cannot say."""
_STARTS_WITH_LESS = Framework.SGLANG
"""It starts where no sequence of full length fits, and cuts those that become too long.

vLLM and TGI stop: `check_enough_kv_cache_memory` and `NotEnoughMemory(max_total_tokens)`."""
_GENERATING = frozenset({ModelType.LLM, ModelType.MULTIMODAL})
_WHOLE_GPUS = frozenset({SharingMode.NONE, SharingMode.VGPU})
_KV_BYTES = {"bfloat16": 2, "bf16": 2, "float16": 2, "half": 2, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1, "fp8_e4m3fn": 1}
"""By the values of `--kv-cache-dtype`; beside them there is `auto`."""
_MOST_GPUS = 16
_SELDOM_FULL = 4
"""Sequences of a batch for each that fits at full length: they are of all lengths, most of them far from the limit."""

_QUANTIZED_ALREADY = (
    r"awq|gptq|gguf|ggml|exl[23]|hqq|aqlm|quip|bnb|bpw|nf4|fp[468]|int[248]|w[48]a(4|8|16)|[2-8]-?bit|quantized|gpt-oss"
    r"|deepseek-(v3|r1(?!-distill))|kimi-k2"
)
"""In names of checkpoints that are smaller than 16 bits for each parameter though policy does not say so."""
_OTHERWISE = (
    r"--(.*(offload|parallel|quant|override|nodes|memory).*|[dpe]p(-size)?|load-format|(hf-|torchao-)?config(-path)?"
    r"|model|device|runner|task|convert|is-embedding)|-(q|pp|dp).*"
)
"""Arguments that make the sum another one: part of it elsewhere, on more GPUs, or smaller."""


class _Sum(NamedTuple):
    """In bytes. Of one instance."""

    weights: int
    kv: int
    """Of each token; 0 where it is not known or not needed."""
    gpus: int
    """That it works on."""
    each: int
    """What the engine may take of each."""

    @property
    def room(self) -> int:
        return self.gpus * self.each

    @property
    def tokens(self) -> int:
        """That fit beside the weights; below 0 where not even those do."""
        return (self.room - self.weights) // self.kv

    def gpus_for(self, needed: int) -> int | None:
        """The least power of two of GPUs with that room: what heads of attention divide by. None above 16."""
        counts = (count for count in (1, 2, 4, 8, _MOST_GPUS) if count > self.gpus)
        return next((count for count in counts if needed <= count * self.each), None)


def of_model(model: Model) -> tuple[Diagnostic, ...]:
    return tuple(found for version in model.versions if (found := _of_version(model, version)) is not None)


def _of_version(model: Model, version: Version) -> Diagnostic | None:
    counted, engine = _sum(model, version), version.engine
    if counted is None:
        return None
    sequence = counted.kv * engine.max_seq_len
    needed = counted.weights + (0 if engine.framework is _STARTS_WITH_LESS else sequence)
    fit = counted.tokens // engine.max_seq_len if sequence else engine.max_batch_size
    starts = needed <= counted.room
    if (starts and fit * _SELDOM_FULL >= engine.max_batch_size) or _is_otherwise(version):
        return None
    what = model.name if len(model.versions) == 1 else f"{model.name} {version.name}"
    if starts:
        enough = counted.weights + sequence * -(-engine.max_batch_size // _SELDOM_FULL)
        less = f"maxBatchSize: {fit * _SELDOM_FULL}" if fit else f"maxSeqLen: {counted.tokens}"
        ways = [*([less] if counted.tokens else []), *_more_gpus(model, version, counted, enough)]
        said = f"{what}: {fit} of {engine.max_batch_size} sequences fit at full length"
        return warning("P403", version.origin, said, ", or ".join(ways))
    shorter = [f"maxSeqLen: {counted.tokens}"] if sequence and counted.tokens > 0 else []
    ways = [*shorter, *_more_gpus(model, version, counted, needed)]
    said = f"{what} cannot start: {_told(model, counted, needed)}"
    hint = ", or ".join(ways or ["a gpuType with more memory", "quantization"])
    return error("P402", version.origin, said, hint)


def _told(model: Model, counted: _Sum, needed: int) -> str:
    weights, room = f"{counted.weights / GIB:.1f} weights", f"of {counted.room / GIB:g} GiB"
    if needed > counted.weights:
        return f"{weights} + {(needed - counted.weights) / GIB:.1f} KV = {needed / GIB:.1f} {room}"
    return f"{weights} {room}" + (", KV not counted" if model.type in _GENERATING else "")


def _more_gpus(model: Model, version: Version, counted: _Sum, needed: int) -> list[str]:
    """An instance has one share or slice at the most."""
    count = counted.gpus_for(needed) if _sharing(model) in _WHOLE_GPUS else None
    if count is None:
        return []
    return [f"{'gpuCount' if count > version.resources.gpu_count else 'tensorParallel'}: {count}"]


def _sum(model: Model, version: Version) -> _Sum | None:
    """None where too little is known for one."""
    engine, resources, weights = version.engine, version.resources, least_weights_on_gpus(version.engine)
    if weights is None or not resources.gpu_count or not resources.gpu_memory_gib:
        return None
    shares = model.pool.sharing.shares if model.pool and _sharing(model) is SharingMode.VGPU else 1
    each = int(resources.gpu_memory_gib * GIB / shares * engine.gpu_memory_utilization)
    kv = engine.kv_per_token * _kv_bytes(engine) if engine.kv_per_token and model.type in _GENERATING else 0
    return _Sum(weights, kv, engine.tensor_parallel, each)


def _is_otherwise(version: Version) -> bool:
    """Whether the sum may be another than that, or nothing starts. Only what is about to be told is asked."""
    engine = version.engine
    if engine.framework not in _COUNTED or not (version.has_standbys or version.most_active):
        return True
    names = f"{version.model_name} {engine.model_path.location}".lower()
    if engine.quantization is Quantization.NONE and re.search(_QUANTIZED_ALREADY, names):
        return True
    return any(re.fullmatch(_OTHERWISE, flag_name(argument)) for argument in engine.extra_args)


def _sharing(model: Model) -> SharingMode:
    return SharingMode.NONE if model.pool is None else model.pool.sharing.mode


def _kv_bytes(engine: Engine) -> int:
    """Of each number; 0 where an argument says something else that is not known here."""
    arguments = engine.extra_args
    for index, argument in reversed(tuple(enumerate(arguments))):
        if flag_name(argument) == "--kv-cache-dtype":
            value = argument.partition("=")[2] or "".join(arguments[index + 1 : index + 2])
            return bytes_of(engine.dtype) if value == "auto" else _KV_BYTES.get(value, 0)
    return bytes_of(engine.dtype)
