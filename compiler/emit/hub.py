"""Who a container is to Hugging Face, where it loads weights from there: many publishers ask."""

from __future__ import annotations

from typing import Any

from compiler.fleet import ModelPath, Scheme

_SECRET = "turnout-huggingface"
"""In the namespace of the model. It need not be there."""


def hub_token(path: ModelPath) -> dict[str, Any]:
    """Fields of a container that loads from `path` itself."""
    if path.scheme is not Scheme.HF:
        return {}
    read = {"name": _SECRET, "key": "token", "optional": True}
    return {"env": [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": read}}]}
