"""How each engine is started, and what none of its arguments can say."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product

import pytest

from compiler.catalogue import FLAGS, flag_name
from compiler.emit import kubernetes
from compiler.emit.engines import launch
from compiler.fleet import Engine, Framework, ModelPath, ModelType, Quantization, Scheme, Tier
from compiler.kept import Kept
from tests.compiler.emit.fleets import engine, fleet, model, version

OBJECT_STORES = (Scheme.S3, Scheme.GS)
FILES_ONLY = (Framework.SGLANG, Framework.TGI, Framework.TENSORRT_LLM)


def command_line(
    given: Engine, served: tuple[str, ...] = ("m",), kind: ModelType = ModelType.LLM, tier: Tier = Tier.ACTIVE
) -> str:
    own = replace(version(), engine=given)
    started = launch(replace(model("m", own), served_names=served, type=kind), own, tier)
    return " ".join((*started.command, *started.args))


def codes(given: Engine, kind: ModelType = ModelType.LLM) -> list[tuple[str, str]]:
    owned = replace(model("m", replace(version(), engine=given)), type=kind)
    return [(d.code, d.message) for d in kubernetes.diagnostics(fleet(owned), Kept())]


def sized(framework: Framework) -> Engine:
    return replace(
        engine(framework),
        model_path=ModelPath(Scheme.PVC, "claim/m"),
        max_seq_len=16384,
        max_batch_size=32,
        tensor_parallel=4,
        gpu_memory_utilization=0.85,
    )


def test_vllm() -> None:
    assert command_line(replace(sized(Framework.VLLM), dtype="bfloat16"), ("m", "alias")) == (
        "vllm serve /models/m --host 0.0.0.0 --port 8000 --served-model-name m alias --max-model-len 16384"
        " --max-num-seqs 32 --tensor-parallel-size 4 --dtype bfloat16 --gpu-memory-utilization 0.85"
    )


def test_sglang() -> None:
    assert command_line(replace(sized(Framework.SGLANG), dtype="float16"), ("m", "alias")) == (
        "python3 -m sglang.launch_server --model-path /models/m --host 0.0.0.0 --port 8000 --served-model-name m"
        " --context-length 16384 --max-running-requests 32 --tp-size 4 --dtype float16 --mem-fraction-static 0.85"
        " --enable-metrics"
    )


def test_tgi() -> None:
    assert command_line(replace(sized(Framework.TGI), dtype="float16")) == (
        "--model-id /models/m --hostname 0.0.0.0 --port 8000 --max-total-tokens 16384 --max-input-tokens 16383"
        " --max-concurrent-requests 32 --num-shard 4 --dtype float16 --cuda-memory-fraction 0.85"
    )


def test_tensorrt_llm() -> None:
    assert command_line(sized(Framework.TENSORRT_LLM)) == (
        "trtllm-serve /models/m --host 0.0.0.0 --port 8000 --max_seq_len 16384 --max_batch_size 32 --tp_size 4"
        " --kv_cache_free_gpu_memory_fraction 0.85"
    )


def test_triton() -> None:
    assert command_line(sized(Framework.TRITON)) == (
        "tritonserver --model-repository /models/m --http-port 8000 --metrics-config=summary_latencies=true"
    )


@pytest.mark.parametrize("framework", Framework)
def test_engines_take_arguments_and_no_variables(framework: Framework) -> None:
    """MODEL_NAME, MAX_SEQ_LEN and the like are read by none of them."""
    made = list(kubernetes.objects(fleet(model("m", replace(version(), engine=sized(framework)))), Kept()))
    assert not any("'env'" in str(item.body) for item in made)


@pytest.mark.parametrize("framework", Framework)
def test_extra_arguments_come_last_as_they_stand(framework: Framework) -> None:
    given = replace(sized(framework), extra_args=("--seed", "7"))
    assert command_line(given).endswith(" --seed 7")


@pytest.mark.parametrize("framework", Framework)
def test_the_flags_that_policy_may_not_repeat_are_those_given(framework: Framework) -> None:
    dtypes = ("auto", "float16", "bfloat16", "float32")
    for scheme, quantization, dtype, kind in product(Scheme, Quantization, dtypes, ModelType):
        path = ModelPath(scheme, "/m" if scheme is Scheme.HOST else "b/k")
        given = replace(sized(framework), model_path=path, quantization=quantization, dtype=dtype)
        words = command_line(given, kind=kind).split()
        # A flag without a value does the same when it is given twice.
        valued = {flag_name(a) for a, b in pairwise(words) if a.startswith("--") and not b.startswith("--")}
        values = {"modelPath": scheme, "config.quantization": quantization, "config.dtype": dtype, "type": kind}
        known = {name for name, flag in FLAGS[framework].items() if not flag.when or values[flag.field] in flag.when}
        assert valued == known


@pytest.mark.parametrize(
    ("path", "argument"),
    [
        (ModelPath(Scheme.HF, "org/name"), "org/name"),
        (ModelPath(Scheme.S3, "bucket/key"), "s3://bucket/key"),
        (ModelPath(Scheme.GS, "bucket/key"), "gs://bucket/key"),
        (ModelPath(Scheme.PVC, "claim/a/b"), "/models/a/b"),
        (ModelPath(Scheme.PVC, "claim"), "/models"),
        (ModelPath(Scheme.HOST, "/data/m"), "/models"),
        (ModelPath(Scheme.OCI, "r.io/m:1"), "/models"),
    ],
)
def test_the_engine_is_told_where_the_weights_are(path: ModelPath, argument: str) -> None:
    assert command_line(replace(engine(), model_path=path)).startswith(f"vllm serve {argument} ")


@pytest.mark.parametrize("scheme", OBJECT_STORES)
def test_vllm_streams_weights_from_object_stores(scheme: Scheme) -> None:
    assert "--load-format runai_streamer" in command_line(replace(engine(), model_path=ModelPath(scheme, "b/k")))


@pytest.mark.parametrize("framework", [Framework.VLLM, Framework.SGLANG])
def test_quantized_weights_keep_the_engines_choice_of_kernel(framework: Framework) -> None:
    """Only fp8 is made at load time; `--quantization awq` would force a kernel several times slower than Marlin."""
    with_flag = [
        q for q in Quantization if "--quantization" in command_line(replace(engine(framework), quantization=q))
    ]
    assert with_flag == [Quantization.FP8]


def test_tgi_is_told_how_weights_are_quantized() -> None:
    lines = {q: command_line(replace(engine(Framework.TGI), quantization=q)) for q in Quantization}
    named = {q: line.split("--quantize ")[1].split()[0] for q, line in lines.items() if "--quantize" in line}
    assert named == {"awq": "awq", "gptq": "gptq", "fp8": "fp8", "int8": "eetq"}


def test_an_embedding_model_is_started_as_one() -> None:
    assert "--runner pooling" in command_line(engine(), kind=ModelType.EMBEDDING)
    assert "--is-embedding" in command_line(engine(Framework.SGLANG), kind=ModelType.EMBEDDING)
    assert codes(engine(Framework.TGI), ModelType.EMBEDDING) == [("P307", "tgi has no type embedding")]


def test_only_a_warm_standby_may_sleep() -> None:
    assert [tier for tier in Tier if "--enable-sleep-mode" in command_line(engine(), tier=tier)] == [Tier.WARM]


@pytest.mark.parametrize("scheme", OBJECT_STORES)
@pytest.mark.parametrize("framework", FILES_ONLY)
def test_an_engine_that_reads_files_alone_is_told_where_they_are_copied_to(
    framework: Framework, scheme: Scheme
) -> None:
    given = replace(engine(framework), model_path=ModelPath(scheme, "b/k"))
    assert codes(given) == []
    assert " /models " in f" {command_line(given)} "
    assert f"{scheme}://" not in command_line(given)


@pytest.mark.parametrize("framework", [Framework.VLLM, Framework.TRITON])
def test_an_engine_that_reads_object_stores_is_told_the_address(framework: Framework) -> None:
    assert "s3://b/k" in command_line(replace(engine(framework), model_path=ModelPath(Scheme.S3, "b/k")))


@pytest.mark.parametrize(
    ("framework", "change", "setting"),
    [
        (Framework.TGI, {"dtype": "float32"}, "config.dtype float32"),
        (
            Framework.TGI,
            {"dtype": "float16", "quantization": Quantization.AWQ},
            "config.dtype beside config.quantization awq",
        ),
        (Framework.TENSORRT_LLM, {"dtype": "float16"}, "config.dtype float16"),
        (Framework.TENSORRT_LLM, {"quantization": Quantization.FP8}, "config.quantization fp8"),
        (Framework.TRITON, {"quantization": Quantization.INT4}, "config.quantization int4"),
        (Framework.TRITON, {"model_path": ModelPath(Scheme.HF, "org/name")}, "modelPath hf://"),
    ],
)
def test_a_setting_that_an_engine_lacks_is_refused(
    framework: Framework, change: dict[str, object], setting: str
) -> None:
    given = replace(sized(framework), **change)  # type: ignore[arg-type]
    assert codes(given) == [("P307", f"{framework} has no {setting}")]


@pytest.mark.parametrize("framework", Framework)
def test_a_mounted_model_at_its_defaults_runs_on_every_engine(framework: Framework) -> None:
    assert codes(sized(framework)) == []


@pytest.mark.parametrize("framework", [Framework.VLLM, Framework.SGLANG])
@pytest.mark.parametrize("quantization", Quantization)
def test_vllm_and_sglang_take_every_quantization(framework: Framework, quantization: Quantization) -> None:
    assert codes(replace(engine(framework), quantization=quantization)) == []
