"""What is no HTTP request is answered 400, and not logged: its text may have a token in it, and many may be sent."""

from __future__ import annotations

import logging

from aiohttp.http_exceptions import HttpProcessingError


def _is_ours(record: logging.LogRecord) -> bool:
    problem = record.exc_info[1] if record.exc_info else None
    return not isinstance(problem, HttpProcessingError)


SERVER_LOG = logging.getLogger("xds.admin.server")
"""For the HTTP server: faults of handlers, with their tracebacks."""
SERVER_LOG.addFilter(_is_ours)
