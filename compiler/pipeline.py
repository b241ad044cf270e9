"""The compiler in one page: policies/*.yaml → load → decode → link → prove → emit → files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from compiler.decode import Policies, decode
from compiler.diagnostics import Diagnostic, has_errors
from compiler.emit import EMITTERS
from compiler.fleet import Fleet
from compiler.kept import Kept
from compiler.link import link
from compiler.prove import prove
from compiler.render import rendered_files
from compiler.source import Sources, load_sources


@dataclass(frozen=True, slots=True)
class Compiled:
    """What became of a policy folder."""

    fleet: Fleet | None
    """None when there are errors."""
    diagnostics: tuple[Diagnostic, ...]
    """By place; each once."""
    sources: Sources
    policies: Policies
    kept: Kept
    """For the run after this one."""


def compile_policies(root: Path, previous: Compiled | None = None) -> Compiled:
    """All that can be known of the policies at `root`, in one run. Raises nothing for what policies say.

    `previous` saves the work on all that has not changed since.
    """
    before = None if previous is None else previous.kept
    sources, kept = load_sources(root, None if previous is None else previous.sources), Kept(before)
    policies, found = decode((file.documents for file in sources.files), sources.complete, kept)
    fleet, linked = link(policies, kept)
    # A value that is wrong as YAML is not judged a second time for what it says.
    judged = {d.position for d in sources.diagnostics}
    found = [*sources.diagnostics, *(d for d in (*found, *linked) if d.position not in judged)]
    if has_errors(found):
        fleet = None  # of the valid policies alone it would be another fleet
    if fleet is not None:
        found.extend(prove(fleet, kept))
        found.extend(finding for emitter in EMITTERS for finding in emitter.diagnostics(fleet, kept))
    ordered = tuple(sorted(dict.fromkeys(found), key=lambda d: (d.position, d.code, d.message)))
    if has_errors(ordered):
        # What was made of policies that are wrong may follow from the wrong ones among them.
        return Compiled(None, ordered, sources, policies, before or Kept())
    return Compiled(fleet, ordered, sources, policies, kept.closed())


def manifests(fleet: Fleet, kept: Kept | None = None) -> Mapping[str, bytes]:
    """The files of `rendered/`, by their path in it. `kept` is that of the run that made `fleet`."""
    kept = kept or Kept()
    return rendered_files((made for emitter in EMITTERS for made in emitter.objects(fleet, kept)), kept)
