"""A policy folder as it is now, compiled, as what the control task is told."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from compiler import report
from compiler.diagnostics import Position, error
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
    shown: Path | None = None,
) -> PoliciesRead:
    """The parameters are those of `PoliciesRead`, but for `compiled`, which `compiled` gives. `shown` is what the
    folder is called to people; by default as it is."""
    folder = position(root)
    failed = (fault(folder, "the compiler"),)
    sources = Sources((), ()) if compiled is None else compiled.sources
    diagnostics = failed if compiled is None else compiled.diagnostics
    return PoliciesRead(
        folder,
        None if compiled is None else compiled.fleet,
        diagnostics,
        report.text(diagnostics, sources, shown or root, colour),
        "" if compiled is None else digest(sources),
        saved_at,
        seconds,
        files=tuple((file.name, file.text) for file in sources.of(environment).files),
        commit=commit,
        changed=changed,
        stages=stages.passed,
    )


def policies_refused(
    path: str, commit: str, why: str, hint: str, stays: str, since: float, colour: bool
) -> PoliciesRead:
    """Of a commit that is not even compiled. `path` is the policy folder, `stays` the commit that is served; empty
    where none has been read yet, and then the last good may be, from the disk."""
    kept = f"; {stays} stays" if stays else ""
    place = Position(path, 0, 0)
    found = (error("X109", place, f"commit {commit} refused: {why}{kept}", hint),)
    said = report.text(found, Sources((), ()), Path(path), colour)
    return PoliciesRead(place, None, found, said, "", since, 0.0, commit=commit)


def repository_lost(path: str, remote: str, problem: str, since: float, colour: bool) -> PoliciesRead:
    """Of a server that has not read any commit yet."""
    place = Position(path, 0, 0)
    message = f"{remote} cannot be read: {problem}"
    found = (error("X110", place, message, "it is tried again until it can be"),)
    return PoliciesRead(place, None, found, report.text(found, Sources((), ()), Path(path), colour), "", since, 0.0)


def position(root: Path) -> Position:
    """As the compiler names it: from the folder that holds the policy folder."""
    home = root if root.is_dir() else root.parent
    return Position(home.resolve().name if home is root else f"{home.resolve().name}/{root.name}", 0, 0)


def digest(sources: Sources) -> str:
    found = hashlib.blake2b(digest_size=8)
    for file in sources.files:
        found.update(f"{file.name}\0{file.digest}\0".encode())
    return found.hexdigest()
