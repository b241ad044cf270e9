"""gRPC and HTTP over TLS, each new connection with the certificate that is loaded by then."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

import grpc

from xds.tls.files import Certificates, Files, Loaded


@dataclass(frozen=True, slots=True)
class Tls:
    """Of both ports; None where one has no TLS."""

    xds: Certificates | None
    admin: Certificates | None

    @classmethod
    def load(cls, xds: Files | None, admin: Files | None) -> Tls:
        """Raises CertificateError."""
        return cls(
            None if xds is None else Certificates("xds", xds), None if admin is None else Certificates("admin", admin)
        )

    @property
    def all(self) -> tuple[Certificates, ...]:
        return tuple(each for each in (self.xds, self.admin) if each is not None)


def grpc_credentials(certificates: Certificates) -> grpc.ServerCredentials:
    """Clients must show a certificate of the client CA."""
    given = certificates.loaded

    def changed() -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC before each handshake, in threads of its own; None for the same as before."""
        nonlocal given
        if (found := certificates.loaded) is given:
            return None
        given = found
        return _configuration(found)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(given),
        changed,  # type: ignore[arg-type]  # the stubs leave out that it may give None
        require_client_authentication=True,
    )


def _configuration(loaded: Loaded) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(loaded.key, loaded.chain)], loaded.client_ca)


def http_context(certificates: Certificates) -> ssl.SSLContext:
    """A context that passes each handshake on to the one that is loaded: to load into one in use may leave it with
    a certificate and another's key."""

    def pass_on(connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        connection.context = certificates.loaded.context

    door = certificates.loaded.context
    door.sni_callback = pass_on  # for clients that name no server, too
    return door
