"""Whether instances fit their GPUs: exact sums, what is not counted, and which way the proof moves with policy."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.architectures import ARCHITECTURES, architecture
from compiler.diagnostics import Diagnostic
from compiler.link.parameters import size
from compiler.prove import prove
from tests.compiler.policies import document, linked

QWEN = "Qwen/Qwen2.5-72B-Instruct"
SLICE = document(
    "Platform", "platform", "gpuCatalogue: {slice: {label: NVIDIA-A100-SXM4-80GB-MIG-3g.40gb, memoryGiB: 40}}"
)


def told(*documents: str) -> list[Diagnostic]:
    fleet, found = linked(*documents)
    assert fleet is not None, found
    return [d for d in prove(fleet) if d.code in ("P402", "P403")]


def codes(*documents: str) -> list[str]:
    return [d.code for d in told(*documents)]


def of(model_name: str = QWEN, gpus: int = 2, config: str = "", more: str = "", gpu: str = "a100-80g") -> str:
    spec = f"modelName: {model_name}\nresources: {{gpuType: {gpu}, gpuCount: {gpus}}}\nconfig: {{{config}}}\n{more}"
    return document("InferenceModel", "big", spec)


def pool(gpu: str, sharing: str) -> str:
    node = f"{{name: a, zone: az-1, gpuType: {gpu}, gpuCount: 8, cpu: 256, memory: 4Ti}}"
    return document("GPUPool", "shared", f"nodes: [{node}]\nqueue: {{}}\nsharing: {{{sharing}}}")


# The sum


def test_the_numbers_of_qwen_on_two_gpus_are_those_of_its_publisher() -> None:
    known = architecture(QWEN)
    assert known is not None
    assert known.kv_per_token * 2 == 320 * 1024
    (found,) = told(of(config="maxSeqLen: 32768, maxBatchSize: 1"))
    assert found.code == "P402"
    assert found.message == "big cannot start: 135.4 weights + 10.0 KV = 145.4 of 144 GiB"
    assert found.hint == "maxSeqLen: 28133, or gpuCount: 4"


def test_what_the_hint_says_fits_and_one_token_more_does_not() -> None:
    assert codes(of(config="maxSeqLen: 28133, maxBatchSize: 1")) == []
    assert codes(of(config="maxSeqLen: 28134, maxBatchSize: 1")) == ["P402"]
    assert codes(of(gpus=4, config="maxSeqLen: 32768, maxBatchSize: 1")) == []


def test_an_engine_works_on_as_many_gpus_as_are_parallel() -> None:
    (found,) = told(of(config="tensorParallel: 1, maxBatchSize: 1"))
    assert found.message == "big cannot start: 135.4 weights + 1.2 KV = 136.7 of 72 GiB"
    assert found.hint == "tensorParallel: 2"


@pytest.mark.parametrize(
    ("config", "fits"),
    [
        ("parameters: 38.6B", True),
        ("parameters: 38.7B", False),
        ("parameters: 38.7B, dtype: bfloat16", False),
        ("parameters: 19.3B, dtype: float32", True),
        ("parameters: 19.4B, dtype: fp32", False),
        ("parameters: 77.3B, quantization: fp8", True),
        ("parameters: 77.4B, quantization: fp8", False),
        ("parameters: 77.4B, quantization: int8", False),
        ("parameters: 154.6B, quantization: awq", True),
        ("parameters: 154.7B, quantization: awq", False),
        ("parameters: 154.7B, quantization: gptq", False),
        ("parameters: 154.7B, quantization: int4", False),
        ("parameters: 42.9B, gpuMemoryUtilization: 1", True),
        ("parameters: 43B, gpuMemoryUtilization: 1", False),
    ],
)
def test_weights_take_bytes_by_how_they_are_held(config: str, fits: bool) -> None:
    assert codes(of("org/chat", 1, config)) == ([] if fits else ["P402"])


@pytest.mark.parametrize(
    ("config", "most"),
    [
        ("dtype: bfloat16", 28133),
        ("extraArgs: ['--kv-cache-dtype', 'auto']", 28133),
        ("extraArgs: ['--kv_cache_dtype=bfloat16']", 28133),
        ("extraArgs: ['--kv-cache-dtype', 'fp8']", 56267),
        ("extraArgs: ['--kv-cache-dtype=fp8_e5m2']", 56267),
        ("extraArgs: ['--kv-cache-dtype=auto', '--kv-cache-dtype', 'fp8']", 56267),
    ],
)
def test_the_cache_has_the_models_type_or_its_own(config: str, most: int) -> None:
    assert codes(of(config=f"maxBatchSize: 1, maxSeqLen: {most}, {config}")) == []
    assert codes(of(config=f"maxBatchSize: 1, maxSeqLen: {most + 1}, {config}")) == ["P402"]


def test_the_cache_of_float32_takes_twice_as_much() -> None:
    (found,) = told(of(gpus=4, config="dtype: float32, maxSeqLen: 40960, maxBatchSize: 1"))
    assert found.message == "big cannot start: 270.8 weights + 25.0 KV = 295.8 of 288 GiB"


def test_experts_are_all_in_memory() -> None:
    (found,) = told(of("mistralai/Mixtral-8x7B-Instruct-v0.1", 1))
    assert found.message == "big cannot start: 87.0 weights + 0.5 KV = 87.5 of 72 GiB"


def test_of_a_family_that_is_not_known_the_cache_is_not_counted_which_is_told() -> None:
    (found,) = told(of("o/a-405b", 1))
    assert found.message == "big cannot start: 678.9 weights of 72 GiB, KV not counted"
    assert found.hint == "gpuCount: 16"
    assert codes(of("o/a-70b", 2, "maxSeqLen: 16777216")) == []


def test_where_no_number_of_gpus_is_enough_others_are_needed() -> None:
    (found,) = told(of("o/a", 1, "parameters: 2T"))
    assert found.hint == "a gpuType with more memory, or quantization"


@pytest.mark.parametrize("of_type", ["embedding", "specialized"])
def test_what_generates_nothing_has_weights_only(of_type: str) -> None:
    assert codes(of(config="maxSeqLen: 131072, maxBatchSize: 256", more=f"type: {of_type}")) == []
    (found,) = told(of(gpus=1, more=f"type: {of_type}"))
    assert found.message == "big cannot start: 135.4 weights of 72 GiB"


def test_each_version_is_counted_by_itself() -> None:
    two = "versions: [{name: '1', weight: 90}, {name: '2', weight: 10, config: {maxSeqLen: 65536}}]"
    (found,) = told(of(config="maxBatchSize: 1", more=two))
    assert found.message.startswith("big 2 cannot start")


# How large a model is


@pytest.mark.parametrize(
    ("said", "name", "least"),
    [
        (None, "meta-llama/Llama-2-7b-chat-hf", 6_700_000_000),
        (None, QWEN, 72_700_000_000),
        ("80B", QWEN, 80_000_000_000),
        (None, "org/chat-7b", 6_300_000_000),
        (None, "org/chat-8x7b", 42_000_000_000),
        ("7B", "org/chat", 7_000_000_000),
        (None, "org/chat", None),
    ],
)
def test_only_what_is_sure_of_a_size_is_counted(said: str | None, name: str, least: int | None) -> None:
    found = size(said, architecture(name), name)
    assert (found and found.least) == least


@pytest.mark.parametrize(
    ("name", "kib"),
    [
        ("huggyllama/llama-7b", 512),
        ("meta-llama/Llama-2-13b-hf", 800),
        ("meta-llama/Llama-2-70b-chat-hf", 320),
        ("meta-llama/Meta-Llama-3-8B-Instruct", 128),
        ("meta-llama/Llama-3.1-405B", 504),
        ("meta-llama/Llama-3.3-70B-Instruct", 320),
        ("codellama/CodeLlama-34b-Instruct-hf", 192),
        ("Qwen/Qwen2.5-7B-Instruct-1M", 56),
        ("Qwen/Qwen2.5-Coder-32B", 256),
        ("Qwen/Qwen3-8B", 144),
        ("mistralai/Mistral-7B-Instruct-v0.2", 128),
        ("mistralai/Mixtral-8x22B-v0.1", 224),
        ("google/gemma-2b-it", 18),
        ("google/gemma-7b", 448),
    ],
)
def test_a_token_of_a_known_family_takes_what_its_layers_and_heads_say(name: str, kib: int) -> None:
    known = architecture(name)
    assert known is not None
    assert known.kv_per_token * 2 == kib * 1024


@pytest.mark.parametrize(
    "name",
    [
        "mistralai/Mistral-7B-Instruct-v0.1",
        "google/gemma-2-9b",
        "Qwen/Qwen2.5-VL-72B-Instruct",
        "org/llama-2-70bx2",
        "org/chat",
        "qwen2.5-72b/chat",
        "org/llama-2-7b.5",
    ],
)
def test_other_layers_or_names_are_not_known(name: str) -> None:
    assert architecture(name) is None


def test_published_sizes_are_near_those_of_the_names() -> None:
    for name, known in ARCHITECTURES.items():
        (size,) = re.findall(r"(?<=-)([0-9x]+)b", name)
        experts, _, each = size.rpartition("x")
        named = int(experts or 1) * int(each) * 10**9
        assert 0.75 * named < known.parameters < 1.3 * named, name


# Where nothing is said

TOO_LARGE = "maxSeqLen: 1048576, maxBatchSize: 1"


@pytest.mark.parametrize(
    "args",
    [
        "'--cpu-offload-gb', '20'",
        "'--cpu_offload_gb=20'",
        "'--pipeline-parallel-size', '2'",
        "'-pp', '2'",
        "'--data-parallel-size=2'",
        "'--quantization', 'bitsandbytes'",
        "'-q', 'awq'",
        "'--load-format', 'bitsandbytes'",
        "'--hf-overrides', '{}'",
        "'--kv-cache-memory-bytes', '1'",
        "'--num-gpu-blocks-override', '9'",
        "'--config', 'a.yaml'",
        "'--runner', 'pooling'",
    ],
)
def test_arguments_that_change_the_sum_silence_the_proof(args: str) -> None:
    assert codes(of(gpus=1, config=f"{TOO_LARGE}, extraArgs: [{args}]")) == []


@pytest.mark.parametrize("args", ["'--enable-prefix-caching'", "'--compilation-config', '{}'", "'--seed', '1'"])
def test_other_arguments_do_not(args: str) -> None:
    assert codes(of(gpus=1, config=f"{TOO_LARGE}, extraArgs: [{args}]")) == ["P402"]


def test_a_cache_of_a_type_that_is_not_known_is_not_counted() -> None:
    assert codes(of(config=f"{TOO_LARGE}, extraArgs: ['--kv-cache-dtype', 'nvfp4']")) == []
    assert codes(of(gpus=1, config="extraArgs: ['--kv-cache-dtype']")) == ["P402"]


@pytest.mark.parametrize(
    "name",
    [
        "Qwen/Qwen2.5-72B-Instruct-AWQ",
        "Qwen/Qwen2.5-72B-Instruct-GPTQ-Int4",
        "neuralmagic/Meta-Llama-3.1-405B-Instruct-FP8",
        "org/llama-70b-w8a8",
        "org/llama-70b-4bit",
        "openai/gpt-oss-120b",
    ],
)
def test_a_checkpoint_that_is_quantized_by_its_name_is_not_counted_unless_policy_says_how(name: str) -> None:
    assert codes(of(name, 1)) == []
    assert codes(of(name, 1, "quantization: int4", gpu="t4")) == ["P402"]


def test_a_path_may_be_that_of_a_quantized_checkpoint_too() -> None:
    assert codes(of(gpus=1, more="modelPath: s3://models/qwen-awq")) == []
    assert codes(of(gpus=1, more="modelPath: s3://models/qwen")) == ["P402"]


@pytest.mark.parametrize(
    "document_",
    [
        of("org/chat", 1),
        of(gpus=0),
        of(gpus=1, more="framework: tensorrt-llm"),
        of(gpus=1, more="framework: triton\nmodelPath: pvc://models/qwen"),
    ],
)
def test_what_is_not_known_is_not_refused(document_: str) -> None:
    assert codes(document_) == []


# Parts of GPUs


def test_a_slice_has_the_memory_that_the_catalogue_says() -> None:
    sliced = pool("slice", "mode: mig")
    (found,) = told(of("o/a-70b", 1, gpu="slice"), sliced, SLICE)
    assert found.message == "big cannot start: 117.3 weights of 36 GiB, KV not counted"
    assert found.hint == "a gpuType with more memory, or quantization"
    assert codes(of("o/a-13b", 1, gpu="slice"), sliced, SLICE) == []


def test_a_part_of_a_gpu_by_vgpu_has_its_part_of_the_memory() -> None:
    shared = pool("a100-80g", "mode: vgpu, overcommitRatio: 4")
    (found,) = told(of("o/a-13b", 1), shared)
    assert found.message == "big cannot start: 21.8 weights of 18 GiB, KV not counted"


def test_turns_on_a_gpu_leave_it_whole() -> None:
    shared = pool("a100-80g", "mode: timeSlicing, overcommitRatio: 2")
    assert codes(of("o/a-13b", 1, "gpuMemoryUtilization: 0.4"), shared) == []
    assert codes(of("o/a-13b", 1, "gpuMemoryUtilization: 0.2"), shared) == ["P402"]


# Batches


def test_a_batch_of_which_a_quarter_fits_at_full_length_is_no_trouble() -> None:
    config = "maxSeqLen: 4096"  # 6 of these beside the weights
    assert codes(of(config=f"{config}, maxBatchSize: 24")) == []
    (found,) = told(of(config=f"{config}, maxBatchSize: 25"))
    assert (found.code, found.severity.value) == ("P403", "warning")
    assert found.message == "big: 6 of 25 sequences fit at full length"
    assert found.hint == "maxBatchSize: 24, or gpuCount: 4"
    assert codes(of(gpus=4, config=f"{config}, maxBatchSize: 25")) == []


@pytest.mark.parametrize(("framework", "code"), [("vllm", "P402"), ("tgi", "P402"), ("sglang", "P403")])
def test_engines_that_need_no_room_for_a_whole_sequence_start_without(framework: str, code: str) -> None:
    (found,) = told(of(config="maxSeqLen: 32768, maxBatchSize: 1", more=f"framework: {framework}"))
    assert found.code == code
    if code == "P403":
        assert found.message == "big: 0 of 1 sequences fit at full length"
        assert found.hint == "maxSeqLen: 28133, or gpuCount: 4"
    assert codes(of(gpus=1, more=f"framework: {framework}")) == ["P402"]


# Which way it goes

NAMES = st.sampled_from([*(f"org/{name}" for name in ARCHITECTURES), "org/a-70b", "org/a-13b"])
LENGTHS = st.integers(1, 2**20)


def refused(name: str, gpus: int, length: int, batch: int) -> tuple[bool, bool]:
    """Whether it cannot start, and whether that or its batch is told."""
    found = codes(of(name, gpus, f"maxSeqLen: {length}, maxBatchSize: {batch}"))
    return "P402" in found, bool(found)


@given(name=NAMES, gpus=st.integers(1, 15), length=LENGTHS, batch=st.integers(1, 512))
def test_more_gpus_never_refuse_what_fewer_hold(name: str, gpus: int, length: int, batch: int) -> None:
    fewer, more = refused(name, gpus, length, batch), refused(name, gpus + 1, length, batch)
    assert more <= fewer
    assert more[1] <= fewer[1]


@given(name=NAMES, gpus=st.integers(1, 16), length=st.integers(1, 2**19), more=st.integers(0, 2**19))
def test_shorter_sequences_never_refuse_what_longer_ones_leave_room_for(
    name: str, gpus: int, length: int, more: int
) -> None:
    short, long = refused(name, gpus, length, 64), refused(name, gpus, length + more, 64)
    assert short <= long
    assert short[1] <= long[1]


@given(name=NAMES, gpus=st.integers(1, 16), length=LENGTHS, batch=st.integers(1, 512))
def test_what_a_hint_says_is_enough(name: str, gpus: int, length: int, batch: int) -> None:
    for found in told(of(name, gpus, f"maxSeqLen: {length}, maxBatchSize: {batch}")):
        said = dict(re.findall(r"(\w+): ([0-9]+)", found.hint or ""))
        after = {"maxSeqLen": length, "maxBatchSize": batch, "gpuCount": gpus}
        for field, value in said.items():
            now = {**after, field: int(value)}
            config = f"maxSeqLen: {now['maxSeqLen']}, maxBatchSize: {now['maxBatchSize']}"
            assert found.code not in codes(of(name, now["gpuCount"], config))
