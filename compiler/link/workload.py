"""What runs: a version's effective spec as parts of the fleet, and whether it fits itself and the platform."""

from __future__ import annotations

from typing import TypeVar

from compiler.architectures import architecture
from compiler.catalogue import FETCHERS, FLAGS, MAINTENANCE_ONLY, Gpu, fetched, flag_name, only_tensor_parallel
from compiler.decode import Policy
from compiler.diagnostics import Diagnostic, Position, error, warning
from compiler.fleet import ColdStart, Endpoint, Engine, Framework, ModelPath, Quantization, Resources, Scheme, Tier
from compiler.kinds import InferenceModel
from compiler.kinds.inference_model import EndpointSpec, InferenceModelSpec
from compiler.kinds.values import MODEL_PATH
from compiler.link.effective import GIB
from compiler.link.images import check_image
from compiler.link.parameters import size
from compiler.link.platform import KUBERNETES_OF_IMAGE_VOLUMES, Settings, gpu, too_old
from compiler.quantity import bytes_text

T = TypeVar("T")


def engine(spec: InferenceModelSpec, name: str) -> Engine:
    """`name` is the model's."""
    config, known = spec.config, architecture(spec.model_name)
    counted = size(config.parameters, known, spec.model_name, name)
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
        parameters=None if counted is None else counted.parameters,
        least_parameters=None if counted is None else counted.least,
        kv_per_token=None if known is None else known.kv_per_token,
    )


def replicas(spec: InferenceModelSpec) -> int:
    return _given(spec.replicas)


def resources(spec: InferenceModelSpec, each: Gpu) -> Resources:
    needs = spec.resources
    return Resources(
        gpu_product=each.product,
        gpu_count=needs.gpu_count,
        cpu=_given(needs.cpu),
        memory=_given(needs.memory),
        shm=_given(spec.config.shm),
        gpu_memory_gib=each.memory_gib,
    )


def cold_start(spec: InferenceModelSpec) -> ColdStart:
    return ColdStart(spec.cold_start.cold, spec.cold_start.preload_to_shm)


def endpoint(spec: EndpointSpec, origin: Position) -> Endpoint:
    return Endpoint(spec.address, spec.port, spec.zone or "", Tier(spec.tier), spec.weight, origin)


def check_workload(
    policy: Policy[InferenceModel], spec: InferenceModelSpec, platform: Settings, found: list[Diagnostic]
) -> None:
    scheme = _scheme(spec)
    _check_gpus(policy, spec, platform, found)
    check_image(str(spec.image), policy.at("spec", "image"), platform, found)
    if fetched(Framework(spec.framework), scheme):
        way_out = "weights by pvc://, oci:// or host://, which no other image has to fetch"
        check_image(FETCHERS[scheme], policy.at("spec", "modelPath"), platform, found, way_out)
    _check_shared_memory(policy, spec, found)
    if scheme is Scheme.OCI and platform.kubernetes < KUBERNETES_OF_IMAGE_VOLUMES:
        place, needs = policy.at("spec", "modelPath"), KUBERNETES_OF_IMAGE_VOLUMES
        found.append(too_old(place, "modelPath oci://", "Kubernetes", needs, platform.kubernetes))
    _check_extra_args(policy, spec, found)
    if Framework(spec.framework) in MAINTENANCE_ONLY:
        place = policy.at("spec", "framework")
        found.append(warning("P410", place, f"{spec.framework} is in maintenance mode", "vllm or sglang"))


def _check_gpus(
    policy: Policy[InferenceModel], spec: InferenceModelSpec, platform: Settings, found: list[Diagnostic]
) -> None:
    needs, config = spec.resources, spec.config
    has = gpu(policy, platform, []).memory_gib * needs.gpu_count * GIB
    if needs.gpu_memory is not None and has and needs.gpu_memory != has:
        place = policy.at("spec", "resources", "gpuMemory")
        given, real = bytes_text(needs.gpu_memory), bytes_text(has)
        said = f"gpuMemory {given}: {needs.gpu_count} × {needs.gpu_type} have {real}"
        found.append(error("P209", place, said, "leave gpuMemory out"))
    gpus, sharing, loc = needs.gpu_count, config.tensor_parallel or 1, ("spec", "config", "tensorParallel")
    if gpus % sharing:
        said = f"tensorParallel {sharing} does not divide gpuCount {gpus}"
        found.append(error("P210", policy.at(*loc), said, f"tensorParallel: {gpus}"))
    elif sharing < gpus and only_tensor_parallel(Framework(spec.framework), config.extra_args):
        said = f"tensorParallel {sharing} leaves {gpus - sharing} of {gpus} GPUs idle"
        hint = f"tensorParallel: {gpus}, or gpuCount: {sharing}"
        found.append(warning("P210", policy.at(*loc), said, hint))


def _check_shared_memory(policy: Policy[InferenceModel], spec: InferenceModelSpec, found: list[Diagnostic]) -> None:
    """More of it than of all other memory is no exchange between workers: it is a limit that was not thought of, or
    weights, which no other pod would find there."""
    memory, shm = _given(spec.resources.memory), _given(spec.config.shm)
    if policy.wrote("spec", "config", "shm") and shm > memory:
        said = f"memory volumes {bytes_text(shm)} over limit {bytes_text(memory)}"
        hint = f"memory: {bytes_text(shm)} or more; weights go by modelPath, not into /dev/shm"
        found.append(error("P412", policy.at("spec", "config", "shm"), said, hint))


def _check_extra_args(policy: Policy[InferenceModel], spec: InferenceModelSpec, found: list[Diagnostic]) -> None:
    """Whether an argument is given a second time that Turnout gives already."""
    if not spec.config.extra_args:
        return
    flags = FLAGS[Framework(spec.framework)]
    names = {name: flag for first, flag in flags.items() for name in (first, *flag.also)}
    values = {
        "config.quantization": spec.config.quantization,
        "config.dtype": spec.config.dtype,
        "modelPath": _scheme(spec),
        "type": spec.type,
    }
    for index, argument in enumerate(spec.config.extra_args):
        flag = names.get(flag_name(argument))
        if flag is not None and (not flag.when or values[flag.field] in flag.when):
            place = policy.at("spec", "config", "extraArgs", index)
            hint = flag.field or "leave it out: Turnout decides it"
            found.append(error("P211", place, f"extraArgs repeats {argument.partition('=')[0]}", hint))


def _scheme(spec: InferenceModelSpec) -> Scheme:
    return _model_path(_given(spec.model_path)).scheme


def _model_path(text: str) -> ModelPath:
    found = MODEL_PATH.match(text)
    assert found is not None  # the schema refuses others
    return ModelPath(Scheme(found[1]), found[2])


def _given(value: T | None) -> T:
    assert value is not None  # `effective` has filled it in
    return value
