"""The TLS part of a bootstrap: an Envoy shows its certificate to the control server, and follows its rotation.

An Envoy reads a certificate anew only where it comes by SDS, which may be a file that says where the certificate is.
https://www.envoyproxy.io/docs/envoy/latest/configuration/security/secret#certificate-rotation
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

Part = dict[str, Any]

CERTIFICATE, AUTHORITY = "turnout_certificate", "turnout_ca"
"""Names of the two secrets, and with `.json` of their files."""
_TYPES = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"


@dataclass(frozen=True, slots=True)
class XdsTls:
    """Paths are those on Envoy's machine."""

    ca: str
    """Who signs the control server's certificate."""
    certificate: str
    key: str
    sds: str
    """The folder of the files that `secrets` gives."""
    server_name: str
    """That the control server's certificate is to have: a DNS name, an IP address, or a SPIFFE ID."""


def transport_socket(tls: XdsTls) -> Part:
    context: Part = {
        "@type": f"{_TYPES}.UpstreamTlsContext",
        "common_tls_context": {
            # As a client Envoy would stop at 1.2.
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
            "tls_certificate_sds_secret_configs": [_secret_config(tls, CERTIFICATE)],
            "validation_context_sds_secret_config": _secret_config(tls, AUTHORITY),
        },
    }
    if _san_type(tls.server_name) == "DNS":
        context["sni"] = tls.server_name
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def secrets(tls: XdsTls) -> dict[str, Part]:
    """What is to be in `tls.sds` as JSON, by the file's name. They name certificates and keys, and hold none."""
    certificate = {
        "certificate_chain": {"filename": tls.certificate},
        "private_key": {"filename": tls.key},
        "watched_directory": {"path": _folder(tls.certificate)},
    }
    wanted = {"san_type": _san_type(tls.server_name), "matcher": {"exact": tls.server_name}}
    authority = {
        "trusted_ca": {"filename": tls.ca},
        "watched_directory": {"path": _folder(tls.ca)},
        "match_typed_subject_alt_names": [wanted],
    }
    return {
        f"{CERTIFICATE}.json": _response({"name": CERTIFICATE, "tls_certificate": certificate}),
        f"{AUTHORITY}.json": _response({"name": AUTHORITY, "validation_context": authority}),
    }


def _response(secret: Part) -> Part:
    return {"resources": [{"@type": f"{_TYPES}.Secret", **secret}]}


def _secret_config(tls: XdsTls, name: str) -> Part:
    source = {"path_config_source": {"path": f"{tls.sds}/{name}.json"}, "resource_api_version": "V3"}
    return {"name": name, "sds_config": source}


def _folder(path: str) -> str:
    parent, slash, _ = path.rpartition("/")
    return parent or slash or "."


def _san_type(name: str) -> str:
    if "://" in name:
        return "URI"
    try:
        ip_address(name)
    except ValueError:
        return "DNS"
    return "IP_ADDRESS"
