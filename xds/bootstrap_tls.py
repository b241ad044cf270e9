"""The TLS part of a bootstrap: an Envoy shows its certificate to the control server, and follows its rotation.

An Envoy reads a certificate anew only where it comes by SDS, which may be a file that says where the certificate is.
https://www.envoyproxy.io/docs/envoy/latest/configuration/security/secret#certificate-rotation
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import PurePath

from betterproto2 import Casing
from envoy_data_plane.envoy.config.core.v3 import (
    ApiVersion,
    ConfigSource,
    DataSource,
    PathConfigSource,
    TransportSocket,
    WatchedDirectory,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    SdsSecretConfig,
    Secret,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    TlsCertificate,
    TlsParameters,
    TlsParametersTlsProtocol,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.service.discovery.v3 import DiscoveryResponse
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Any

CERTIFICATE, AUTHORITY = "turnout_certificate", "turnout_ca"
"""Names of the two secrets, and with `.json` of their files."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Paths are those on Envoy's machine."""

    ca: PurePath
    """Who signs the control server's certificate."""
    certificate: PurePath
    key: PurePath
    sds: PurePath
    """The folder of the files that `secrets` gives."""
    server_name: str
    """That the control server's certificate is to have: a DNS name, an IP address, or a SPIFFE ID."""


def transport_socket(tls: Tls) -> TransportSocket:
    san_type = _san_type(tls.server_name)
    context = UpstreamTlsContext(
        sni=tls.server_name if san_type is SubjectAltNameMatcherSanType.DNS else "",
        common_tls_context=CommonTlsContext(
            # As a client Envoy would stop at 1.2.
            tls_params=TlsParameters(
                tls_minimum_protocol_version=TlsParametersTlsProtocol.TLSv1_2,
                tls_maximum_protocol_version=TlsParametersTlsProtocol.TLSv1_3,
            ),
            tls_certificate_sds_secret_configs=[_secret_config(tls, CERTIFICATE)],
            validation_context_sds_secret_config=_secret_config(tls, AUTHORITY),
        ),
    )
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=Any.pack(context))


def secrets(tls: Tls) -> dict[str, str]:
    """Files that are to be in `tls.sds`, by name. They name certificates and keys, and hold none."""
    certificate = TlsCertificate(
        certificate_chain=DataSource(filename=str(tls.certificate)),
        private_key=DataSource(filename=str(tls.key)),
        watched_directory=WatchedDirectory(path=str(tls.certificate.parent)),
    )
    authority = CertificateValidationContext(
        trusted_ca=DataSource(filename=str(tls.ca)),
        watched_directory=WatchedDirectory(path=str(tls.ca.parent)),
        match_typed_subject_alt_names=[
            SubjectAltNameMatcher(san_type=_san_type(tls.server_name), matcher=StringMatcher(exact=tls.server_name))
        ],
    )
    return {
        f"{CERTIFICATE}.json": _file(Secret(name=CERTIFICATE, tls_certificate=certificate)),
        f"{AUTHORITY}.json": _file(Secret(name=AUTHORITY, validation_context=authority)),
    }


def _secret_config(tls: Tls, name: str) -> SdsSecretConfig:
    path = PathConfigSource(path=str(tls.sds / f"{name}.json"))
    source = ConfigSource(path_config_source=path, resource_api_version=ApiVersion.V3)
    return SdsSecretConfig(name=name, sds_config=source)


def _file(secret: Secret) -> str:
    response = DiscoveryResponse(resources=[Any.pack(secret)])
    return json.dumps(response.to_dict(casing=Casing.SNAKE), indent=2) + "\n"


def _san_type(name: str) -> SubjectAltNameMatcherSanType:
    if "://" in name:
        return SubjectAltNameMatcherSanType.URI
    try:
        ip_address(name)
    except ValueError:
        return SubjectAltNameMatcherSanType.DNS
    return SubjectAltNameMatcherSanType.IP_ADDRESS
