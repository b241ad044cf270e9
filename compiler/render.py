"""Objects to files: which bytes belong where, whether a folder holds them, and how it comes to."""

from __future__ import annotations

import difflib
import errno
import os
import shutil
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from json.encoder import encode_basestring_ascii as json_text
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from compiler.emit.argocd import FOLDER as ARGOCD
from compiler.emit.object import Object, place
from compiler.exclusive import alone
from compiler.kept import Kept
from compiler.ownership import ledger, ledger_text, line
from compiler.yaml_text import yaml_text

HEADER = "# Rendered by turnout; do not edit."
KUSTOMIZATION = "kustomization.yaml"
INDEX = "index.json"
OWNERSHIP = "ownership.json"
STAGING = ".turnout-staging"
"""Where files wait until all are written: within the folder, because that may be a mount point."""


def rendered_files(objects: Iterable[Object], kept: Kept | None = None) -> dict[str, bytes]:
    """Every file by its path in the rendered folder, sorted. The same objects in any order give the same bytes.

    Files of the very objects of the run that `kept` is of are not made again.
    Raises ValueError for two objects with one key: linking refuses names that would lead there (P207).
    """
    kept = kept or Kept()
    by_file: dict[str, list[Object]] = defaultdict(list)
    for item in objects:
        by_file[item.file].append(item)
    made = [kept.last(("file", file), tuple(items), _file, (items,)) for file, items in by_file.items()]
    rows = dict(row for file in made for row in file.rows)
    if len(rows) < sum(len(file.rows) for file in made):
        _refuse_twins(by_file)
    texts = {file: made.text for file, made in zip(by_file, made, strict=True)}
    for folder, listed in _kustomized(by_file).items():
        texts[f"{folder}{KUSTOMIZATION}"] = _kustomization(listed).encode()
    texts[INDEX] = _index(rows).encode()
    texts[OWNERSHIP] = ledger_text(chain.from_iterable(file.owned for file in made)).encode()
    return {file: texts[file] for file in sorted(texts)}


class _File(NamedTuple):
    text: bytes
    rows: tuple[tuple[str, str], ...]
    """Of the index, by the keys of the objects."""
    owned: tuple[str, ...]
    """Lines of the ledger."""


def _file(items: Iterable[Object]) -> _File:
    keyed = sorted((((item.wave, item.body["kind"], item.key), item) for item in items), key=itemgetter(0))
    text = f"{HEADER}\n" + "---\n".join(yaml_text(item.body) for _, item in keyed)
    rows = tuple((key, _row(key, item)) for (*_, key), item in keyed)
    return _File(text.encode(), rows, tuple(map(line, ledger(items))))


def _row(key: str, item: Object) -> str:
    said, file, origin = map(json_text, (key, item.file, place(item.origin)))
    return f'{{"object": {said}, "file": {file}, "origin": {origin}}}'


def _refuse_twins(by_file: Mapping[str, list[Object]]) -> None:
    first: dict[str, Object] = {}
    for item in chain.from_iterable(by_file.values()):
        if first.setdefault(item.key, item) is not item:
            raise ValueError(f"two objects {item.key}, from {first[item.key].origin} and {item.origin}")


