"""How the admin port answers."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web


def json_answer(document: dict[str, Any], status: int = 200) -> web.Response:
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    return web.Response(text=text, status=status, content_type="application/json")
