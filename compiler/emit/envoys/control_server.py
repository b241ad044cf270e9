"""The control server: where it runs, what it reads, and who may ask it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from compiler.emit.envoys.workload import LEAST_TO_BUDGET, LOCKED, Maker, Part, pod_security, resources, secret_volume
from compiler.emit.names import (
    APP,
    CONTROL_APP,
    CONTROL_METRICS,
    GATEWAY_APP,
    SIDECARS_LABEL,
    platform_owner,
)
from compiler.emit.object import Object, Wave
from compiler.emit.peers import PROMETHEUS, in_namespaces, pods, tcp
from compiler.envoy.bootstrap import XDS_PORT
from compiler.fleet import ControlServer, Platform, Repository

_FILE = "platform/control-server.yaml"
_XDS = "grpc-xds"
_ADMIN_PORT = 18001
_SYNC_PORT = 18002
_METRICS_PORT = 18003
_USER = 65533
"""As which git-sync's image runs. The server's pod has this one alone, so that it can read what git-sync writes."""
_POLICIES, _LINK, _STATE, _GIT_SECRET = "/policies", "current", "/state", "/etc/git-secret"
XDS_TLS = "/etc/turnout/xds"
"""The folder with a certificate for xDS, in the pods of both sides."""
_PERIOD = "15s"
_OLD_TREES = "1m"
"""How long git-sync leaves the files of an earlier commit, which the server may be reading."""


def address(platform: Platform) -> str:
    """As Envoys of every namespace reach it."""
    return f"{CONTROL_APP}.{platform.namespace}.svc.cluster.local:{XDS_PORT}"


def objects(platform: Platform, namespaces: tuple[str, ...]) -> tuple[Object, ...]:
    """`namespaces`: of gateways that Turnout's own Envoys carry, sorted."""
    return tuple(_objects(platform, namespaces))


def _objects(platform: Platform, namespaces: tuple[str, ...]) -> Iterator[Object]:
    server = platform.control_server
    assert server is not None
    owner = platform_owner(platform, platform.namespace)
    maker = Maker(_FILE, CONTROL_APP, owner, server.origin, {APP: CONTROL_APP})
    yield maker.service_account()
    yield maker.ingress(list(_ingress(namespaces)))
    yield maker.deployment(Wave.CONTROL, server.replicas, {}, _pod(server))
    ports = [_service_port(_XDS, XDS_PORT), _service_port(CONTROL_METRICS, _METRICS_PORT)]
    yield maker.service(Wave.CONTROL, "ClusterIP", ports)
    if server.replicas >= LEAST_TO_BUDGET:
        yield maker.budget(Wave.CONTROL)


def _ingress(namespaces: tuple[str, ...]) -> Iterator[Part]:
    asking = [{**in_namespaces(*namespaces), **pods({APP: GATEWAY_APP})}] if namespaces else []
    # Whoever may label namespaces decides where Envoys beside clients are.
    sidecars = {"namespaceSelector": {"matchLabels": {SIDECARS_LABEL: "true"}}}
    yield {"from": [*asking, sidecars], "ports": tcp(_XDS)}
    yield {"from": [PROMETHEUS], "ports": tcp(CONTROL_METRICS)}


def _pod(server: ControlServer) -> Part:
    secret = server.repository.secret
    volumes: list[Part] = [{"name": name, "emptyDir": {}} for name in ("policies", "state", "tmp")]
    if secret is not None:
        volumes.append(secret_volume("git-secret", secret))
    if server.tls_secret is not None:
        volumes.append(secret_volume("xds-tls", server.tls_secret))
    return {
        "terminationGracePeriodSeconds": 30,
        "securityContext": pod_security(_USER),
        "initContainers": [_git_sync(server)],
        "containers": [_server(server)],
        "volumes": volumes,
    }


