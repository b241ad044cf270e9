"""GPU pools: which one a model is in, what they hold, and what they cannot."""

from __future__ import annotations

import pytest

from compiler.diagnostics import Severity
from compiler.fleet import weights_on_disk
from compiler.link.parameters import size
from compiler.prove import prove
from tests.compiler.policies import codes, document, fleet, linked, model, one_model

SCALING = document("Platform", "platform", 'prometheus: {address: "http://prometheus:9090"}')
TWO_OF_FOUR = """
nodes:
  - {name: a, zone: az-1, gpuCount: 4, cpu: 64, memory: 512Gi}
  - {name: b, zone: az-2, gpuCount: 4, cpu: 64, memory: 512Gi}
"""


def pool(name: str = "shared", nodes: str = TWO_OF_FOUR, more: str = "") -> str:
    return document("GPUPool", name, f"{nodes}\n{more}")


def node(name: str = "a", zone: str = "az-1", gpus: int = 4, more: str = "") -> str:
    return f"{{name: {name}, zone: {zone}, gpuCount: {gpus}, cpu: 256, memory: 2Ti{more}}}"


def nodes(*listed: str) -> str:
    return f"nodes: [{', '.join(listed)}]"


def told(*documents: str) -> list[tuple[str, Severity, str]]:
    """What proofs say of room, caches and shares."""
    kept = ("P404", "P405", "P411", "P418", "P445", "P446")
    return [(d.code, d.severity, d.message) for d in prove(fleet(*documents)) if d.code in kept]


# Which pool


def test_a_model_is_in_the_only_pool() -> None:
    found = one_model(model(), pool())
    assert found.pool is not None
    assert found.pool.name == "shared"


def test_without_pools_a_model_is_in_none() -> None:
    assert one_model(model()).pool is None


def test_a_model_without_gpus_is_in_a_pool_only_where_it_says_so() -> None:
    spec = "resources: {gpuCount: 0}"
    assert one_model(model(spec=spec), pool()).pool is None
    assert one_model(model(spec=f"{spec}\npool: shared"), pool()).pool is not None


def test_with_several_pools_a_model_names_its_own() -> None:
    assert codes(model(), pool("a", nodes(node("a"))), pool("b", nodes(node("b")))) == ["P113"]
    found = one_model(model(spec="pool: b"), pool("a", nodes(node("a"))), pool("b", nodes(node("b"))))
    assert found.pool is not None
    assert found.pool.name == "b"


def test_an_unknown_pool_is_dangling_and_an_invalid_one_is_not() -> None:
    assert codes(model(spec="pool: shard"), pool()) == ["P203"]
    assert codes(model(spec="pool: broken"), document("GPUPool", "broken", "nodes: []")) == ["P104"]
    assert codes(model(), pool(), document("GPUPool", "broken", "nodes: []")) == ["P104", "P113"]


def test_the_defaults_of_the_platform_may_name_the_pool() -> None:
    platform = document("Platform", "platform", "defaults: {pool: b}")
    found = one_model(model(), platform, pool("a", nodes(node("a"))), pool("b", nodes(node("b"))))
    assert found.pool is not None
    assert found.pool.name == "b"


# What a pool is


def test_a_node_with_a_count_is_as_many_nodes() -> None:
    (found,) = fleet(model(), pool(nodes=nodes(node("n", more=", count: 3"), node("m")))).pools
    assert [each.name for each in found.nodes] == ["n-0", "n-1", "n-2", "m"]
    assert found.gpus == 16


def test_a_node_is_in_one_place() -> None:
    assert codes(model(), pool(nodes=nodes(node("a"), node("a")))) == ["P204"]
    assert codes(
        model(spec="pool: x"), pool("x", nodes(node("a-1"))), pool("y", nodes(node("a", more=", count: 2")))
    ) == ["P204"]


def test_pools_of_one_slug_are_refused() -> None:
    assert codes(model(spec="pool: a.b"), pool("a.b", nodes(node("a"))), pool("a-b", nodes(node("b")))) == ["P207"]


def test_a_gpu_that_no_catalogue_knows_is_refused_and_a_prefix_is_read() -> None:
    assert codes(model(), pool(nodes=nodes(node(more=", gpuType: a100")))) == ["P103"]
    assert codes(model(), pool(nodes=nodes(node(more=", gpuType: nvidia.com/a100-80g")))) == ["P226"]


