"""Secrets stand inline in Envoy's configuration; none of them leaves the server by its admin port."""

from __future__ import annotations

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.api_key_auth.v3 import api_key_auth_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, tls_pb2
from google.protobuf.message import Message

from xds.admin.redaction import REDACTED, redact

SECRET = "k-hunter2"
KEY = base_pb2.DataSource(inline_string=SECRET)


def socket() -> tls_pb2.UpstreamTlsContext:
    pair = common_pb2.TlsCertificate(private_key=KEY, password=base_pb2.DataSource(inline_bytes=SECRET.encode()))
    return tls_pb2.UpstreamTlsContext(common_tls_context={"tls_certificates": [pair]})


def cluster() -> cluster_pb2.Cluster:
    """Its secret is packed into it."""
    made = cluster_pb2.Cluster(name="c", transport_socket={"name": "tls"})
    made.transport_socket.typed_config.Pack(socket())
    made.typed_extension_protocol_options["x"].Pack(socket())
    return made


def api_keys() -> api_key_auth_pb2.ApiKeyAuth:
    return api_key_auth_pb2.ApiKeyAuth(credentials=[{"key": SECRET, "client": "acme"}])


@pytest.mark.parametrize("content", [socket(), cluster(), api_keys()], ids=["message", "packed", "in a list"])
def test_secrets_are_blanked_however_deep(content: Message) -> None:
    assert SECRET.encode() in content.SerializeToString()
    redact(content)
    assert SECRET.encode() not in content.SerializeToString()
    assert REDACTED.encode() in content.SerializeToString()


def test_what_is_no_secret_stays() -> None:
    plain = cluster_pb2.Cluster(name="c", connect_timeout={"seconds": 5})
    before = plain.SerializeToString()
    redact(plain)
    assert plain.SerializeToString() == before