def _server(server: ControlServer) -> Part:
    return {
        "name": "control-server",
        "image": server.image,
        "args": [
            "serve",
            f"{_POLICIES}/{_LINK}/{server.repository.path}",
            *(["--env", server.environment] if server.environment else []),
            f"--listen=0.0.0.0:{XDS_PORT}",
            # What may read and change all stays in the pod; Prometheus and the kubelet find what they need beside it.
            f"--admin=127.0.0.1:{_ADMIN_PORT}",
            f"--metrics=0.0.0.0:{_METRICS_PORT}",
            *(_tls_options() if server.tls_secret else []),
            f"--state={_STATE}",
        ],
        "ports": [
            {"name": _XDS, "containerPort": XDS_PORT},
            {"name": CONTROL_METRICS, "containerPort": _METRICS_PORT},
        ],
        "resources": resources(server.resources),
        # Ready from its first policy on, and again not while it stops.
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": CONTROL_METRICS}, "periodSeconds": 5},
        "livenessProbe": {
            "httpGet": {"path": "/healthz", "port": CONTROL_METRICS},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        # Envoys that come meanwhile are to find another.
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
        "securityContext": LOCKED,
        "volumeMounts": [
            {"name": "policies", "mountPath": _POLICIES, "readOnly": True},
            {"name": "state", "mountPath": _STATE},
            *([{"name": "xds-tls", "mountPath": XDS_TLS, "readOnly": True}] if server.tls_secret else []),
        ],
    }


def _tls_options() -> list[str]:
    files = {"--tls-cert": "tls.crt", "--tls-key": "tls.key", "--tls-client-ca": "ca.crt"}
    return [f"{option}={XDS_TLS}/{file}" for option, file in files.items()]


def _git_sync(server: ControlServer) -> Part:
    """Runs beside the server, and begins before it: until the first commit is there, nobody has anything to serve.

    https://github.com/kubernetes/git-sync
    """
    repository = server.repository
    return {
        "name": "git-sync",
        "image": server.git_sync_image,
        "restartPolicy": "Always",
        "args": [
            f"--repo={repository.url}",
            f"--ref={repository.revision}",
            f"--root={_POLICIES}",
            f"--link={_LINK}",
            f"--period={_PERIOD}",
            f"--stale-worktree-timeout={_OLD_TREES}",
            # While the repository cannot be reached, what is there is served.
            "--max-failures=-1",
            "--submodules=off",
            f"--http-bind=:{_SYNC_PORT}",
            *_credentials(repository),
        ],
        **_username(repository),
        "ports": [{"name": "sync", "containerPort": _SYNC_PORT}],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
        "startupProbe": {"httpGet": {"path": "/", "port": "sync"}, "periodSeconds": 2, "failureThreshold": 300},
        "securityContext": LOCKED,
        "volumeMounts": [
            {"name": "policies", "mountPath": _POLICIES},
            {"name": "tmp", "mountPath": "/tmp"},
            *([{"name": "git-secret", "mountPath": _GIT_SECRET, "readOnly": True}] if repository.secret else []),
        ],
    }


def _credentials(repository: Repository) -> list[str]:
    if repository.secret is None:
        return []
    if _is_http(repository):
        return [f"--password-file={_GIT_SECRET}/password"]
    return [f"--ssh-key-file={_GIT_SECRET}/ssh-privatekey", f"--ssh-known-hosts-file={_GIT_SECRET}/known_hosts"]


def _username(repository: Repository) -> dict[str, Any]:
    """Git-sync takes a password from a file, and a name from its environment."""
    if repository.secret is None or not _is_http(repository):
        return {}
    entry = {"name": repository.secret, "key": "username"}
    return {"env": [{"name": "GITSYNC_USERNAME", "valueFrom": {"secretKeyRef": entry}}]}


def _is_http(repository: Repository) -> bool:
    return repository.url.startswith(("http://", "https://"))


def _service_port(name: str, port: int) -> Part:
    return {"name": name, "port": port, "targetPort": name}
