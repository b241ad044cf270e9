"""Which images Platform allows."""

from __future__ import annotations

from compiler.diagnostics import Diagnostic, Position, error
from compiler.link.platform import Settings


def check_image(
    image: str, place: Position, platform: Settings, found: list[Diagnostic], way_out: str | None = None
) -> None:
    if platform.require_digest and "@sha256:" not in image:
        said = f"image '{image}' is not pinned: Platform requires a digest"
        found.append(error("P109", place, said, way_out or "name@sha256:…"))
    registry, path = _registry(image)
    full = f"{registry}/{path}"
    if platform.registries and not any(full == r or full.startswith(r.rstrip("/") + "/") for r in platform.registries):
        hint = way_out or f"one of {', '.join(platform.registries)}"
        found.append(error("P111", place, f"registry {registry} is not allowed", hint))


def _registry(image: str) -> tuple[str, str]:
    """The host that `image` comes from, and the rest; a first part without dot or port is no host but a folder."""
    first, slash, rest = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first, rest
    return "docker.io", image
