"""A policy folder as it is now, compiled, as what the control task is told."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from compiler import report
from compiler.diagnostics import Position
from compiler.pipeline import Compiled, compile_policies
from compiler.source import Sources
from xds.observe.events import PoliciesRead, fault
from xds.stages import Stages

log = logging.getLogger(__name__)


def compiled(root: Path, previous: Compiled | None, environment: str, stages: Stages) -> Compiled | None:
    """None for a compiler that raises what it should not."""
    try:
        return compile_policies(root, previous, environment, stages)
    except Exception:
        log.exception("compiler failed policies=%s", root)
        return None


def policies_read(
    root: Path,
    compiled: Compiled | None,
    *,
    saved_at: float,
    seconds: float,
    stages: Stages,
    commit: str,
    changed: tuple[str, ...],
    colour: bool,
    environment: str,
) -> PoliciesRead:
    """The parameters are those of `PoliciesRead`, but for `compiled`, which `compiled` gives."""
    folder = position(root)
    failed = (fault(folder, "the compiler"),)
    sources = Sources((), ()) if compiled is None else compiled.sources
    diagnostics = failed if compiled is None else compiled.diagnostics
    return PoliciesRead(
        folder,
        None if compiled is None else compiled.fleet,
        diagnostics,
        report.text(diagnostics, sources, root, colour),
        "" if compiled is None else digest(sources),
        saved_at,
        seconds,
        files=tuple((file.name, file.text) for file in sources.of(environment).files),
        commit=commit,
        changed=changed,
        stages=stages.passed,
    )


def position(root: Path) -> Position:
    """As the compiler names it: from the folder that holds the policy folder."""
    home = root if root.is_dir() else root.parent
    return Position(home.resolve().name if home is root else f"{home.resolve().name}/{root.name}", 0, 0)


def digest(sources: Sources) -> str:
    found = hashlib.blake2b(digest_size=8)
    for file in sources.files:
        found.update(f"{file.name}\0{file.digest}\0".encode())
    return found.hexdigest()
