"""What Turnout knows of GPUs and engines without being told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from compiler.fleet import Framework


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
"""The sources write `nvidia.com/a100-80g`, which is no label of any node (B16)."""

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

SLEEPING_ENGINES = frozenset({Framework.VLLM})
"""Engines that can put their weights into host memory and wake again, so that a warm standby may run."""

MAINTENANCE_ONLY = frozenset({Framework.TGI})
