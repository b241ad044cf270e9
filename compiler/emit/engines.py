"""How each inference server is started: command and arguments, and what it cannot be told.

Engines take arguments, not variables of their own: a variable that an engine does not read is ignored in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from compiler.diagnostics import Diagnostic, error
from compiler.emit.names import CONTAINER_PORT
from compiler.emit.volumes import weights_argument
from compiler.fleet import Engine, Framework, Model, ModelType, Quantization, Scheme, Tier, Version

_LISTEN = ("--host", "0.0.0.0", "--port", str(CONTAINER_PORT))


@dataclass(frozen=True, slots=True)
class Launch:
    command: tuple[str, ...]
    """Empty where the image's own entrypoint starts the server."""
    args: tuple[str, ...]


def launch(model: Model, version: Version, tier: Tier) -> Launch:
    started = _LAUNCHES[version.engine.framework](model, version.engine, tier)
    return Launch(started.command, (*started.args, *version.engine.extra_args))


def _vllm(model: Model, engine: Engine, tier: Tier) -> Launch:
    # Named, because the image's entrypoint was the API server's module up to 0.11 and `vllm serve` after it, which
    # disagree on how the model is given. The positional model is the form that stays.
    return Launch(
        ("vllm", "serve"),
        (
            weights_argument(engine.model_path),
            *_LISTEN,
            *("--served-model-name", *model.served_names),
            *("--max-model-len", str(engine.max_seq_len)),
            *("--max-num-seqs", str(engine.max_batch_size)),
            *("--tensor-parallel-size", str(engine.tensor_parallel)),
            *("--dtype", engine.dtype),
            *_quantize_at_load(engine),
            *("--gpu-memory-utilization", f"{engine.gpu_memory_utilization:g}"),
            *(("--load-format", "runai_streamer") if engine.model_path.scheme in (Scheme.S3, Scheme.GS) else ()),
            *(("--runner", "pooling") if model.type is ModelType.EMBEDDING else ()),
            *(("--enable-sleep-mode",) if tier is Tier.WARM else ()),
        ),
    )


def _sglang(model: Model, engine: Engine, _: Tier) -> Launch:
    return Launch(
        ("python3", "-m", "sglang.launch_server"),
        (
            *("--model-path", weights_argument(engine.model_path, files_only=True)),
            *_LISTEN,
            # One name only; a request's `model` is not compared with it.
            *("--served-model-name", model.served_names[0]),
            *("--context-length", str(engine.max_seq_len)),
            *("--max-running-requests", str(engine.max_batch_size)),
            *("--tp-size", str(engine.tensor_parallel)),
            *("--dtype", engine.dtype),
            *_quantize_at_load(engine),
            *("--mem-fraction-static", f"{engine.gpu_memory_utilization:g}"),
            # Without it there is no /metrics.
            "--enable-metrics",
            *(("--is-embedding",) if model.type is ModelType.EMBEDDING else ()),
        ),
    )


def _quantize_at_load(engine: Engine) -> tuple[str, ...]:
    # awq, gptq, int8 and int4 weights say in their own configuration how they are quantized, and the engine takes the
    # fastest kernel for the GPU. Named on the command line, `awq` and `gptq` force the slow ones instead of Marlin.
    # https://github.com/vllm-project/vllm/blob/main/vllm/model_executor/layers/quantization/awq_marlin.py
    return ("--quantization", "fp8") if engine.quantization is Quantization.FP8 else ()


_TGI_QUANTIZE = {
    Quantization.AWQ: ("--quantize", "awq"),
    Quantization.GPTQ: ("--quantize", "gptq"),
    Quantization.FP8: ("--quantize", "fp8"),
    Quantization.INT8: ("--quantize", "eetq"),
}


def _tgi(_: Model, engine: Engine, __: Tier) -> Launch:
    # The image's entrypoint refreshes the linker's cache before it starts the launcher.
    return Launch(
        (),
        (
            *("--model-id", weights_argument(engine.model_path, files_only=True)),
            *("--hostname", "0.0.0.0", "--port", str(CONTAINER_PORT)),
            *("--max-total-tokens", str(engine.max_seq_len)),
            # Up to version 2 its default follows the checkpoint; the launcher stops where that is not under the total.
            *("--max-input-tokens", str(max(1, engine.max_seq_len - 1))),
            *("--max-concurrent-requests", str(engine.max_batch_size)),
            *("--num-shard", str(engine.tensor_parallel)),
            *(("--dtype", engine.dtype) if engine.dtype != "auto" else ()),
            *_TGI_QUANTIZE.get(engine.quantization, ()),
            *("--cuda-memory-fraction", f"{engine.gpu_memory_utilization:g}"),
        ),
    )


