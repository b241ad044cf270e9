"""What text and Markdown have in common: the headline, and each part of a change in a line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import takewhile
from typing import Any

from compiler.diff.changes import Changes
from compiler.diff.effect import lost
from compiler.diff.gpus import Gpus, Instances, costs
from compiler.diff.leaves import Leaf
from compiler.diff.settings import Change, Setting
from compiler.diff.weighing import NOBODY, Move, Weighed
from compiler.diff.words import percent

MOST_GROUPS = 20
MOST_TITLES = 8
MOST_SETTINGS = 30
MOST_LEAVES = 6
MOST_OBJECTS = 40
MOST_MOVES = 10
"""Of a report that people read; JSON has all."""
MOST_HOSTS = 6
MOST_OF_A_VALUE = 80
"""Characters."""
MOST_OF_A_TITLE = 400
"""Characters: a condition may list a hundred values."""
MOST_COMPARED = 200
"""Items of a list that are looked at one by one, which takes their square."""
MOST_NAMED = 3
"""Models, in the headline."""
AROUND = 20
"""Characters before what differs in a long text."""

SIGNS = {Change.ADDED: "+", Change.CHANGED: "~", Change.REMOVED: "-"}
NOTHING = "Nothing changes: no request, no model, no GPU, no object."
NOT_AT_ONCE = "Not safe in one commit."


def headline(changes: Changes) -> str:
    """The one sentence that a reader in a hurry needs."""
    if not changes.any:
        return NOTHING
    said = _counts(changes) if changes.weighed is None else _weighed(changes, changes.weighed)
    return f"{said} {NOT_AT_ONCE}" if several_commits(changes) else said


def several_commits(changes: Changes) -> bool:
    return bool(changes.steps) and changes.steps[-1].commit > 1


def _weighed(changes: Changes, weighed: Weighed) -> str:
    recorded = f"{weighed.requests:,} recorded request{'s' if weighed.requests != 1 else ''}"
    if not weighed.changed:
        return f"Of {recorded} none is treated otherwise."
    moving = [move for move in moves(changes, weighed) if NOBODY not in (move.source, move.target)]
    parts = [
        f"{portion(move.requests, weighed.requests)} {f'of {recorded} ' if n == 0 else ''}move "
        f"from {move.source} to {move.target}"
        for n, move in enumerate(moving[:3])
    ]
    if not parts:
        parts = [f"{portion(weighed.changed, weighed.requests)} of {recorded} are treated otherwise"]
    if len(moving) > 3:
        parts.append(f"{portion(sum(move.requests for move in moving[3:]), weighed.requests)} move elsewhere")
    if weighed.gain:
        parts.append(f"{portion(weighed.gain, weighed.requests)} gain a route")
    lost = f"{portion(weighed.lose, weighed.requests)} lose their route" if weighed.lose else "none loses its route"
    return "; ".join([*parts, lost]) + "."


def _counts(changes: Changes) -> str:
    classes = _count(len(changes.classes.found), "class of requests changes", "classes of requests change")
    objects = _count(len(changes.objects), "object of the cluster changes", "objects of the cluster change")
    text = "; ".join([f"{classes}{_of_which_lost(changes)}", *_models(changes), objects, *_held(changes.gpus)]) + "."
    return text[0].upper() + text[1:]


def _count(count: int, one: str, several: str) -> str:
    return f"{f'{count:,}' if count else 'no'} {one if count == 1 else several}"


def _of_which_lost(changes: Changes) -> str:
    """Empty where nothing can be said: no class, or some that were not looked at."""
    found, left_out = changes.classes.found, changes.classes.left_out
    shares = [share for each in found if (share := lost(each.before.effect, each.after.effect))]
    if not shares:
        return ", and none loses its route" if found and not left_out else ""
    if len(found) == 1:
        return (
            " and loses its route" if shares[0] == 1 else f", and {percent(shares[0])} of its requests lose their route"
        )
    in_part = "" if min(shares) == 1 else ", wholly or in part"
    return f", and {_count(len(shares), 'of them loses its route', 'of them lose their route')}{in_part}"


def _models(changes: Changes) -> Iterator[str]:
    """`model mistral-8b comes`; many by their number."""
    for change, verb in ((Change.ADDED, "come"), (Change.REMOVED, "go")):
        names = [s.name for s in changes.settings if s.kind == "model" and s.change is change]
        if len(names) > MOST_NAMED:
            yield f"{len(names):,} models {verb}"
        elif names:
            yield f"model{'s' if len(names) > 1 else ''} {', '.join(names)} {verb if len(names) > 1 else _third(verb)}"


def _third(verb: str) -> str:
    return f"{verb}es" if verb.endswith("o") else f"{verb}s"


def _names(changes: Changes) -> dict[str, str]:
    """By `llama-7b 1` what to call it: without the version, where there is but one before and after."""
    versions: dict[str, set[str]] = {}
    for one in (*changes.instances_before, *changes.instances_after):
        versions.setdefault(one.model, set()).add(one.version)
    return {f"{model} {next(iter(of))}": model for model, of in versions.items() if len(of) == 1}


def portion(part: float, whole: int) -> str:
    """`3.2 %`; of something never `0 %`."""
    share = 100 * part / whole if whole else 0
    return "<0.1 %" if 0 < share < 0.05 else f"{share:.1f} %".replace(".0 %", " %")


def moves(changes: Changes, weighed: Weighed) -> tuple[Move, ...]:
    """For people: between two models one, of all versions; these count where requests stay with their model."""
    names = _names(changes)
    merged: dict[tuple[str, str], float] = {}
    for move in weighed.moves:
        source, target = (move.source.partition(" ")[0], move.target.partition(" ")[0])
        if source == target or NOBODY in (source, target):
            source, target = names.get(move.source, move.source), names.get(move.target, move.target)
        merged[source, target] = merged.get((source, target), 0) + move.requests
    every = (Move(*pair, requests) for pair, requests in merged.items())
    return tuple(sorted(every, key=lambda move: (-move.requests, move.source, move.target)))


def _held(gpus: Iterable[Gpus]) -> Iterator[str]:
    """`3 GPUs more (15 cost units)`; of several products each by its name. Empty where as many are held."""
    changed = [of for of in gpus if of.before.steady != of.after.steady]
    for of in changed:
        more = of.after.steady - of.before.steady
        what = f"GPU{'s' if abs(more) != 1 else ''}" if len(changed) == 1 else of.product
        cost = f" ({units(abs(more) * of.units)} cost units)" if of.units else ""
        yield f"{abs(more):,} {what} {'more' if more > 0 else 'less'}{cost}"


def units(count: float) -> str:
    """`12.5`."""
    return f"{count:,.2f}".rstrip("0").rstrip(".")


def setting_text(setting: Setting, changes: Changes) -> str:
    """`model mistral-8b: version 1, 2 instances of 1 NVIDIA-A100-SXM4-80GB`."""
    named = f"{setting.kind} {setting.name}".strip()
    if setting.kind != "model" or setting.change is Change.CHANGED:
        return named
    every = changes.instances_before if setting.change is Change.REMOVED else changes.instances_after
    return f"{named}: {'; '.join(_instances_text(one) for one in every if one.model == setting.name)}"


def _instances_text(of: Instances) -> str:
    return f"version {of.version}, {count_text(of)}"


def count_text(of: Instances | None) -> str:
    """`2 to 4 active and 1 hot, each 4 NVIDIA-A100-SXM4-80GB`; a dash for none."""
    if of is None:
        return "–"
    active = str(of.active) if of.most == of.active else f"{of.active} to {of.most}"
    tiers = [f"{count} {tier}" for tier, count in (("hot", of.hot), ("warm", of.warm), ("cold", of.cold)) if count]
    each = f"{of.gpus} {of.product}" if of.product else "no GPU"
    return f"{' and '.join([f'{active} active', *tiers])}, each {each}"


def changed_instances(changes: Changes) -> tuple[tuple[str, Instances | None, Instances | None], ...]:
    """By `llama-70b 1.0`, before and after; of versions that come, go or have other instances."""
    one, other = (
        {f"{of.model} {of.version}": of for of in side} for side in (changes.instances_before, changes.instances_after)
    )
    pairs = ((name, one.get(name), other.get(name)) for name in dict.fromkeys((*one, *other)))
    return tuple((name, before, after) for name, before, after in pairs if before != after)


def leaf_text(leaf: Leaf) -> str:
    """`versions.1.0.weight: 90 → 75`."""
    before, after = _differing(leaf.before, leaf.after)
    return f"{_path(leaf.path)}: {before} → {after}"


def leaf_texts(leaves: tuple[Leaf, ...], most: int = MOST_LEAVES) -> Iterator[str]:
    yield from map(leaf_text, leaves[:most])
    yield from rest(len(leaves) - most)


def rest(count: int) -> Iterator[str]:
    """What a list leaves out, said in a line of its own."""
    if count > 0:
        yield f"… and {count:,} more"


def _path(path: tuple[str, ...]) -> str:
    """Where it is long, without its middle: its ends say the most."""
    whole = ".".join(path)
    return whole if len(whole) <= MOST_OF_A_VALUE else ".".join((*path[:2], "…", *path[-4:]))


def _differing(before: Any, after: Any) -> tuple[str, str]:
    """Of two long lists or texts what they do not have in common: their beginnings would say nothing."""
    if max(len(_said(before)), len(_said(after))) <= MOST_OF_A_VALUE:
        return _value(before), _value(after)
    if isinstance(before, list) and isinstance(after, list):
        one, other = _items(list(map(_json, before)), list(map(_json, after)))
        return _cut(f"[{', '.join(one)}]"), _cut(f"[{', '.join(other)}]")
    if isinstance(before, str) and isinstance(after, str):
        start = _alike(before, after) - AROUND
        if start > 0:
            return _cut(f"…{before[start:]}"), _cut(f"…{after[start:]}")
    return _value(before), _value(after)


def _items(before: Sequence[str], after: Sequence[str]) -> tuple[list[str], list[str]]:
    """Those of either side that the other has not, with `…` where they have some in common."""
    start = _alike(before, after)
    end = _alike(before[start:][::-1], after[start:][::-1])
    one, other = before[start : len(before) - end], after[start : len(after) - end]
    said, says = (["…"], ["…"]) if start else ([], [])
    if max(len(one), len(other)) > MOST_COMPARED:
        return [*said, *one], [*says, *other]
    for what, i, k, j, m in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        said += ["…"] if what == "equal" else one[i:k]
        says += ["…"] if what == "equal" else other[j:m]
    rest_alike = ["…"] if end else []
    return _once([*said, *rest_alike]), _once([*says, *rest_alike])


def _once(items: Iterable[str]) -> list[str]:
    """With one `…` where several follow each other."""
    kept: list[str] = []
    for item in items:
        if item != "…" or kept[-1:] != ["…"]:
            kept.append(item)
    return kept


def _alike(one: Sequence[Any], other: Sequence[Any]) -> int:
    """How many items from the first on."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _value(value: Any) -> str:
    return _cut(_said(value))


