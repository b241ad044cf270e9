"""A change as a comment on a pull request, in GitHub's Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, groupby, islice

from compiler.diff.changes import Changes
from compiler.diff.gpus import costs
from compiler.diff.settings import Change
from compiler.diff.summary import (
    MOST_GROUPS,
    MOST_MOVES,
    MOST_OBJECTS,
    MOST_SETTINGS,
    MOST_TITLES,
    NOTHING,
    SIGNS,
    changed_gpus,
    changed_instances,
    count_text,
    cut_title,
    headline,
    hosts_text,
    leaf_texts,
    left_out_text,
    moves,
    portion,
    rest,
    setting_text,
    several_commits,
    units,
)
from compiler.diff.text import other_effects, weight
from compiler.diff.words import Group, Title, groups
from compiler.report import printable

MARK = "<!-- turnout diff -->"
"""The first line: by it the workflow finds the comment that it has made before."""
MOST_CHARACTERS = 60_000
"""GitHub takes comments of 65,536."""
MOST_OF_REQUESTS = 30_000
"""Characters of the rows about requests: the other parts need room, too."""
_COLOURED = {**SIGNS, Change.CHANGED: "!"}
"""What GitHub colours in a fence of `diff`."""


def as_markdown(changes: Changes, title: str) -> str:
    head = [MARK, "### What this does to traffic", "", f"**{headline(changes)}**" if changes.any else NOTHING, ""]
    foot = [f"<sub>{_code(title)}, by <code>turnout diff</code></sub>"]
    sections = (
        _section("Recorded requests", _moves(changes)),
        _section("Requests", _requests(changes)),
        _section("Order", _order(changes)),
        _section("Instances", _instances(changes)),
        _section("GPUs", _gpus(changes)),
        _folded("Models and settings", len(changes.settings), _settings(changes)),
        _folded("Objects", len(changes.objects), _objects(changes)),
    )
    return _fitting([head, *map(list, sections)], foot)


def failed(title: str, said: str) -> str:
    """In place of a comment, where the policies on a side have errors."""
    lines = [MARK, "### What this does to traffic", "", "**Not known: policies have errors.**", "", "```text"]
    shown = said.replace("```", "'''").rstrip("\n")
    if len(shown) > MOST_CHARACTERS:
        whole, _, _ = shown[:MOST_CHARACTERS].rpartition("\n")
        shown = f"{whole}\n… and more: run turnout check"
    return "\n".join([*lines, shown, "```", "", f"<sub>{_code(title)}</sub>"]) + "\n"


def _fitting(parts: Iterable[Sequence[str]], foot: Sequence[str]) -> str:
    """The first of `parts` that have room, whole: half a table is none."""
    text, left_out = "", 0
    for part in parts:
        said = "".join(f"{line}\n" for line in part)
        if len(text) + len(said) > MOST_CHARACTERS:
            left_out += 1
        else:
            text += said
    more = f"… {left_out} parts are too long for a comment: run `turnout diff`.\n\n" if left_out else ""
    return text + more + "".join(f"{line}\n" for line in foot)


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    body = list(lines)
    if body:
        yield from (f"#### {title}", "", *body, "")


def _folded(title: str, count: int, lines: Iterable[str]) -> Iterator[str]:
    body = list(lines)
    if body:
        yield from (f"<details><summary>{title}: {count:,}</summary>", "", *body, "", "</details>", "")


def _moves(changes: Changes) -> Iterator[str]:
    weighed = changes.weighed
    if weighed is None or not weighed.changed:
        return
    found = moves(changes, weighed)
    if found:
        yield from ("| From | To | Of the recorded requests |", "|-|-|-:|")
    for move in found[:MOST_MOVES]:
        yield f"| {_cell(move.source)} | {_cell(move.target)} | {_unbroken(portion(move.requests, weighed.requests))} |"
    others = [f"- {line}" for line in (*rest(len(found) - MOST_MOVES), *other_effects(weighed))]
    yield from (*([""] if found and others else []), *others)


def _requests(changes: Changes) -> Iterator[str]:
    found = groups(changes.classes)
    if found:
        weighed = changes.weighed is not None
        yield from ("| Requests | Before | After |", "|-|-|-|") if not weighed else (
            "| Requests | Share | Before | After |", "|-|-:|-|-|",
        )  # fmt: skip
    rows = [_row(changes, group) for group in found[:MOST_GROUPS]]
    sizes = accumulate(map(len, rows))
    shown = rows[: max(1, sum(size <= MOST_OF_REQUESTS for size in sizes))]
    yield from shown
    for line in (*rest(len(found) - len(shown)), *filter(None, [left_out_text(changes.classes.left_out)])):
        yield from ("", line)


def _row(changes: Changes, group: Group) -> str:
    titles = [_title(title, group) for title in group.titles[:MOST_TITLES]]
    # Several lines of code in a cell run into one another.
    listed = titles if len(titles) == 1 else [f"• {said}" for said in titles]
    where = [f"all at {hosts_text(group.hosts, _cell)}"] if group.hosts else []
    cells = ["<br>".join([*listed, *rest(len(group.titles) - MOST_TITLES), *where])]
    if changes.weighed is not None:
        cells.append(_unbroken(weight(changes.weighed, group)))
    for before in (True, False):
        said = [_aspect(d.aspect, d.before if before else d.after) for d in group.differences]
        cells.append("<br>".join(said))
    return f"| {' | '.join(cells)} |"


def _title(title: Title, group: Group) -> str:
    said = _cell(cut_title(title.said))
    return f"{said}<br>at {hosts_text(title.hosts, _cell)}" if title.hosts and not group.hosts else said


def _aspect(aspect: str, words: str) -> str:
    said = _cell(cut_title(words))
    return said if aspect == "answer" else f"{_plain(aspect)}: {said}"


def _unbroken(words: str) -> str:
    return words.replace(" ", "&nbsp;").replace("<", "&lt;")


def _order(changes: Changes) -> Iterator[str]:
    several = several_commits(changes)
    for commit, steps in groupby(changes.steps, key=lambda step: step.commit):
        if several:
            yield from (f"Commit {commit}:", "")
        for number, step in enumerate(steps, 1):
            yield f"{number}. **{step.by[0].upper()}{step.by[1:]}** {_plain(step.what)}: {_plain(step.why)}."
        if several:
            yield ""


def _instances(changes: Changes) -> Iterator[str]:
    found = changed_instances(changes)
    if found:
        yield from ("| Model | Before | After |", "|-|-|-|")
    for name, before, after in found[:MOST_SETTINGS]:
        yield f"| {_cell(name)} | {_plain(count_text(before))} | {_plain(count_text(after))} |"
    for line in rest(len(found) - MOST_SETTINGS):
        yield from ("", line)


def _gpus(changes: Changes) -> Iterator[str]:
    changed = changed_gpus(changes.gpus)
    if not changed:
        return
    yield from ("| | held | at most | nodes have |", "|-|-:|-:|-:|")
    for gpus in changed:
        one, other = gpus.before, gpus.after
        numbers = ((one.steady, other.steady), (one.most, other.most), (one.nodes, other.nodes))
        yield f"| {_cell(gpus.product)} | {' | '.join(_number(*pair) for pair in numbers)} |"
    before, after = costs(changes.gpus)
    if before != after:
        yield f"| cost units | {_number(before.steady, after.steady)} | {_number(before.most, after.most)} | |"


def _number(before: float, after: float) -> str:
    return units(before) if before == after else f"{units(before)} → **{units(after)}**"


def _settings(changes: Changes) -> Iterator[str]:
    listed = ((s.change, setting_text(s, changes), leaf_texts(s.leaves)) for s in changes.settings)
    return _fenced(listed, len(changes.settings), MOST_SETTINGS)


def _objects(changes: Changes) -> Iterator[str]:
    listed = ((c.change, f"{c.key}  {c.file}", leaf_texts(c.leaves, 2)) for c in changes.objects)
    return _fenced(listed, len(changes.objects), MOST_OBJECTS)


def _fenced(listed: Iterable[tuple[Change, str, Iterable[str]]], count: int, most: int) -> Iterator[str]:
    if not count:
        return
    yield "```diff"
    for change, what, fields in islice(listed, most):
        for line in (f"{_COLOURED[change]} {what}", *(f"    {field}" for field in fields)):
            yield printable(line).replace("```", "'''")
    yield from (*rest(count - most), "```")


def _code(words: str) -> str:
    """Any text as code: in a fence longer than any in it, on one line. Nobody is mentioned, nothing is a link."""
    shown = printable(words)
    longest = max((len(ticks) for ticks in re.findall("`+", shown)), default=0)
    fence = "`" * (longest + 1)
    padding = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{padding}{shown}{padding}{fence}"


def _cell(words: str) -> str:
    """As code in a table, where a bar would end the cell even in code."""
    return _code(words).replace("|", "\\|")


def _plain(words: str) -> str:
    """Text of ours with names in it, which have no sign that Markdown would take for its own but these.

    A host that begins with www would be a link: https://github.github.com/gfm/#autolinks-extension-
    """
    return re.sub(r"([*_`<>|\[\]@#]|(?<=\bwww)\.)", r"\\\1", printable(words))