def _tensorrt_llm(_: Model, engine: Engine, __: Tier) -> Launch:
    return Launch(
        ("trtllm-serve",),
        (
            weights_argument(engine.model_path, files_only=True),
            *_LISTEN,
            *("--max_seq_len", str(engine.max_seq_len)),
            *("--max_batch_size", str(engine.max_batch_size)),
            *("--tp_size", str(engine.tensor_parallel)),
            *("--kv_cache_free_gpu_memory_fraction", f"{engine.gpu_memory_utilization:g}"),
        ),
    )


def _triton(_: Model, engine: Engine, __: Tier) -> Launch:
    # Sizes, types and parallelism stand in the repository's config.pbtxt files.
    return Launch(
        ("tritonserver",),
        (
            *("--model-repository", weights_argument(engine.model_path), "--http-port", str(CONTAINER_PORT)),
            # Otherwise of latencies there are sums only, and no percentiles. It may be given again with other settings.
            "--metrics-config=summary_latencies=true",
        ),
    )


_LAUNCHES: Mapping[Framework, Callable[[Model, Engine, Tier], Launch]] = {
    Framework.VLLM: _vllm,
    Framework.SGLANG: _sglang,
    Framework.TGI: _tgi,
    Framework.TENSORRT_LLM: _tensorrt_llm,
    Framework.TRITON: _triton,
}

_IN_THE_CHECKPOINT = "leave it out: the checkpoint decides"
_IN_THE_REPOSITORY = "leave it out: the model repository decides"
_QUANTIZED = tuple(q for q in Quantization if q is not Quantization.NONE)
_DTYPES = ("float16", "bfloat16", "float32")


@dataclass(frozen=True, slots=True)
class _Lacks:
    """Values an engine cannot be told, each with the way out."""

    schemes: Mapping[Scheme, str]
    quantizations: Mapping[Quantization, str]
    dtypes: Mapping[str, str]
    types: Mapping[ModelType, str]


_LACKS = {
    Framework.TGI: _Lacks(
        {},
        {},
        {"float32": "auto, float16 or bfloat16"},
        {ModelType.EMBEDDING: "framework vllm or sglang"},
    ),
    Framework.TENSORRT_LLM: _Lacks(
        {},
        dict.fromkeys(_QUANTIZED, _IN_THE_CHECKPOINT),
        dict.fromkeys(_DTYPES, _IN_THE_CHECKPOINT),
        {ModelType.EMBEDDING: "framework vllm or sglang"},
    ),
    Framework.TRITON: _Lacks(
        {Scheme.HF: "a model repository: pvc://, s3://, gs://, oci:// or host://"},
        dict.fromkeys(_QUANTIZED, _IN_THE_REPOSITORY),
        dict.fromkeys(_DTYPES, _IN_THE_REPOSITORY),
        {},
    ),
}


def diagnostics(model: Model, version: Version) -> Iterator[Diagnostic]:
    """P307 for each setting of `version` that its engine has no argument for."""
    engine, name = version.engine, version.engine.framework
    lacks = _LACKS.get(name)
    if lacks is None:
        return
    scheme = engine.model_path.scheme
    found = (
        (f"modelPath {scheme}://", lacks.schemes.get(scheme)),
        (f"config.quantization {engine.quantization}", lacks.quantizations.get(engine.quantization)),
        (f"config.dtype {engine.dtype}", lacks.dtypes.get(engine.dtype)),
        (f"type {model.type}", lacks.types.get(model.type)),
    )
    for setting, way_out in found:
        if way_out is not None:
            yield error("P307", version.origin, f"{name} has no {setting}", way_out)
    if name is Framework.TGI and engine.dtype != "auto" and engine.quantization in _TGI_QUANTIZE:
        setting = f"config.dtype beside config.quantization {engine.quantization}"
        yield error("P307", version.origin, f"{name} has no {setting}", "leave dtype out")
