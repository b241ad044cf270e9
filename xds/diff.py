"""`turnout diff`: what a change of policies does, between two revisions or folders."""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from compiler import report
from compiler.diagnostics import Diagnostic, Severity
from compiler.diff.changes import Changes, Side, changes
from compiler.diff.document import as_json, error_json
from compiler.diff.markdown import as_markdown, failed
from compiler.diff.profile import ProfileError, Recorded, read_profile
from compiler.diff.text import as_text
from compiler.pipeline import Compiled, compile_policies, objects
from compiler.revisions import Revision, RevisionError, revision, write_out
from compiler.source import Sources

OK, FAILED, USAGE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class _Read:
    """One side of the comparison."""

    name: str
    """For people: the revision or the folder."""
    root: Path
    compiled: Compiled
    revision: Revision | None


def run(options: argparse.Namespace, colour: bool) -> int:
    """Exit status: 0 told, whether something changes or not; 1 policies or profile have errors, or with --exit-code
    something changes; 2 wrong usage."""
    try:
        profile = None if options.profile is None else _profile(options.profile)
        with tempfile.TemporaryDirectory(prefix="turnout-diff-") as folder:
            base = _read(options.base, options, Path(folder) / "base")
            before = _side(base)
            head = _read(options.head, options, Path(folder) / "head", base.compiled)
    except ProfileError as problem:
        return _failed(options, FAILED, *problem.args)
    except RevisionError as problem:
        return _failed(options, USAGE, f"turnout diff: {report.printable(str(problem))}")
    after = _side(head)
    if before is None or after is None:
        _report([side for side in (base, head) if side.compiled.fleet is None], options, f"{base.name} → {head.name}")
        return FAILED
    found = changes(before, after, profile)
    print(_said(found, options.format, base.name, head.name, colour), end="")
    return FAILED if options.exit_code and found.any else OK


def _failed(options: argparse.Namespace, status: int, *lines: str) -> int:
    print(*lines, sep="\n", file=sys.stderr)
    if options.format == "json":
        print(error_json(lines), end="")
    return status


def _said(found: Changes, form: str, base: str, head: str, colour: bool) -> str:
    title = f"{base} → {head}"
    match form:
        case "json":
            return as_json(found, base, head)
        case "markdown":
            return as_markdown(found, title)
    return as_text(found, title, colour)


def _profile(path: Path) -> tuple[Recorded, ...]:
    """Raises ProfileError."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as lines:
            return read_profile(lines, str(path))
    except OSError as problem:
        raise ProfileError(f"{path}: {problem.strerror}") from problem


def _read(name: str | None, options: argparse.Namespace, target: Path, previous: Compiled | None = None) -> _Read:
    """A folder, or a revision; without a name the working tree. Raises RevisionError.

    What it has in common with `previous` is the same objects, and is not worked out a second time.
    """
    folder = options.policies if name is None else Path(name)
    if name is None or (name and folder.is_dir()):
        return _Read(str(folder), folder, compile_policies(folder, previous, options.env), None)
    of = revision(name, options.policies)
    target.mkdir()
    root = write_out(of, target)
    return _Read(name, root, compile_policies(root, previous, options.env), of)


def _side(read: _Read) -> Side | None:
    """None for policies that have errors."""
    compiled = read.compiled
    if compiled.fleet is None:
        return None
    return Side(compiled.fleet, objects(compiled.fleet, compiled.environment, compiled.kept))


def _report(broken: Iterable[_Read], options: argparse.Namespace, title: str) -> None:
    """As `turnout check` tells it, places in a revision as git writes them: `main:policies/models.yaml:3:1`."""
    told = [(read, *_placed(read)) for read in broken]
    if options.format == "markdown":
        # A comment has an end, so what has to be mended comes first.
        told = [(read, sorted(found, key=_is_no_error), sources) for read, found, sources in told]
    if options.format == "json":
        documents = [report.document(d, read.root) for read, found, _ in told for d in found]
        print(report.json_text(documents), end="")
        return
    text = "".join(
        f"{report.text(found, sources, read.root, colour=False)}{read.name}: {report.summary(found)}\n"
        for read, found, sources in told
    )
    if options.format == "markdown":
        print(failed(title, text), end="")
    else:
        print(text, end="", file=sys.stderr)


def _is_no_error(found: Diagnostic) -> bool:
    return found.severity is not Severity.ERROR


def _placed(read: _Read) -> tuple[list[Diagnostic], Sources]:
    compiled, of = read.compiled, read.revision
    if of is None:
        return list(compiled.diagnostics), compiled.sources
    prefix = read.root.name

    def named(file: str) -> str:
        within = file.removeprefix(prefix)
        return f"{of.name}:{of.folder}{within}" if of.folder else f"{of.name}:{within.removeprefix('/')}"

    names = "|".join(re.escape(file.name) for file in compiled.sources.files)
    places = re.compile(rf"(?<![^\s'(])(?:{names or '(?!)'})(?=:\d)")

    def said(text: str) -> str:
        """With the places that it names."""
        return places.sub(lambda place: named(place[0]), text.replace(str(read.root), named(prefix)))

    def told(found: Diagnostic) -> Diagnostic:
        position = found.position._replace(file=named(found.position.file))
        return replace(found, position=position, message=said(found.message), hint=said(found.hint))

    files = tuple(replace(file, name=named(file.name)) for file in compiled.sources.files)
    return [told(d) for d in compiled.diagnostics], Sources(files)
