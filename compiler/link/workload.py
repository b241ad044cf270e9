"""What runs: a version's effective spec as parts of the fleet."""

from __future__ import annotations

from typing import TypeVar

from compiler.catalogue import Gpu
from compiler.fleet import ColdStart, Endpoint, Engine, Framework, ModelPath, Quantization, Resources, Scheme, Tier
from compiler.kinds.inference_model import EndpointSpec, InferenceModelSpec
from compiler.kinds.values import MODEL_PATH

T = TypeVar("T")


def engine(spec: InferenceModelSpec) -> Engine:
    config = spec.config
    return Engine(
        framework=Framework(spec.framework),
        image=_given(spec.image),
        model_path=_model_path(_given(spec.model_path)),
        max_seq_len=config.max_seq_len,
        max_batch_size=config.max_batch_size,
        tensor_parallel=_given(config.tensor_parallel),
        quantization=Quantization(config.quantization),
        dtype=config.dtype,
        gpu_memory_utilization=config.gpu_memory_utilization,
        extra_args=config.extra_args,
    )


def resources(spec: InferenceModelSpec, gpu: Gpu) -> Resources:
    needs = spec.resources
    return Resources(
        gpu_product=gpu.product,
        gpu_count=needs.gpu_count,
        cpu=_given(needs.cpu),
        memory=_given(needs.memory),
        shm=_given(spec.config.shm),
    )


def cold_start(spec: InferenceModelSpec) -> ColdStart:
    return ColdStart(spec.cold_start.cold)


def endpoint(spec: EndpointSpec) -> Endpoint:
    return Endpoint(spec.address, spec.port, spec.zone or "", Tier(spec.tier), spec.weight)


def _model_path(text: str) -> ModelPath:
    found = MODEL_PATH.match(text)
    assert found is not None  # the schema refuses others
    return ModelPath(Scheme(found[1]), found[2])


def _given(value: T | None) -> T:
    assert value is not None  # `effective` has filled it in
    return value
