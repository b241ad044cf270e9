"""The compiler in one page: policies/*.yaml → load → decode → link → prove → emit → files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from compiler.decode import Policies, decode
from compiler.diagnostics import Diagnostic, has_errors
from compiler.emit import EMITTERS
from compiler.fleet import Fleet
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


def compile_policies(root: Path, previous: Sources | None = None) -> Compiled:
    """All that can be known of the policies at `root`, in one run. Raises nothing for what policies say.

    `previous` saves parsing the files that have not changed since.
    """
    sources = load_sources(root, previous)
    policies, found = decode(sources.documents, sources.complete)
    fleet, linked = link(policies)
    # A value that is wrong as YAML is not judged a second time for what it says.
    judged = {d.position for d in sources.diagnostics}
    found = [*sources.diagnostics, *(d for d in (*found, *linked) if d.position not in judged)]
    if has_errors(found):
        fleet = None  # of the valid policies alone it would be another fleet
    if fleet is not None:
        found.extend(prove(fleet))
        found.extend(finding for emitter in EMITTERS for finding in emitter.diagnostics(fleet))
    ordered = tuple(sorted(dict.fromkeys(found), key=lambda d: (d.position, d.code, d.message)))
    return Compiled(None if has_errors(ordered) else fleet, ordered, sources, policies)


def manifests(fleet: Fleet) -> Mapping[str, bytes]:
    """The files of `rendered/`, by their path in it."""
    return rendered_files([made for emitter in EMITTERS for made in emitter.objects(fleet)])