@pytest.mark.parametrize("name", ["default", "root"])
def test_volcanos_own_queues_are_not_taken(name: str) -> None:
    assert codes(model(), pool(name, more="queue: {}")) == ["P115"]
    assert codes(model(), pool(name)) == []


# Sharing

SLICE = document(
    "Platform", "platform", "gpuCatalogue: {slice: {label: NVIDIA-A100-SXM4-80GB-MIG-1g.10gb, memoryGiB: 10}}"
)


@pytest.mark.parametrize(
    ("sharing", "found"),
    [
        ("sharing: {overcommitRatio: 1.5}", ["P221"]),
        ("sharing: {mode: none, overcommitRatio: 1}", []),
        ("sharing: {mode: timeSlicing, overcommitRatio: 2}", []),
        ("sharing: {mode: timeSlicing}", ["P240"]),
        ("sharing: {mode: mps}", ["P240"]),
        ("sharing: {mode: mps, overcommitRatio: 1.5}", ["P240"]),
        ("sharing: {mode: mps, overcommitRatio: 1.5}\nqueue: {}", []),
        ("sharing: {mode: vgpu, overcommitRatio: 2}", ["P240"]),
        ("sharing: {mode: vgpu, overcommitRatio: 2}\nqueue: {}", []),
        ("sharing: {mode: mig}", ["P240"]),
        ("sharing: {mode: mig, overcommitRatio: 2}", ["P221", "P240"]),
    ],
)
def test_a_way_of_sharing_has_what_it_needs(sharing: str, found: list[str]) -> None:
    assert codes(model(), pool(more=sharing)) == found


def test_slices_are_a_type_of_the_catalogue() -> None:
    sliced = pool(nodes=nodes(node(gpus=28, more=", gpuType: slice")), more="sharing: {mode: mig}")
    assert codes(model(spec="resources: {gpuType: slice}"), sliced, SLICE) == []


@pytest.mark.parametrize(
    ("ratio", "shares", "of_sixteen"), [("1.5", 2, 24), ("2", 2, 32), ("1.1", 2, 17), ("3", 3, 48)]
)
def test_a_ratio_cuts_each_gpu_and_counts_all_shares(ratio: str, shares: int, of_sixteen: int) -> None:
    more = f"queue: {{}}\nsharing: {{mode: timeSlicing, overcommitRatio: {ratio}}}"
    (found,) = fleet(model(spec="config: {gpuMemoryUtilization: 0.3}"), pool(more=more)).pools
    assert found.sharing.shares == shares
    assert found.sharing.of_all(16) == of_sixteen


def test_shares_and_slices_are_no_whole_gpus() -> None:
    more = "sharing: {mode: timeSlicing, overcommitRatio: 2}"
    spec = "resources: {gpuCount: 2}\nconfig: {gpuMemoryUtilization: 0.4}"
    assert told(model(spec=spec), pool(more=more)) == [("P445", Severity.ERROR, "chat: 2 shares are not 2 GPUs")]


@pytest.mark.parametrize(
    ("mode", "each", "found"),
    [("timeSlicing", 0.5, False), ("timeSlicing", 0.51, True), ("mps", 0.5, False), ("mps", 0.51, True)],
)
def test_engines_without_walls_between_them_do_not_ask_for_more_than_a_gpu(mode: str, each: float, found: bool) -> None:
    spec = f"replicas: 2\nconfig: {{gpuMemoryUtilization: {each}}}"
    said = told(model(spec=spec), pool(more=f"sharing: {{mode: {mode}, overcommitRatio: 2}}"))
    assert [code for code, *_ in said] == (["P446"] if found else [])


def test_one_engine_alone_may_fill_a_gpu_that_is_given_in_turns() -> None:
    more = "sharing: {mode: timeSlicing, overcommitRatio: 2}"
    assert told(model(), pool(more=more)) == []
    assert [code for code, *_ in told(model(spec="replicas: 2"), pool(more=more))] == ["P446"]


# Room


def test_a_pool_that_is_too_small_is_told_with_what_lacks() -> None:
    spec = "replicas: 3\nresources: {gpuCount: 4}"
    said = "shared lacks 4 GPUs: 1 of 3 × chat 1 (2 nodes: 0 of 4 GPUs free)"
    assert told(model(spec=spec), pool()) == [("P404", Severity.ERROR, said)]