def write(files: Mapping[str, bytes], directory: Path) -> tuple[str, ...]:
    """Make `directory` hold `files`, and none that an earlier run rendered; which of all these were written or removed.

    Files that are right already are not touched, nor are files of others: where one of those has a name that is needed,
    FileExistsError is raised. Raises OSError for what else goes wrong; after any of it, or after Ctrl-C,
    the folder is as it was before: everything is staged first, and what has been moved in is moved back out. A process
    that is killed while it moves leaves some files old and some new, until the next run. A folder that is new is moved
    to its place as a whole. Where another run writes there, or in a folder of it, this one waits for its turn.
    """
    with alone(directory):
        new = not directory.exists()
        with _staging(directory.with_name(f".{directory.name}{STAGING}") if new else directory / STAGING) as staging:
            if not new:
                return _swap(files, directory, staging / "after", staging / "before")
            _fill(staging / "after", files)
            (staging / "after").replace(directory)
            return tuple(files)


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """`folder`, empty but for what keeps it out of git if this run is killed."""
    if folder.exists():
        shutil.rmtree(folder)
    try:
        folder.mkdir()
        (folder / ".gitignore").write_text("*\n")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fill(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir()
    _make_parents(folder, files)
    for file, data in files.items():
        with open(f"{folder}/{file}", "wb") as opened:  # noqa: PTH123 - as in `_read`
            opened.write(data)


def _swap(files: Mapping[str, bytes], directory: Path, staged: Path, before: Path) -> tuple[str, ...]:
    changed = {file: found for file, data in files.items() if (found := _read(directory, file)) != data}
    gone = _orphans(directory, files)
    for file, found in changed.items():
        if _is_foreign(file, found):
            said = "not rendered by turnout, so not overwritten; move it, or choose another folder"
            raise FileExistsError(errno.EEXIST, said, str(directory / file))
    staged.mkdir()
    fresh = {file: staged / str(number) for number, file in enumerate(changed)}
    for file, path in fresh.items():
        path.write_bytes(files[file])
    added = [file for file, found in changed.items() if found is None]
    replaced = [*(file for file, found in changed.items() if found is not None), *gone]
    _make_parents(before, replaced)
    for file in replaced:
        shutil.copy2(directory / file, before / file)
    try:
        _make_parents(directory, changed)
        for file, path in fresh.items():
            path.replace(directory / file)
        for file in gone:
            (directory / file).unlink()
    except BaseException:
        _restore(directory, before, replaced, added)
        _remove_empty_folders(directory, changed)
        raise
    _remove_empty_folders(directory, gone)
    return (*changed, *gone)


def _make_parents(folder: Path, files: Iterable[str]) -> None:
    for parent in {file.rpartition("/")[0] for file in files}:
        (folder / parent).mkdir(parents=True, exist_ok=True)


def drift(files: Mapping[str, bytes], directory: Path) -> str:
    """How `directory` differs from `files`, as a unified diff towards `files`; empty where it does not."""
    orphans = _orphans(directory, files)
    return "".join(
        line for file in sorted({*files, *orphans}) for line in _diff(file, _read(directory, file), files.get(file))
    )


def _kustomized(files: Iterable[str]) -> dict[str, list[str]]:
    """What stands in the kustomization of the folder itself, and in that of the folder for Argo CD's own cluster."""
    inside = f"{ARGOCD}/"
    found: dict[str, list[str]] = {"": []}
    for file in files:
        folder = inside if file.startswith(inside) else ""
        found.setdefault(folder, []).append(file.removeprefix(folder))
    return found


def _kustomization(files: Iterable[str]) -> str:
    body = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": sorted(files)}
    return f"{HEADER}\n{yaml_text(body)}"


def _index(rows: Mapping[str, str]) -> str:
    """One row a line, so that a changed object is a changed line."""
    return "[\n" + ",\n".join(f"  {rows[key]}" for key in sorted(rows)) + "\n]\n"


def _orphans(directory: Path, files: Container[str]) -> list[str]:
    """What earlier runs have rendered below `directory` that is not among `files`, sorted: what begins with our header,
    less what a run that was killed has left in staging; and the indexes beside our kustomizations."""
    found = []
    for folder, folders, names in os.walk(directory):
        here = Path(folder)
        inside = "" if here == directory else f"{here.relative_to(directory).as_posix()}/"
        folders[:] = [name for name in folders if not name.endswith(STAGING)]
        others = (name for name in names if name.endswith(".yaml") and f"{inside}{name}" not in files)
        found += [f"{inside}{name}" for name in others if _is_rendered(here / name)]
        if KUSTOMIZATION in names and _is_rendered(here / KUSTOMIZATION):
            beside = (f"{inside}{name}" for name in (INDEX, OWNERSHIP) if name in names)
            found += [file for file in beside if file not in files and (directory / file).is_file()]
    return sorted(found)


def _is_rendered(path: Path) -> bool:
    mark = f"{HEADER}\n".encode()
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(mark)) == mark


def _is_foreign(file: str, found: bytes | None) -> bool:
    """What carries no mark of ours anywhere: a file with conflict markers of a merge above our header is ours."""
    if not found:
        return False
    mark = b'"object":' if PurePosixPath(file).name in (INDEX, OWNERSHIP) else HEADER.encode()
    return bool(found.strip(b"[] \n")) and mark not in found


def _read(directory: Path, file: str) -> bytes | None:
    path = f"{directory}/{file}"  # of every file, in every run: a Path takes longer than to read it
    if not os.path.isfile(path):  # noqa: PTH113
        return None
    with open(path, "rb", buffering=0) as opened:  # noqa: PTH123
        return opened.read()


def _restore(directory: Path, before: Path, replaced: Iterable[str], added: Iterable[str]) -> None:
    for file in replaced:
        if (before / file).exists():
            (before / file).replace(directory / file)
    for file in added:
        if (directory / file).is_file():
            (directory / file).unlink()


def _remove_empty_folders(directory: Path, files: Iterable[str]) -> None:
    """Those on the way to `files`, from the inside out."""
    for file in files:
        for folder in (directory / file).parents:
            if folder == directory or (folder.exists() and any(folder.iterdir())):
                break
            if folder.exists():
                folder.rmdir()


def _diff(file: str, old: bytes | None, new: bytes | None) -> Iterator[str]:
    if old == new:
        return
    before, after = (_diff_lines(data) for data in (old, new))
    yield from difflib.unified_diff(
        before,
        after,
        f"a/{file}" if old is not None else "/dev/null",
        f"b/{file}" if new is not None else "/dev/null",
    )


def _diff_lines(data: bytes | None) -> list[str]:
    lines = (data or b"").decode(errors="replace").splitlines(keepends=True)
    return [line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines]
