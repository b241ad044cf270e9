"""Addresses as Envoy reads them."""

from __future__ import annotations

from ipaddress import ip_address


def numeric_address(text: str) -> str:
    """An IP address in its usual spelling. Raises ValueError for what is none to Envoy: it knows no zone, as in
    `fe80::1%eth0`, and refuses the resource."""
    if "%" in text:
        raise ValueError(f"{text!r} names a zone")
    return str(ip_address(text))
