"""Which options belong together, so that nothing is open to other machines by mistake."""

from __future__ import annotations

import argparse
from pathlib import Path

from xds.loopback import is_loopback
from xds.tls.files import Files

TLS = ("tls_cert", "tls_key", "tls_client_ca")
ADMIN_TLS = ("admin_cert", "admin_key")
ENVOY_TLS = ("tls_ca", "tls_cert", "tls_key", "tls_sds")
TOKENS = ("admin_token_file", "admin_read_token_file")


def wrong_use(options: argparse.Namespace) -> str | None:
    """Of `turnout serve`."""
    if (torn := _torn(options, TLS) or _torn(options, ADMIN_TLS)) is not None:
        return torn
    host = options.admin[0]
    if is_loopback(host):
        return None
    unguarded = options.admin_cert is None or all(getattr(options, name) is None for name in TOKENS)
    needs = f"it needs {_words(ADMIN_TLS)}, and {' or '.join(map(_word, TOKENS))}"
    return f"--admin {host} is open to other machines: {needs}" if unguarded else None


def files(certificate: Path | None, key: Path | None, client_ca: Path | None = None) -> Files | None:
    return None if certificate is None or key is None else Files(certificate, key, client_ca)


def envoy_wrong_use(options: argparse.Namespace) -> str | None:
    """Of `turnout bootstrap`."""
    given = [name for name in (*ENVOY_TLS, "tls_server_name") if getattr(options, name) is not None]
    if options.static and given:
        return f"--static asks no control server, so {_words(given)} {'are' if given[1:] else 'is'} not for it"
    if options.tls_server_name is not None and options.tls_ca is None:
        return f"--tls-server-name is of TLS, which needs {_words(ENVOY_TLS)}"
    return _torn(options, ENVOY_TLS)


def _torn(options: argparse.Namespace, together: tuple[str, ...]) -> str | None:
    """What is wrong where some of the options are given, and not all."""
    missing = [name for name in together if getattr(options, name) is None]
    if not 0 < len(missing) < len(together):
        return None
    return f"{_words(together)} go together: {_words(missing)} {'are' if missing[1:] else 'is'} missing"


def _words(names: tuple[str, ...] | list[str]) -> str:
    words = [_word(name) for name in names]
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _word(name: str) -> str:
    return "--" + name.replace("_", "-")
