"""Until when a certificate holds: one field of it, read where X.509 puts it.

Only of certificates that the TLS library has verified, or whose key we have: this is no judge of them.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime

VERSION = 0xA0
"""Tag of a part that the oldest certificates go without. https://www.rfc-editor.org/rfc/rfc5280#section-4.1"""
UTC_TIME = 0x17
VALIDITY = 3
"""Parts before it: serial number, signature algorithm, issuer."""


def not_after(pem: bytes) -> datetime:
    """Of the first certificate in `pem`. Raises ValueError where there is none."""
    text = pem.decode("ascii", errors="replace")
    begin, end = text.find(ssl.PEM_HEADER), text.find(ssl.PEM_FOOTER)
    if not 0 <= begin < end:
        raise ValueError("no certificate")
    try:
        return _not_after(ssl.PEM_cert_to_DER_cert(text[begin : end + len(ssl.PEM_FOOTER)]))
    except (IndexError, StopIteration, ValueError) as problem:
        raise ValueError("no certificate") from problem


def _not_after(der: bytes) -> datetime:
    _, certificate = next(_parts(der))
    _, signed = next(_parts(certificate))
    parts = [(tag, content) for tag, content in _parts(signed) if tag != VERSION]
    _, end = _parts(parts[VALIDITY][1])
    return _moment(*end)


def _parts(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Tags and contents, one after the other. Raises IndexError for one that is cut off in its head."""
    at = 0
    while at < len(der):
        tag, length, at = der[at], der[at + 1], at + 2
        if length & 0x80:  # then it says how many bytes the length has
            size = length & 0x7F
            length, at = int.from_bytes(der[at : at + size], "big"), at + size
        yield tag, der[at : at + length]
        at += length


def _moment(tag: int, content: bytes) -> datetime:
    """Years of two digits are those of 1950 to 2049."""
    text = content.decode("ascii")
    if tag == UTC_TIME:
        text = ("19" if text >= "5" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