def test_an_instance_that_no_node_holds_does_not_fit_however_many_gpus_there_are() -> None:
    said = "shared lacks 8 GPUs: 1 of 1 × chat 1 (2 nodes: 4 of 8 GPUs free)"
    assert told(model(spec="resources: {gpuCount: 8}"), pool()) == [("P404", Severity.ERROR, said)]


def test_a_type_that_the_pool_has_not_is_told() -> None:
    said = "shared lacks 1 GPU: 1 of 1 × chat 1 (2 nodes: other GPU)"
    assert told(model(spec="resources: {gpuType: l4}"), pool()) == [("P404", Severity.ERROR, said)]


def tight(replicas: int, recovery: str = "", framework: str = "vllm") -> list[tuple[str, Severity, str]]:
    """Instances of a GPU on one node of four."""
    spec = (
        f"replicas: {replicas}\nframework: {framework}\ncoldStart: {{preloadToShm: {str(framework != 'vllm').lower()}}}"
    )
    spec = f"{spec}\nmodelPath: host:///m\nconfig: {{parameters: 1B}}"
    more = [document("DisasterRecovery", "recovery", f"models: [{{name: chat, {recovery}}}]")] if recovery else []
    return told(model(spec=spec), *more, pool(nodes=nodes(node(gpus=4)), more="shmCache: {size: 8Gi}"))


def test_hot_standbys_count_whole_and_cold_ones_not_at_all() -> None:
    assert tight(2, "hotStandby: 1, coldStandby: 5") == []
    assert [severity for _, severity, _ in tight(2, "hotStandby: 3")] == [Severity.ERROR]


def test_one_that_sleeps_keeps_its_gpu() -> None:
    assert tight(2, "warmStandby: 1") == []
    assert [severity for _, severity, _ in tight(2, "warmStandby: 3")] == [Severity.ERROR]


def test_the_weights_of_one_that_sleeps_are_in_its_nodes_memory() -> None:
    """40 GiB each, and 14 for the weights of 7B: 94 with one active instance."""
    chat = model(spec="modelPath: host:///m\nconfig: {parameters: 7B}")
    recovery = document("DisasterRecovery", "recovery", "models: [{name: chat, warmStandby: 1}]")

    def on(memory: str) -> list[Severity]:
        there = pool(nodes=nodes(f"{{name: a, zone: az-1, gpuCount: 4, cpu: 64, memory: {memory}}}"))
        return [severity for code, severity, _ in told(chat, recovery, there) if code == "P404"]

    assert Severity.ERROR not in on("94Gi")
    assert Severity.ERROR in on("93Gi")


def test_of_those_that_wait_for_a_gpu_half_are_promoted_at_once() -> None:
    assert tight(1, "warmStandby: 4", "sglang") == []
    assert [severity for _, severity, _ in tight(2, "warmStandby: 5", "sglang")] == [Severity.ERROR]


def test_what_load_may_ask_for_and_the_pool_has_not_is_told() -> None:
    def scaled(most: int) -> list[tuple[str, Severity, str]]:
        spec = f"autoscaling: {{minReplicas: 1, maxReplicas: {most}}}"
        return told(SCALING, model(spec=spec), pool(nodes=nodes(node(gpus=4))))

    said = "shared lacks 2 GPUs for maxReplicas: 2 of 6 × chat 1 (1 node: 0 of 1 GPUs free)"
    assert scaled(6) == [("P404", Severity.WARNING, said)]
    assert scaled(4) == []


def test_a_rollout_without_room_for_the_new_beside_the_old_is_told() -> None:
    said = "shared lacks 1 GPU for a new instance beside the old: chat 1"
    assert tight(4) == [("P404", Severity.WARNING, said)]
    assert tight(3) == []


def test_what_the_caches_take_of_a_nodes_memory_is_no_room() -> None:
    spec = "modelPath: host:///m\nconfig: {parameters: 10B}\ncoldStart: {preloadToShm: true}"
    small = "nodes: [{name: a, zone: az-1, gpuCount: 4, cpu: 64, memory: 60Gi}]"
    said = "shared lacks 1 GPU: 1 of 1 × chat 1 (1 node: 39Gi of 40Gi memory free)"
    assert told(model(spec=spec), pool(nodes=small, more="shmCache: {size: 20Gi}")) == [("P404", Severity.ERROR, said)]
    assert told(model(spec=spec), pool(nodes=small.replace("60", "102"), more="shmCache: {size: 20Gi}")) == []


