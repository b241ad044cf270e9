"""What Turnout knows of GPUs and engines without being told."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from compiler.fleet import Framework, Scheme


@dataclass(frozen=True, slots=True)
class Gpu:
    product: str
    """The label `nvidia.com/gpu.product`, as NVIDIA's GPU feature discovery writes it."""
    memory_gib: int


GPUS: Mapping[str, Gpu] = {
    "t4": Gpu("Tesla-T4", 16),
    "a10": Gpu("NVIDIA-A10", 24),
    "l4": Gpu("NVIDIA-L4", 24),
    "l40s": Gpu("NVIDIA-L40S", 48),
    "a100-40g": Gpu("NVIDIA-A100-SXM4-40GB", 40),
    "a100-80g": Gpu("NVIDIA-A100-SXM4-80GB", 80),
    "h100-80g": Gpu("NVIDIA-H100-80GB-HBM3", 80),
    "h200-141g": Gpu("NVIDIA-H200", 141),
    "b200-180g": Gpu("NVIDIA-B200", 180),
}

FOREIGN_GPU_PREFIX = "nvidia.com/"
"""`nvidia.com/a100-80g` is often written for a GPU's type, and is no label of any node."""

IMAGES: Mapping[Framework, str] = {
    Framework.VLLM: "vllm/vllm-openai:v0.11.0",
    Framework.SGLANG: "lmsysorg/sglang:v0.5.4",
    Framework.TGI: "ghcr.io/huggingface/text-generation-inference:3.3.6",
    Framework.TRITON: "nvcr.io/nvidia/tritonserver:25.09-py3",
    Framework.TENSORRT_LLM: "nvcr.io/nvidia/tensorrt-llm/release:1.0.0",
}

HEALTH_PATHS: Mapping[Framework, str] = {
    Framework.VLLM: "/health",
    Framework.SGLANG: "/health",
    Framework.TGI: "/health",
    Framework.TRITON: "/v2/health/ready",
    Framework.TENSORRT_LLM: "/health",
}

LIVENESS_PATHS: Mapping[Framework, str] = {**HEALTH_PATHS, Framework.TRITON: "/v2/health/live"}
"""Whether an engine has to be started anew. Triton alone tells that from being ready: it may load or unload a model."""

SLEEPING_ENGINES = frozenset({Framework.VLLM})
"""Engines that can put their weights into host memory and wake again, so that a warm standby may run."""

READERS_OF_OBJECT_STORES = frozenset({Framework.VLLM, Framework.TRITON})
"""Engines that load weights from `s3://` and `gs://` themselves. SGLang does since 0.5.9, which is newer than above."""

FETCHERS: Mapping[Scheme, str] = {
    Scheme.S3: "docker.io/amazon/aws-cli:2.27.9",
    Scheme.GS: "gcr.io/google.com/cloudsdktool/google-cloud-cli:549.0.0-slim",
}
"""Images that copy them for the others."""


def fetched(framework: Framework, scheme: Scheme) -> bool:
    """Whether weights are copied before the engine starts, so that it finds files."""
    return scheme in FETCHERS and framework not in READERS_OF_OBJECT_STORES


MAINTENANCE_ONLY = frozenset({Framework.TGI})


@dataclass(frozen=True, slots=True)
class Flag:
    """An argument that Turnout itself gives to an engine; given twice, the engine takes the last or stops."""

    field: str
    """Of policy, that decides the value; empty where Turnout decides it alone."""
    when: tuple[str, ...] = ()
    """The field's values at which it is given; for modelPath its scheme. Empty is always."""
    also: tuple[str, ...] = ()
    """Other names by which the engine knows it."""


_TGI_QUANTIZED = ("awq", "gptq", "fp8", "int8")
_NAMED_DTYPES = ("float16", "bfloat16", "float32")

FLAGS: Mapping[Framework, Mapping[str, Flag]] = {
    Framework.VLLM: {
        "--host": Flag(""),
        "--port": Flag(""),
        "--served-model-name": Flag("aliases"),
        "--max-model-len": Flag("config.maxSeqLen"),
        "--max-num-seqs": Flag("config.maxBatchSize"),
        "--tensor-parallel-size": Flag("config.tensorParallel", also=("-tp",)),
        "--dtype": Flag("config.dtype"),
        "--quantization": Flag("config.quantization", when=("fp8",), also=("-q",)),
        "--gpu-memory-utilization": Flag("config.gpuMemoryUtilization"),
        "--load-format": Flag("modelPath", when=("s3", "gs")),
        "--runner": Flag("type", when=("embedding",)),
    },
    Framework.SGLANG: {
        "--model-path": Flag("modelPath", also=("--model",)),
        "--host": Flag(""),
        "--port": Flag(""),
        "--served-model-name": Flag("metadata.name"),
        "--context-length": Flag("config.maxSeqLen"),
        "--max-running-requests": Flag("config.maxBatchSize"),
        "--tp-size": Flag("config.tensorParallel", also=("--tensor-parallel-size", "--tp")),
        "--dtype": Flag("config.dtype"),
        "--quantization": Flag("config.quantization", when=("fp8",)),
        "--mem-fraction-static": Flag("config.gpuMemoryUtilization"),
    },
    Framework.TGI: {
        "--model-id": Flag("modelPath"),
        "--hostname": Flag(""),
        "--port": Flag("", also=("-p",)),
        "--max-total-tokens": Flag("config.maxSeqLen"),
        "--max-input-tokens": Flag("config.maxSeqLen", also=("--max-input-length",)),
        "--max-concurrent-requests": Flag("config.maxBatchSize"),
        "--num-shard": Flag("config.tensorParallel"),
        "--dtype": Flag("config.dtype", when=_NAMED_DTYPES),
        "--quantize": Flag("config.quantization", when=_TGI_QUANTIZED),
        "--cuda-memory-fraction": Flag("config.gpuMemoryUtilization"),
    },
    Framework.TENSORRT_LLM: {
        "--host": Flag(""),
        "--port": Flag(""),
        "--max-seq-len": Flag("config.maxSeqLen"),
        "--max-batch-size": Flag("config.maxBatchSize"),
        "--tp-size": Flag("config.tensorParallel"),
        "--kv-cache-free-gpu-memory-fraction": Flag("config.gpuMemoryUtilization"),
    },
    Framework.TRITON: {
        "--model-repository": Flag("modelPath", also=("--model-store",)),
        "--http-port": Flag(""),
    },
}
"""Those that take a value, by their names with dashes for underscores. `compiler.emit.engines` gives them."""


_OTHER_PARALLELISM = re.compile(r"-.*parallel.*|--?(pp|dp|ep|cp|pcp|dcp)(-size)?|--config|--extra-llm-api-options")
"""By layers, by requests and so on; or in a file that nobody here reads."""


def only_tensor_parallel(framework: Framework, arguments: Iterable[str]) -> bool:
    """Whether an instance works on no more GPUs than `config.tensorParallel` says."""
    decides = any(flag.field == "config.tensorParallel" for flag in FLAGS[framework].values())
    return decides and not any(_OTHER_PARALLELISM.fullmatch(flag_name(argument)) for argument in arguments)


def flag_name(argument: str) -> str:
    """`--max-model-len` of `--max_model_len=3`."""
    return argument.partition("=")[0].replace("_", "-")
