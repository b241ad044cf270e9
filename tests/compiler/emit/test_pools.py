"""Pools: queues, shares of GPUs, where pods are put, and weights in the nodes' memory."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from compiler.emit import kubernetes, pools
from compiler.emit.object import Object
from compiler.fleet import (
    ColdStart,
    Framework,
    Model,
    ModelPath,
    Node,
    Pool,
    PoolStrategy,
    Priority,
    Queue,
    Scheme,
    Sharing,
    SharingMode,
    ShmCache,
    Version,
    Zones,
)
from compiler.kept import Kept
from tests.compiler.emit.fleets import GI, at, engine, fleet, model, node, seconds, version

ANYWHERE = Zones((), None)


def a_pool(*nodes: Node, **fields: Any) -> Pool:
    whole = Pool(
        name="shared",
        nodes=nodes or (node("a", "az-1"), node("b", "az-2")),
        strategy=PoolStrategy.BINPACK,
        queue=None,
        sharing=Sharing(SharingMode.NONE, 1),
        shm_cache=ShmCache(0, "/dev/shm/model_cache"),
        labels=(),
        annotations=(),
        origin=at(3, "policies/pools.yaml"),
    )
    return replace(whole, **fields)


def in_pool(pool: Pool, own: Version | None = None, zones: Zones = ANYWHERE) -> Model:
    return replace(model("m", own or version()), pool=pool, zones=zones)


def pods(owned: Model) -> dict[str, Any]:
    made = kubernetes.objects(fleet(owned), Kept())
    return {o.body["metadata"]["name"]: o.body["spec"]["template"] for o in made if o.body["kind"] == "Deployment"}


def beside(owned: Model, *others: Pool) -> dict[str, Object]:
    assert owned.pool is not None
    of = replace(fleet(owned), pools=(owned.pool, *others))
    return {f"{o.body['kind']}/{o.body['metadata']['name']}": o for o in pools.objects(of, Kept())}


def terms(template: Any) -> list[dict[str, tuple[str, ...]]]:
    required = template["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    return [
        {item["key"]: tuple(item["values"]) for item in term["matchExpressions"]}
        for term in required["nodeSelectorTerms"]
    ]


# Queues


def test_a_queue_may_use_what_its_nodes_have() -> None:
    queue = beside(in_pool(a_pool(queue=Queue(5, False))))["Queue/shared"].body
    assert queue["spec"] == {
        "weight": 5,
        "reclaimable": False,
        "capability": {"cpu": "128", "memory": "1Ti", "nvidia.com/gpu": "8"},
    }
    assert "namespace" not in queue["metadata"]


def test_without_a_queue_nothing_is_volcanos() -> None:
    assert beside(in_pool(a_pool())) == {}
    assert "schedulerName" not in pods(in_pool(a_pool()))["m-1"]["spec"]


def test_the_pods_of_a_pool_with_a_queue_are_placed_by_volcano() -> None:
    template = pods(in_pool(a_pool(queue=Queue(1, True))))["m-1"]
    assert template["spec"]["schedulerName"] == "volcano"
    assert template["metadata"]["annotations"]["scheduling.volcano.sh/queue-name"] == "shared"


def test_volcanos_settings_are_its_own_where_no_gpu_is_shared() -> None:
    assert "ConfigMap/volcano-scheduler-configmap" not in beside(in_pool(a_pool(queue=Queue(1, True))))


# Shares


def test_no_queue_says_an_overcommit_ratio_which_a_queue_has_not() -> None:
    shared = a_pool(queue=Queue(1, True), sharing=Sharing(SharingMode.TIME_SLICING, 1.5))
    assert beside(in_pool(shared))["Queue/shared"].body["spec"]["capability"]["nvidia.com/gpu.shared"] == "12"


def test_the_overcommit_plugin_has_the_largest_ratio_as_a_number_with_a_point() -> None:
    shared = a_pool(queue=Queue(1, True), sharing=Sharing(SharingMode.TIME_SLICING, 2))
    other = replace(shared, name="other", sharing=Sharing(SharingMode.MPS, 3))
    text = beside(in_pool(shared), other)["ConfigMap/volcano-scheduler-configmap"].body["data"][
        "volcano-scheduler.conf"
    ]
    assert "overcommit-factor: 3.0\n" in text
    plugins = {p["name"]: p.get("arguments", {}) for tier in yaml.safe_load(text)["tiers"] for p in tier["plugins"]}
    assert plugins["overcommit"] == {"overcommit-factor": 3.0}
    assert plugins["binpack"]["binpack.resources.nvidia.com/gpu.shared"] == 10
    assert "deviceshare" not in plugins


@pytest.mark.parametrize(("mode", "key"), [(SharingMode.TIME_SLICING, "timeSlicing"), (SharingMode.MPS, "mps")])
def test_the_device_plugin_cuts_each_gpu_and_renames_the_shares(mode: SharingMode, key: str) -> None:
    shared = a_pool(sharing=Sharing(mode, 3))
    data = beside(in_pool(shared))["ConfigMap/turnout-device-plugin"].body["data"]
    assert yaml.safe_load(data["shared"])["sharing"] == {
        key: {
            "renameByDefault": True,
            "failRequestsGreaterThanOne": True,
            "resources": [{"name": "nvidia.com/gpu", "replicas": 3}],
        }
    }
    assert yaml.safe_load(data["default"]) == {"version": "v1"}
    (container,) = pods(in_pool(shared))["m-1"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"memory": "40Gi", "nvidia.com/gpu.shared": "1"}


def test_slices_are_gpus_of_another_product() -> None:
    sliced = a_pool(sharing=Sharing(SharingMode.MIG, 1))
    data = beside(in_pool(sliced))["ConfigMap/turnout-device-plugin"].body["data"]
    assert yaml.safe_load(data["shared"]) == {"version": "v1", "flags": {"migStrategy": "single"}}
    (container,) = pods(in_pool(sliced))["m-1"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_a_vgpu_is_asked_for_as_volcano_gives_it_out() -> None:
    shared = a_pool(queue=Queue(1, True), sharing=Sharing(SharingMode.VGPU, 2))
    template = pods(in_pool(shared))["m-1"]
    (container,) = template["spec"]["containers"]
    # 92 % of 80 GiB, for drivers report less than the maker; halved.
    vgpu = {"volcano.sh/vgpu-number": "1", "volcano.sh/vgpu-memory": "37683", "volcano.sh/vgpu-cores": "50"}
    assert container["resources"]["limits"] == {"memory": "40Gi", **vgpu}
    assert template["metadata"]["annotations"]["volcano.sh/vgpu-mode"] == "hami-core"
    settings = beside(in_pool(shared))["ConfigMap/volcano-scheduler-configmap"].body["data"]["volcano-scheduler.conf"]
    assert "deviceshare.VGPUEnable: true" in settings


# Places


def test_a_pod_runs_on_the_pools_nodes_in_its_zones() -> None:
    own = replace(version(), hot=1)
    made = pods(in_pool(a_pool(), own, Zones(("az-1",), "az-2")))
    assert terms(made["m-1"]) == [{"kubernetes.io/hostname": ("a",), "topology.kubernetes.io/zone": ("az-1",)}]
    assert terms(made["m-1-hot"]) == [{"kubernetes.io/hostname": ("b",), "topology.kubernetes.io/zone": ("az-2",)}]


def test_a_node_with_labels_is_found_by_them() -> None:
    labelled = tuple(
        node(name, "az-1", labels=(("group", group),)) for name, group in (("a", "x"), ("b", "x"), ("c", "y"))
    )
    found = terms(pods(in_pool(a_pool(*labelled, node("d", "az-1"))))["m-1"])
    assert found == [{"group": ("x",)}, {"group": ("y",)}, {"kubernetes.io/hostname": ("d",)}]


def test_nodes_with_other_gpus_are_left_out() -> None:
    mixed = a_pool(node("a", "az-1"), replace(node("b", "az-1"), gpu_product="NVIDIA-L4"))
    assert terms(pods(in_pool(mixed))["m-1"]) == [{"kubernetes.io/hostname": ("a",)}]


def test_a_pod_is_valid_also_where_no_node_fits_which_is_an_error_already() -> None:
    other = a_pool(replace(node("b", "az-1"), gpu_product="NVIDIA-L4"))
    assert terms(pods(in_pool(other))["m-1"]) == [{"kubernetes.io/hostname": ("b",)}]


def test_spot_nodes_carry_warm_and_cold_standbys_and_rather_those() -> None:
    own = replace(version(), hot=1, warm=1, cold=1)
    made = pods(in_pool(a_pool(node("a", "az-1"), node("s", "az-1", spot=True)), own))
    for name, hosts in {"m-1": ("a",), "m-1-hot": ("a",), "m-1-warm": ("a", "s"), "m-1-cold": ("a", "s")}.items():
        assert terms(made[name]) == [{"kubernetes.io/hostname": hosts}]
        rather = made[name]["spec"]["affinity"]["nodeAffinity"].get("preferredDuringSchedulingIgnoredDuringExecution")
        tolerated = {item["key"] for item in made[name]["spec"]["tolerations"]}
        assert ("cloud.google.com/gke-spot" in tolerated) == ("s" in hosts) == bool(rather)


@pytest.mark.parametrize(
    ("strategy", "side", "labels"),
    [
        (PoolStrategy.BINPACK, "podAffinity", {"turnout.dev/pool": "shared"}),
        (PoolStrategy.SPREAD, "podAntiAffinity", {"turnout.dev/pool": "shared"}),
        (PoolStrategy.AFFINITY, "podAffinity", {"turnout.dev/pool": "shared", "turnout.dev/gpus": "1"}),
    ],
)
def test_a_strategy_is_a_preference_that_the_pods_labels_meet(
    strategy: PoolStrategy, side: str, labels: dict[str, str]
) -> None:
    template = pods(in_pool(a_pool(strategy=strategy)))["m-1"]
    (preferred,) = template["spec"]["affinity"][side]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert preferred["podAffinityTerm"]["labelSelector"] == {"matchLabels": labels}
    assert preferred["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"
    assert labels.items() <= template["metadata"]["labels"].items()


def test_without_a_pool_a_pod_is_as_before() -> None:
    template = pods(model("m"))["m-1"]
    assert "affinity" not in template["spec"]
    assert not {"turnout.dev/pool", "turnout.dev/gpus"} & template["metadata"]["labels"].keys()


# Caches

CACHE = ShmCache(128 * GI, "/dev/shm/model_cache")


def kept(path: ModelPath, framework: Framework = Framework.VLLM, parameters: int | None = 7 * 10**9) -> Version:
    own = replace(engine(framework), model_path=path, parameters=parameters)
    return replace(version(), engine=own, cold_start=ColdStart(seconds(300), preload=True))


S3, HUB, CLAIM = (
    ModelPath(Scheme.S3, "bucket/m"),
    ModelPath(Scheme.HF, "org/m"),
    ModelPath(Scheme.PVC, "weights/m/7b"),
)


def test_an_instance_loads_from_the_folder_that_the_daemon_fills() -> None:
    owned = in_pool(a_pool(shm_cache=CACHE), kept(S3))
    filler = beside(owned)["DaemonSet/m-1-cache"].body["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in filler["volumes"]}
    folder = volumes["cache"]["hostPath"]["path"]
    spec = pods(owned)["m-1"]["spec"]
    (weights,) = (volume for volume in spec["volumes"] if volume["name"] == "weights")
    # `Directory`: the kubelet waits for it, and it appears when it is whole.
    assert weights["hostPath"] == {"path": f"{folder}/weights", "type": "Directory"}
    (container,) = spec["containers"]
    assert container["args"][0] == "/models"
    assert "runai_streamer" not in container["args"]
    assert {"name": "weights", "mountPath": "/models", "readOnly": True} in container["volumeMounts"]


def test_the_daemon_runs_on_every_node_that_may_run_an_instance() -> None:
    zones = Zones(("az-1",), "az-2")
    pool = a_pool(node("a", "az-1"), node("b", "az-2", spot=True), node("c", "az-3"), shm_cache=CACHE)
    template = beside(in_pool(pool, replace(kept(S3), warm=1), zones))["DaemonSet/m-1-cache"].body["spec"]["template"]
    assert terms(template) == [{"kubernetes.io/hostname": ("a", "b")}]


@pytest.mark.parametrize(("path", "told"), [(HUB, ["HF_TOKEN"]), (S3, []), (CLAIM, [])])
def test_the_daemon_has_the_token_of_hugging_face_and_not_the_instances(path: ModelPath, told: list[str]) -> None:
    owned = in_pool(a_pool(shm_cache=CACHE), kept(path))
    (filler,) = beside(owned)["DaemonSet/m-1-cache"].body["spec"]["template"]["spec"]["containers"]
    assert [variable["name"] for variable in filler.get("env", ())] == told
    assert "env" not in pods(owned)["m-1"]["spec"]["containers"][0]


def test_the_cache_makes_room_for_no_instance_that_waits_for_it() -> None:
    """Without a class it is the first whose place a scheduler gives to them."""
    owned = replace(in_pool(a_pool(shm_cache=CACHE), kept(S3)), priority=Priority.HIGH)
    filler = beside(owned)["DaemonSet/m-1-cache"].body["spec"]["template"]["spec"]
    assert filler["priorityClassName"] == "turnout-high" == pods(owned)["m-1"]["spec"]["priorityClassName"]


def test_no_service_takes_the_daemon_for_an_instance() -> None:
    owned = in_pool(a_pool(shm_cache=CACHE), kept(S3))
    labels = beside(owned)["DaemonSet/m-1-cache"].body["spec"]["template"]["metadata"]["labels"]
    services = [o.body for o in kubernetes.objects(fleet(owned), Kept()) if o.body["kind"] == "Service"]
    assert services
    assert not any(body["spec"]["selector"].items() <= labels.items() for body in services)


@pytest.mark.parametrize(("parameters", "memory"), [(7 * 10**9, "16Gi"), (None, "130Gi")])
def test_who_writes_the_weights_asks_for_their_memory(parameters: int | None, memory: str) -> None:
    """13.04 GiB and two for itself; the whole cache where nobody knows how large they are."""
    owned = in_pool(a_pool(shm_cache=CACHE), kept(S3, parameters=parameters))
    (container,) = beside(owned)["DaemonSet/m-1-cache"].body["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"] == memory


@pytest.mark.parametrize(
    ("path", "framework", "found"),
    [
        (S3, Framework.VLLM, []),
        (HUB, Framework.VLLM, []),
        (HUB, Framework.SGLANG, []),
        (HUB, Framework.TGI, ["tgi has no preloadToShm from hf://"]),
        (S3, Framework.TRITON, ["triton has no preloadToShm from s3://"]),
        (CLAIM, Framework.TRITON, []),
        (CLAIM, Framework.TGI, []),
    ],
)
def test_what_an_image_cannot_copy_is_refused(path: ModelPath, framework: Framework, found: list[str]) -> None:
    owned = in_pool(a_pool(shm_cache=CACHE), kept(path, framework))
    assert [d.message for d in pools.diagnostics(fleet(owned), Kept())] == found
    assert ("DaemonSet/m-1-cache" in beside(owned)) == (not found)


def test_a_claim_is_mounted_where_it_is_copied_from() -> None:
    spec = beside(in_pool(a_pool(shm_cache=CACHE), kept(CLAIM)))["DaemonSet/m-1-cache"].body["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["args"] == ["cp", "-rL", "/models/m/7b/.", "/cache/partial"]
    assert {"name": "weights", "mountPath": "/models", "readOnly": True} in container["volumeMounts"]
    claim = {"name": "weights", "persistentVolumeClaim": {"claimName": "weights", "readOnly": True}}
    assert claim in spec["volumes"]


@contextmanager
def filling(folder: Path, *argv: str) -> Iterator[subprocess.Popen[bytes]]:
    """The daemon's own script, with `folder` for /cache."""
    spec = beside(in_pool(a_pool(shm_cache=CACHE), kept(S3)))["DaemonSet/m-1-cache"].body["spec"]["template"]["spec"]
    shell, flag, script, name = spec["containers"][0]["command"]
    argv = tuple(arg.replace("/cache", str(folder)) for arg in argv)
    running = subprocess.Popen([shell, flag, script.replace("/cache", str(folder)), name, *argv])
    try:
        yield running
    finally:
        running.kill()
        running.wait()