# A zone lost

ACTIVE_PASSIVE = "azFailover: {strategy: active-passive, activeZones: [az-1, az-2], standbyZone: az-3}"


def recovered(replicas: int, standbys: str, per_zone: int) -> list[tuple[str, Severity, str]]:
    recovery = document("DisasterRecovery", "recovery", f"models: [{{name: chat, {standbys}}}]\n{ACTIVE_PASSIVE}")
    three = nodes(*(node(f"n{n}", f"az-{n}", per_zone) for n in (1, 2, 3)))
    return told(model(spec=f"replicas: {replicas}"), recovery, pool(nodes=three))


def test_standbys_stand_in_for_what_a_lost_zone_ran() -> None:
    assert recovered(4, "hotStandby: 2", per_zone=3) == []
    assert recovered(4, "hotStandby: 1, coldStandby: 1", per_zone=3) == []


def test_what_recovery_promises_must_fit_with_any_zone_lost() -> None:
    (first, *_) = recovered(4, "hotStandby: 1", per_zone=2)[-1:]
    said = "shared lacks 1 GPU, az-1 or az-2 lost: 1 of 3 × chat 1 (1 node: 0 of 1 GPUs free, 1 node: other zone)"
    assert first == ("P404", Severity.ERROR, said)


def test_what_nobody_promises_is_only_told() -> None:
    two = nodes(node("a", "az-1"), node("b", "az-2"))
    said = "shared lacks 2 GPUs, az-1 or az-2 lost: 2 of 6 × chat 1 (1 node: 0 of 1 GPUs free)"
    assert told(model(spec="replicas: 6"), pool(nodes=two)) == [("P404", Severity.WARNING, said)]


def test_a_version_without_requests_may_wait_while_a_zone_is_lost() -> None:
    two = nodes(node("a", "az-1"), node("b", "az-2"))
    versions = "versions: [{name: '1', weight: 100, replicas: 4}, {name: '2', weight: 0, replicas: 2}]"
    assert told(model(spec=versions), pool(nodes=two)) == []


def test_the_only_zone_is_not_lost() -> None:
    assert told(model(), pool(nodes=nodes(node()))) == []


# Spot


def test_spot_nodes_carry_no_active_and_no_hot_instance() -> None:
    spot = nodes(node("a", gpus=1), node("b", more=", spot: true"))
    said = "spot nodes carry 1 of 2 × chat 1"
    assert told(model(spec="replicas: 2"), pool(nodes=spot)) == [("P418", Severity.ERROR, said)]


def test_spot_nodes_carry_warm_standbys() -> None:
    recovery = document("DisasterRecovery", "recovery", "models: [{name: chat, warmStandby: 3}]")
    assert told(model(), recovery, pool(nodes=nodes(node("a", gpus=3), node("b", more=", spot: true")))) == []


def test_labels_that_find_spot_nodes_too_are_refused() -> None:
    same = nodes(node("a", more=", labels: {gpu: a}"), node("b", more=", labels: {gpu: a, kind: spot}, spot: true"))
    said = "spot nodes carry what belongs on a: b has its labels too"
    assert told(model(), pool(nodes=same)) == [("P418", Severity.ERROR, said)]
    apart = same.replace("labels: {gpu: a}", "labels: {gpu: a, kind: steady}")
    assert told(model(), pool(nodes=apart)) == []


# Caches

PRELOAD = "coldStart: {preloadToShm: true}"


def test_weights_that_are_kept_fit_into_the_cache() -> None:
    two = [model(name, f"modelPath: host:///m\nconfig: {{parameters: 10B}}\n{PRELOAD}") for name in ("a", "b")]
    assert told(*two, pool(more="shmCache: {size: 38Gi}")) == []
    said = "cache of shared: 37.3 of 37 GiB"
    assert told(*two, pool(more="shmCache: {size: 37Gi}")) == [("P411", Severity.ERROR, said)]


