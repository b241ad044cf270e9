"""Closing a connection under gRPC, whose server can end a stream only, and that only behind what is still to be sent.

There are two clients that this does not get rid of: one that takes nothing, and one that is to come back with another
certificate, which it shows on a new connection only.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from urllib.parse import unquote

OPEN_FILES = "/dev/fd"
"""Of this process, on Linux and macOS."""

Place = tuple[IPv4Address | IPv6Address, int]


def hang_up(peer: str) -> bool:
    """Whether a connection with `peer` was found and closed.

    `peer` is as gRPC writes it: `ipv4:10.0.0.1:4711`, `ipv6:%5B::1%5D:4711`. Where no more files may be open,
    none is found.
    """
    host, _, port = unquote(peer).partition(":")[2].rpartition(":")
    try:
        wanted = _place(host.strip("[]"), int(port))
    except ValueError:  # `unix:…`
        return False
    try:
        numbers = [file.name for file in Path(OPEN_FILES).iterdir()]
    except OSError:
        return False
    return any(_hung_up(int(number), wanted) for number in numbers)


def _hung_up(number: int, wanted: Place) -> bool:
    # The copy is the same file to the end, whatever gRPC opens and closes meanwhile.
    with suppress(OSError, ValueError), _socket(os.dup(number)) as copy:
        remote = copy.getpeername()
        if isinstance(remote, tuple) and _place(str(remote[0]), int(remote[1])) == wanted:
            copy.shutdown(socket.SHUT_RDWR)
            return True
    return False


def _socket(number: int) -> socket.socket:
    """Of most open files it is wrong that they are sockets: of these the number is closed. Raises OSError."""
    try:
        return socket.socket(socket.AF_INET6, socket.SOCK_STREAM, fileno=number)
    except OSError:
        os.close(number)
        raise


def _place(host: str, port: int) -> Place:
    """A socket that takes both kinds shows an IPv4 address as `::ffff:10.0.0.1`. Raises ValueError."""
    address = ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address, port
