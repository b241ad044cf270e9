"""The Envoys of one gateway: where they run, who reaches them, and how they leave."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import timedelta

from compiler.emit.durations import whole_seconds
from compiler.emit.envoys import authenticated
from compiler.emit.envoys.control_server import address
from compiler.emit.envoys.workload import (
    LEAST_TO_BUDGET,
    LOCKED,
    Maker,
    Part,
    pod_security,
    resources,
    secret_volume,
)
from compiler.emit.names import APP, GATEWAY_APP, GATEWAY_LABEL, GATEWAY_METRICS, gateway_file, gateway_owner
from compiler.emit.object import Object, Wave
from compiler.emit.peers import PROMETHEUS, tcp
from compiler.envoy.bootstrap import SECRETS, bootstrap
from compiler.envoy.listening import (
    DRAIN_PATH,
    READY,
    admin_cluster,
    drain_cluster,
    drain_listener,
    free_ports,
    stats_listener,
)
from compiler.fleet import Gateway, Listener, Platform
from compiler.fleet.names import envoys_account
from compiler.yaml_text import yaml_text

_FIRST_PORT = 9901
_USER = 65532
"""As which the distroless images run."""
_ZONE_LABEL = "topology.kubernetes.io/zone"
_PRIVILEGED = 1024
_UNHEARD = timedelta(seconds=15)
"""As long may it take until nobody sends requests to a pod that is to end."""
_MOST_GRACE = timedelta(seconds=600)
_LAST_STEPS = timedelta(seconds=5)
_PATIENCE = 5
"""Seconds that a probe waits."""
_START_UP_FAILURES = 360
"""With `_PATIENCE` half an hour. Without a control server Envoy waits for ever, and to be begun again is no help."""
_FOLDER, _FILE = "/etc/turnout/envoy", "bootstrap.yaml"


def objects(gateway: Gateway, longest: timedelta, platform: Platform) -> tuple[Object, ...]:
    """`longest`: that an answer may take."""
    return tuple(_objects(gateway, longest, platform))


def _objects(gateway: Gateway, longest: timedelta, platform: Platform) -> Iterator[Object]:
    owner = gateway_owner(gateway)
    selected = {APP: GATEWAY_APP, GATEWAY_LABEL: owner.slug}
    maker = Maker(gateway_file(gateway), envoys_account(gateway.name), owner, gateway.origin, selected)
    files = _files(gateway, platform)
    yield maker.service_account()
    yield maker.ingress(
        [
            {"ports": tcp(*(entry.port for entry in gateway.listeners))},
            # The kubelet, whose calls need no rule, is the one that asks for a drain.
            {"from": [PROMETHEUS], "ports": tcp(GATEWAY_METRICS)},
        ]
    )
    yield maker.made("v1", "ConfigMap", Wave.ROUTING, data=files)
    digest = hashlib.blake2b("".join(files.values()).encode(), digest_size=8).hexdigest()
    # A ConfigMap that changes restarts nobody by itself.
    notes = {"turnout.dev/bootstrap": digest}
    yield maker.deployment(Wave.ROUTING, gateway.replicas, notes, _pod(gateway, longest, platform))
    yield maker.service(Wave.ROUTING, str(gateway.service_type), [_service_port(entry) for entry in gateway.listeners])
    if gateway.replicas >= LEAST_TO_BUDGET:
        yield maker.budget(Wave.ROUTING)


def _files(gateway: Gateway, platform: Platform) -> dict[str, str]:
    """Of the ConfigMap."""
    return {_FILE: _bootstrap(gateway, platform), **authenticated.files(authenticated.xds_tls(platform, _FOLDER))}


def _bootstrap(gateway: Gateway, platform: Platform) -> str:
    """As YAML. The node's id comes from the command line."""
    admin, stats, drain = _ports(gateway)
    document = bootstrap(
        node={"cluster": gateway.name},
        xds_address=address(platform),
        admin_port=admin,
        tls=authenticated.xds_tls(platform, _FOLDER),
        listeners=[stats_listener(stats), drain_listener(drain)],
        clusters=[admin_cluster(admin), drain_cluster(drain)],
    )
    return yaml_text(document)


def _ports(gateway: Gateway) -> tuple[int, ...]:
    """Of the admin page, of metrics and of the drain: none that policy listens on."""
    return free_ports(_FIRST_PORT, 3, {entry.port for entry in gateway.listeners})