def test_a_cache_whose_size_is_not_said_is_as_large_as_what_is_kept_there() -> None:
    spec = f"modelPath: host:///m\nconfig: {{parameters: 10B}}\n{PRELOAD}"
    assert told(model(spec=spec), pool()) == []
    small = "nodes: [{name: a, zone: az-1, gpuCount: 4, cpu: 64, memory: 60Gi}]"
    said = "shared lacks 1 GPU: 1 of 1 × chat 1 (1 node: 39Gi of 40Gi memory free)"
    assert told(model(spec=spec), pool(nodes=small)) == [("P404", Severity.ERROR, said)]
    said = "size of chat unknown, and so what shared keeps"
    assert told(model(spec=f"modelPath: host:///m\n{PRELOAD}"), pool()) == [("P411", Severity.ERROR, said)]


def test_without_a_cache_or_a_pool_nothing_is_kept() -> None:
    spec = f"modelPath: host:///m\nconfig: {{parameters: 1B}}\n{PRELOAD}"
    none = pool(more="shmCache: {size: 0}")
    assert told(model(spec=spec), none) == [("P411", Severity.ERROR, "cache of shared: 1.9 of 0 GiB")]
    assert told(model(spec=spec)) == [("P411", Severity.ERROR, "chat: no pool keeps its weights")]


def test_weights_of_unknown_size_are_told() -> None:
    said = told(model(spec=f"modelPath: host:///m\n{PRELOAD}"), pool(more="shmCache: {size: 8Gi}"))
    assert said == [("P405", Severity.INFO, "size of chat unknown")]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("meta-llama/Llama-2-70b-chat-hf", 70 * 10**9),
        ("Qwen/Qwen2.5-72B-Instruct", 72 * 10**9),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", 56 * 10**9),
        ("Qwen/Qwen3-30B-A3B", 30 * 10**9),
        ("facebook/opt-350m", 350 * 10**6),
        ("Qwen/Qwen2.5-1.5B", 1_500_000_000),
        ("example/gpt-4-8b", 8 * 10**9),
        ("microsoft/Phi-3-mini-4k-instruct", None),
        ("BAAI/bge-m3", None),
        ("70b/chat", None),
    ],
)
def test_a_name_says_how_large_a_model_is(name: str, parameters: int | None) -> None:
    found = size(None, None, name)
    assert (found and found.parameters) == parameters


def test_policy_says_it_before_the_weights_name_and_that_before_the_models_own() -> None:
    sizes = [size("7B", None, "org/chat-13b", "chat-70b"), size(None, None, "org/chat-13b", "chat-70b")]
    sizes.append(size(None, None, "org/chat", "chat-70b"))
    assert [each and each.parameters for each in sizes] == [7 * 10**9, 13 * 10**9, 70 * 10**9]


@pytest.mark.parametrize(
    ("config", "size"),
    [("", 2), ("dtype: float32", 4), ("quantization: awq", 0.5), ("quantization: int8", 1), ("quantization: fp8", 2)],
)
def test_the_size_of_a_file_follows_its_numbers(config: str, size: float) -> None:
    (version,) = one_model(model(spec=f"config: {{parameters: 10B, {config}}}")).versions
    assert weights_on_disk(version.engine) == size * 10**10


def test_what_an_engine_quantizes_at_load_is_16_bits_on_disk() -> None:
    of, found = linked(model(spec="framework: tgi\nconfig: {parameters: 10B, quantization: int8}"))
    assert of is not None, found
    assert weights_on_disk(of.models[0].versions[0].engine) == 2 * 10**10


# Apart


def test_what_must_outlive_a_zone_is_counted_as_kept_apart() -> None:
    two = [node("a", "az-1", 8), node("b", "az-2", 8)]
    documents = [
        model("chat", "replicas: 2\nresources: {gpuCount: 4}"),
        model("large", "resources: {gpuCount: 8}"),
        pool(nodes=nodes(*two)),
    ]
    assert [severity for _, severity, _ in told(*documents)] == [Severity.WARNING, Severity.WARNING]
    standby = document("DisasterRecovery", "recovery", "models: [{name: chat, coldStandby: 1}]")
    said = "shared lacks 4 GPUs: 1 of 2 × chat 1 (1 node: 0 of 4 GPUs free, 1 node: its zone has one more than another)"
    assert told(*documents, standby) == [("P404", Severity.ERROR, said)]
