"""Mutual TLS of rendered Envoys with the control server: which certificates they show, and where these are mounted."""

from __future__ import annotations

import json

from compiler.emit.envoys.control_server import XDS_TLS, address
from compiler.emit.envoys.workload import Part, secret_volume
from compiler.envoy.xds_tls import XdsTls, secrets
from compiler.fleet import Platform

VOLUME = "xds-tls"


def xds_tls(platform: Platform, config_folder: str) -> XdsTls | None:
    """None where Platform has no TLS for xDS. `config_folder` is where the bootstrap is, and what `files` gives."""
    server = platform.control_server
    if server is None or server.tls_secret is None:
        return None
    ca, certificate, key = (f"{XDS_TLS}/{name}" for name in ("ca.crt", "tls.crt", "tls.key"))
    return XdsTls(ca, certificate, key, config_folder, address(platform).rpartition(":")[0])


def files(tls: XdsTls | None) -> dict[str, str]:
    """By name, for the ConfigMap with the bootstrap."""
    if tls is None:
        return {}
    return {name: json.dumps(content, indent=2) + "\n" for name, content in secrets(tls).items()}


def volumes(tls: XdsTls | None, secret: str) -> list[Part]:
    return [] if tls is None else [secret_volume(VOLUME, secret)]


def mounts(tls: XdsTls | None) -> list[Part]:
    """Whole, as an entry alone would never be renewed. https://kubernetes.io/docs/concepts/storage/volumes/#secret"""
    return [] if tls is None else [{"name": VOLUME, "mountPath": XDS_TLS, "readOnly": True}]
