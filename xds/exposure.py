"""Which options of `turnout serve` belong together, so that nothing is open to other machines by mistake."""

from __future__ import annotations

import argparse
from pathlib import Path

from xds.loopback import is_loopback
from xds.tls.files import Files

TLS = ("tls_cert", "tls_key", "tls_client_ca")
ADMIN_TLS = ("admin_cert", "admin_key")
TOKENS = ("admin_token_file", "admin_read_token_file")


def wrong_use(options: argparse.Namespace) -> str | None:
    for together in (TLS, ADMIN_TLS):
        missing = [name for name in together if getattr(options, name) is None]
        if 0 < len(missing) < len(together):
            return f"{_words(together)} go together: {_words(missing)} {'are' if missing[1:] else 'is'} missing"
    host = options.admin[0]
    if is_loopback(host):
        return None
    unguarded = options.admin_cert is None or all(getattr(options, name) is None for name in TOKENS)
    needs = f"it needs {_words(ADMIN_TLS)}, and {' or '.join(map(_word, TOKENS))}"
    return f"--admin {host} is open to other machines: {needs}" if unguarded else None


def files(certificate: Path | None, key: Path | None, client_ca: Path | None = None) -> Files | None:
    return None if certificate is None or key is None else Files(certificate, key, client_ca)


def _words(names: tuple[str, ...] | list[str]) -> str:
    words = [_word(name) for name in names]
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _word(name: str) -> str:
    return "--" + name.replace("_", "-")