def appears(path: Path, running: subprocess.Popen[bytes]) -> None:
    while not path.exists():
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(0.02)


def test_the_daemon_shows_the_weights_when_they_are_whole_and_takes_them_away_when_it_ends(tmp_path: Path) -> None:
    source, cache = tmp_path / "source", tmp_path / "cache"
    source.mkdir()
    (source / "model.safetensors").write_bytes(b"x" * 1000)
    (cache / "weights").mkdir(parents=True)
    (cache / "weights" / "stale").touch()
    with filling(cache, "cp", "-rL", f"{source}/.", "/cache/partial") as running:
        appears(cache / "weights" / "model.safetensors", running)
        assert not (cache / "weights" / "stale").exists()
        assert not (cache / "partial").exists()
        running.send_signal(signal.SIGTERM)
        assert running.wait(10) == 0
    assert list(cache.iterdir()) == []


def test_the_daemon_ends_where_the_weights_cannot_be_copied_and_shows_none(tmp_path: Path) -> None:
    with filling(tmp_path, "sh", "-c", "touch /cache/partial/half; exit 3") as running:
        assert running.wait(10) == 3
    assert not (tmp_path / "weights").exists()


def test_the_daemon_can_be_ended_while_it_copies(tmp_path: Path) -> None:
    with filling(tmp_path, "sh", "-c", "touch /cache/partial/half; exec sleep 60") as running:
        appears(tmp_path / "partial" / "half", running)
        running.send_signal(signal.SIGTERM)
        assert running.wait(10) == 0
    assert list(tmp_path.iterdir()) == []
