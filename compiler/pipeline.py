"""The compiler in one page: policies/*.yaml → load → overlay → decode → link → prove → emit → files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from compiler.decode import Policies, decode
from compiler.diagnostics import Diagnostic, has_errors
from compiler.emit import EMITTERS, argocd
from compiler.emit.object import Object
from compiler.environments import overlaid, unfit_environment
from compiler.fleet import Fleet
from compiler.kept import Kept
from compiler.link import link
from compiler.prove import clusters, prove
from compiler.render import rendered_files
from compiler.source import Sources, load_sources, sources_of

Passed = Callable[[str], None]
"""Told the name of each stage as it ends: `load`, `decode`, `link`, `prove`, `emit`."""


def _untold(_: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Compiled:
    """What became of a policy folder, in one environment."""

    environment: str
    """Empty where policies have none."""
    fleet: Fleet | None
    """None when there are errors."""
    diagnostics: tuple[Diagnostic, ...]
    """By place; each once."""
    sources: Sources
    """Of all environments."""
    policies: Policies
    kept: Kept
    """For the run after this one."""


def compile_policies(
    root: Path, previous: Compiled | None = None, environment: str = "", passed: Passed = _untold
) -> Compiled:
    """All that can be known of the policies at `root`, in one run. Raises nothing for what policies say.

    Policies with environments are those of one of them: `environment`. `previous` saves the work on all that has not
    changed since.
    """
    sources = load_sources(root, None if previous is None else previous.sources)
    passed("load")
    return _compiled(sources, root, environment, None if previous is None else previous.kept, passed)


def compile_environments(root: Path, environment: str = "") -> Mapping[str, Compiled]:
    """The policies at `root` in each of their environments, by its name, or in `environment` alone. Those without
    environments are in the one called "".
    """
    sources, kept = load_sources(root), None
    result: dict[str, Compiled] = {}
    for name in (environment,) if environment else sources.environments or ("",):
        result[name] = _compiled(sources, root, name, kept)
        kept = result[name].kept  # what environments have in common is worked out once
    fleets = {name: each.fleet for name, each in result.items() if each.fleet is not None}
    platforms = {name: fleet.platform for name, fleet in fleets.items()}
    for name, found in (*clusters.findings(fleets), *argocd.twins(platforms)):
        result[name] = _with(result[name], found)
    return result


def _with(compiled: Compiled, found: Diagnostic) -> Compiled:
    diagnostics = _ordered([*compiled.diagnostics, found])
    return replace(compiled, diagnostics=diagnostics, fleet=None if has_errors(diagnostics) else compiled.fleet)


def fleet_of(texts: Iterable[tuple[str, str]], environment: str = "") -> Fleet | None:
    """Of files, by name, that were compiled without errors before; they are not proven a second time.

    `None` where this compiler takes them for wrong all the same: another version of it has judged them.
    """
    _, fleet, found = _linked(sources_of(texts), Path(), environment, Kept())
    return None if has_errors(found) else fleet


def _compiled(every: Sources, root: Path, environment: str, before: Kept | None, passed: Passed = _untold) -> Compiled:
    kept = Kept(before)
    policies, fleet, found = _linked(every, root, environment, kept, passed)
    if has_errors(found):
        fleet = None  # of the valid policies alone it would be another fleet
    if fleet is not None:
        found.extend(prove(fleet, kept))
        passed("prove")
        found.extend(finding for emitter in EMITTERS for finding in emitter.diagnostics(fleet, kept))
        passed("emit")
    ordered = _ordered(found)
    if has_errors(ordered):
        # What was made of policies that are wrong may follow from the wrong ones among them.
        return Compiled(environment, None, ordered, every, policies, before or Kept())
    return Compiled(environment, fleet, ordered, every, policies, kept.closed())


def _linked(
    every: Sources, root: Path, environment: str, kept: Kept, passed: Passed = _untold
) -> tuple[Policies, Fleet | None, list[Diagnostic]]:
    sources, found = every.of(environment), list(unfit_environment(every, root, environment))
    documents = tuple(file.documents for file in sources.files if not file.environment)
    over = tuple(file.documents for file in sources.files if file.environment)
    if over:
        documents = overlaid(documents, over, kept, found)
    policies, decoded = decode(documents, sources.complete, kept)
    passed("decode")
    fleet, linked = link(policies, kept, environment)
    passed("link")
    # A value that is wrong as YAML is not judged a second time for what it says.
    judged = {d.position for d in sources.diagnostics}
    return (
        policies,
        fleet,
        [*sources.diagnostics, *(d for d in (*found, *decoded, *linked) if d.position not in judged)],
    )


def _ordered(found: list[Diagnostic]) -> tuple[Diagnostic, ...]:
    return tuple(sorted(dict.fromkeys(found), key=lambda d: (d.position, d.code, d.message)))


def objects(fleet: Fleet, environment: str, kept: Kept) -> tuple[Object, ...]:
    """All that is rendered of `fleet`. `kept` is that of an earlier run of this function."""
    made = tuple(item for emitter in EMITTERS for item in emitter.objects(fleet, kept))
    return (*made, *argocd.objects(fleet.platform, environment, made, kept))


def manifests(fleet: Fleet, kept: Kept | None = None, environment: str = "") -> Mapping[str, bytes]:
    """The files of `rendered/`, or of `rendered/<environment>/`, by their path in it.

    `kept` is that of an earlier run of this function.
    """
    kept = kept or Kept()
    return rendered_files(objects(fleet, environment, kept), kept)


def rendered(compiled: Mapping[str, Compiled], alone: bool = False) -> Mapping[str, bytes]:
    """The files of `rendered/`, for environments without errors; of one that stands `alone`, those of its folder."""
    files: dict[str, bytes] = {}
    for name, each in compiled.items():
        assert each.fleet is not None
        prefix = f"{name}/" if name and not alone else ""
        files |= {f"{prefix}{file}": data for file, data in manifests(each.fleet, each.kept, name).items()}
    return files