def _said(value: Any) -> str:
    if value is None:
        return "–"
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _cut(text: str, most: int = MOST_OF_A_VALUE) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def cut_title(text: str) -> str:
    """Of a class, or of what happens to it."""
    return _cut(text, MOST_OF_A_TITLE)


def hosts_text(hosts: Sequence[str], shown: Callable[[str], str] = str) -> str:
    """`a.example.com, b.example.com`; of many the first, and how many more."""
    more = f" and {len(hosts) - MOST_HOSTS:,} more" if len(hosts) > MOST_HOSTS else ""
    return ", ".join(map(shown, hosts[:MOST_HOSTS])) + more


def gpu_text(gpus: Gpus) -> str:
    """`NVIDIA-A100-SXM4-80GB: 32 → 36 (+4) held, 40 → 44 (+4) at most, nodes have 40`."""
    return ", ".join(filter(None, (
        f"{gpus.product}: {_arrow(gpus.before.steady, gpus.after.steady)} held",
        f"{_arrow(gpus.before.most, gpus.after.most)} at most",
        f"nodes have {_arrow(gpus.before.nodes, gpus.after.nodes)}" if gpus.before.nodes or gpus.after.nodes else "",
    )))  # fmt: skip


def cost_text(gpus: Iterable[Gpus]) -> str:
    """`cost units: 95 → 90 (-5) held, 95 → 90 (-5) at most`; empty where they stay."""
    before, after = costs(gpus)
    if before == after:
        return ""
    held, most = _arrow(before.steady, after.steady), _arrow(before.most, after.most)
    return f"cost units: {held} held, {most} at most"


def _arrow(before: float, after: float) -> str:
    more = f"{'+' if after > before else '-'}{units(abs(after - before))}"
    return units(after) if before == after else f"{units(before)} → {units(after)} ({more})"


def changed_gpus(gpus: Iterable[Gpus]) -> tuple[Gpus, ...]:
    return tuple(of for of in gpus if of.before != of.after)


def left_out_text(left_out: int) -> str:
    return f"Not known for {left_out:,} more combinations of rules: there are too many to look at." if left_out else ""
