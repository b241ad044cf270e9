"""A change for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby

from compiler.diff.changes import Changes
from compiler.diff.settings import Change
from compiler.diff.summary import (
    MOST_GROUPS,
    MOST_MOVES,
    MOST_OBJECTS,
    MOST_SETTINGS,
    MOST_TITLES,
    SIGNS,
    changed_gpus,
    changed_instances,
    cost_text,
    count_text,
    cut_title,
    gpu_text,
    headline,
    hosts_text,
    leaf_texts,
    left_out_text,
    moves,
    portion,
    rest,
    setting_text,
    several_commits,
)
from compiler.diff.weighing import Weighed
from compiler.diff.words import Group, Title, groups
from compiler.report import printable

_COLOURS = {"+": "\033[32m", "~": "\033[33m", "-": "\033[31m", "": "\033[1m"}
_END = "\033[0m"

Paint = Callable[[str, str], str]


def as_text(changes: Changes, title: str, colour: bool) -> str:
    """`title` says what is compared."""
    paint: Paint = (lambda sign, words: f"{_COLOURS[sign]}{words}{_END}") if colour else (lambda _, words: words)
    lines = [paint("", title), "", headline(changes)]
    sections = (
        ("recorded requests", _moves(changes)),
        ("requests", _requests(changes)),
        ("models and settings", _settings(changes, paint)),
        ("instances", _instances(changes)),
        ("GPUs", _gpus(changes)),
        ("objects", _objects(changes, paint)),
        ("order", _order(changes)),
    )
    for name, section in sections:
        if body := list(section):
            lines += ["", paint("", name), *body]
    return "\n".join(lines) + "\n"


def _moves(changes: Changes) -> Iterator[str]:
    weighed = changes.weighed
    if weighed is None or not weighed.changed:
        return
    found = [(f"{move.source} → {move.target}", move.requests) for move in moves(changes, weighed)]
    width = max((len(said) for said, _ in found[:MOST_MOVES]), default=0)
    yield from (f"  {said:<{width}}  {portion(count, weighed.requests):>7}" for said, count in found[:MOST_MOVES])
    yield from (f"  {line}" for line in rest(len(found) - MOST_MOVES))
    yield from (f"  {line}" for line in other_effects(weighed))


def other_effects(weighed: Weighed) -> Iterator[str]:
    """What else of the recorded requests is to say."""
    for aspect, count in weighed.aspects.items():
        yield f"{portion(count, weighed.requests)} have other {aspect}"
    if weighed.unanswered:
        yield f"{portion(weighed.unanswered, weighed.requests)} are refused before and after"
    if weighed.malformed:
        yield f"{portion(weighed.malformed, weighed.requests)} are malformed and answered 400"


def _requests(changes: Changes) -> Iterator[str]:
    found = groups(changes.classes)
    for group in found[:MOST_GROUPS]:
        yield from (f"  {printable(_title(title, group))}" for title in group.titles[:MOST_TITLES])
        yield from (f"  {line}" for line in rest(len(group.titles) - MOST_TITLES))
        if group.hosts:
            yield f"      all at {hosts_text(group.hosts)}"
        yield from _difference_lines(group)
        if changes.weighed is not None:
            yield f"      {weight(changes.weighed, group)} of the recorded requests"
    yield from (f"  {line}" for line in rest(len(found) - MOST_GROUPS))
    if changes.classes.left_out:
        yield f"  {left_out_text(changes.classes.left_out)}"


def _title(title: Title, group: Group) -> str:
    said = cut_title(title.said)
    return f"{said}, at {hosts_text(title.hosts)}" if title.hosts and not group.hosts else said


def weight(weighed: Weighed, group: Group) -> str:
    count = sum(weighed.by_class.get(number, 0) for number in group.numbers)
    return portion(count, weighed.requests)


def _difference_lines(group: Group) -> Iterator[str]:
    for difference in group.differences:
        indent = " " * (6 + len(difference.aspect))
        yield f"      {difference.aspect}: {printable(cut_title(difference.before))}"
        yield f"{indent}→ {printable(cut_title(difference.after))}"


def _settings(changes: Changes, paint: Paint) -> Iterator[str]:
    for setting in changes.settings[:MOST_SETTINGS]:
        sign = SIGNS[setting.change]
        yield f"  {paint(sign, f'{sign} {printable(setting_text(setting, changes))}')}"
        yield from (f"      {printable(line)}" for line in leaf_texts(setting.leaves))
    yield from (f"  {line}" for line in rest(len(changes.settings) - MOST_SETTINGS))


def _instances(changes: Changes) -> Iterator[str]:
    found = changed_instances(changes)
    for name, before, after in found[:MOST_SETTINGS]:
        yield f"  {printable(name)}: {count_text(before)}"
        yield f"  {' ' * len(name)}→ {count_text(after)}"
    yield from (f"  {line}" for line in rest(len(found) - MOST_SETTINGS))


def _gpus(changes: Changes) -> Iterator[str]:
    changed = changed_gpus(changes.gpus)
    yield from (f"  {gpu_text(gpus)}" for gpus in changed)
    if cost_text(changes.gpus):
        yield f"  {cost_text(changes.gpus)}"


def _objects(changes: Changes, paint: Paint) -> Iterator[str]:
    for change in changes.objects[:MOST_OBJECTS]:
        sign = SIGNS[change.change]
        said = f"{sign} {change.key}  {change.file}"
        yield f"  {paint(sign, printable(said))}"
        if change.change is Change.CHANGED:
            yield from (f"      {printable(line)}" for line in leaf_texts(change.leaves, 2))
    yield from (f"  {line}" for line in rest(len(changes.objects) - MOST_OBJECTS))


def _order(changes: Changes) -> Iterator[str]:
    several = several_commits(changes)
    if several:
        yield "  not safe in one commit:"
    for commit, steps in groupby(changes.steps, key=lambda step: step.commit):
        if several:
            yield f"  commit {commit}"
        yield from (f"  {number}. {step.by} {step.what}: {step.why}" for number, step in enumerate(steps, 1))