def _pod(gateway: Gateway, longest: timedelta, platform: Platform) -> Part:
    secrets = sorted({entry.tls_secret for entry in gateway.listeners if entry.tls_secret is not None})
    # A Secret that is not there keeps the pod waiting: an Envoy without its certificate serves none of its listeners.
    mounted = [secret_volume(f"tls-{number}", name) for number, name in enumerate(secrets)]
    mounted += authenticated.volumes(authenticated.xds_tls(platform, _FOLDER), f"{_name(gateway)}-xds")
    grace = _UNHEARD + min(longest, _MOST_GRACE) + _LAST_STEPS
    return {
        "terminationGracePeriodSeconds": grace // timedelta(seconds=1),
        "securityContext": {**pod_security(_USER), **_sysctls(gateway)},
        "containers": [_container(gateway, platform, secrets)],
        "volumes": [{"name": "bootstrap", "configMap": {"name": _name(gateway)}}, *mounted],
    }


def _name(gateway: Gateway) -> str:
    return envoys_account(gateway.name)


def _sysctls(gateway: Gateway) -> Part:
    """Ports that only root may listen on elsewhere. Safe in Kubernetes' sense, as it is the pod's alone; the capability
    NET_BIND_SERVICE would be lost on a user who is not root.

    https://kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster/#safe-and-unsafe-sysctls
    """
    lowest = min(entry.port for entry in gateway.listeners)
    if lowest >= _PRIVILEGED:
        return {}
    return {"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": str(lowest)}]}


def _container(gateway: Gateway, platform: Platform, secrets: list[str]) -> Part:
    _, stats, drain = _ports(gateway)
    zoned = platform.pods_know_zones
    threads = max(1, gateway.resources.cpu // 1000 + (gateway.resources.cpu % 1000 > 0))
    return {
        "name": "envoy",
        "image": platform.envoy_image,
        "command": ["/usr/local/bin/envoy"],
        "args": [
            # Envoy takes no `--option=value`.
            *("--config-path", f"{_FOLDER}/{_FILE}"),
            *("--service-node", "$(POD_NAME)"),
            *(("--service-zone", "$(ZONE)") if zoned else ()),
            *("--concurrency", str(threads)),
            "--disable-hot-restart",
        ],
        "env": [_field("POD_NAME", "metadata.name"), *([_zone()] if zoned else [])],
        "ports": [
            *(_container_port(_port_name(entry), entry.port) for entry in gateway.listeners),
            _container_port(GATEWAY_METRICS, stats),
            _container_port("drain", drain),
        ],
        "resources": resources(gateway.resources),
        **_probes(),
        "lifecycle": {
            "preStop": {"httpGet": {"path": f"{DRAIN_PATH}?least={whole_seconds(_UNHEARD)}", "port": "drain"}}
        },
        "securityContext": LOCKED,
        "volumeMounts": [
            {"name": "bootstrap", "mountPath": _FOLDER, "readOnly": True},
            *(
                {"name": f"tls-{number}", "mountPath": f"{SECRETS}/{name}", "readOnly": True}
                for number, name in enumerate(secrets)
            ),
            *authenticated.mounts(authenticated.xds_tls(platform, _FOLDER)),
        ],
    }


def _probes() -> Part:
    """Nobody listens until the control server has told Envoy all: so long it is not ready, and not ill either."""
    handler = {"httpGet": {"path": READY, "port": GATEWAY_METRICS}, "timeoutSeconds": _PATIENCE}
    return {
        "startupProbe": {**handler, "periodSeconds": _PATIENCE, "failureThreshold": _START_UP_FAILURES},
        "readinessProbe": {**handler, "periodSeconds": _PATIENCE, "failureThreshold": 2},
        "livenessProbe": {**handler, "periodSeconds": 10, "failureThreshold": 6, "terminationGracePeriodSeconds": 30},
    }


def _field(name: str, path: str) -> Part:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _zone() -> Part:
    return _field("ZONE", f"metadata.labels['{_ZONE_LABEL}']")


def _port_name(entry: Listener) -> str:
    """15 characters at most, and Istio takes the protocol from it."""
    return f"{str(entry.protocol).lower()}-{entry.port}"


def _container_port(name: str, port: int) -> Part:
    return {"name": name, "containerPort": port}


def _service_port(entry: Listener) -> Part:
    return {"name": _port_name(entry), "port": entry.port, "targetPort": _port_name(entry)}
