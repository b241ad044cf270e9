"""Classes of requests and what happens to them, in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from compiler.diff.effect import Effect, of_kind
from compiler.diff.naming import By
from compiler.diff.request_class import Classes, RequestClass
from compiler.diff.stations import Station
from compiler.evaluate import Stage

MOST_TAKEN = 3
LEFT_OPEN = "left to the Gateway API's implementation"


@dataclass(frozen=True, slots=True)
class Difference:
    """One aspect of what happens to requests."""

    aspect: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Title:
    said: str
    hosts: tuple[str, ...]
    """Empty where requests come in at one place only."""


@dataclass(frozen=True, slots=True)
class Group:
    """Classes for which the same differs in the same way."""

    numbers: tuple[int, ...]
    """Of the classes, from 0."""
    titles: tuple[Title, ...]
    differences: tuple[Difference, ...]

    @property
    def hosts(self) -> tuple[str, ...]:
        """Of several titles, where all are of the same: those; else empty."""
        return self.titles[0].hosts if len(self.titles) > 1 and len({title.hosts for title in self.titles}) == 1 else ()


def groups(classes: Classes) -> tuple[Group, ...]:
    """In the order of their first classes."""
    found: dict[tuple[Difference, ...], list[tuple[int, RequestClass]]] = {}
    for number, each in enumerate(classes.found):
        found.setdefault(differences(each), []).append((number, each))
    several = classes.host_count > 1
    return tuple(
        Group(tuple(n for n, _ in alike), tuple(_titles((each for _, each in alike), several)), difference)
        for difference, alike in found.items()
    )


def _titles(classes: Iterable[RequestClass], several: bool) -> Iterator[Title]:
    """One for all classes that differ in nothing but their hosts."""
    hosts: dict[str, list[str]] = {}
    for each in classes:
        hosts.setdefault(title(each), []).extend(each.place.hosts)
    return (Title(said, tuple(sorted(set(where))) if several else ()) for said, where in hosts.items())


def title(each: RequestClass) -> str:
    """`rule premium-users: user_tier in [pro, enterprise]`."""
    kind = {None: "", True: ", streams", False: ", whole answers"}[each.stream]
    maybe = "" if each.witness is not None else " (if any: a regular expression decides)"
    return f"{_who(each)}{kind}{maybe}"


def _who(each: RequestClass) -> str:
    naming = each.naming
    if naming.everything:
        return "every request"
    if naming.by is By.LIST:
        return "the list of models"
    if naming.by is By.TWICE:
        return "one name in the path, another in the header: for example"
    where = f", named in the {naming.by}" if len(set(naming.reading.bodiless)) == 2 and not naming.unnamed else ""
    return f"{_by_name(each)}{where}"


def _by_name(each: RequestClass) -> str:
    naming = each.naming
    if len(each.above) == 0 and not naming.unnamed and not each.conditions and _is_by_name(each):
        return "a name that no model has" if naming.unknown else f"model {' or '.join(naming.names)}"
    one, other = _station(each.before), _station(each.after)
    way = one if one == other else f"{one} → {other}"
    asked = " and ".join(map(str, each.conditions))
    named = "" if naming.unnamed else f" for {' or '.join(naming.names)}"
    return f"{way}{named}{f': {asked}' if asked else ''}{_but_not(each)}"


def _but_not(each: RequestClass) -> str:
    """Where a rule asks for more or less than before, its name and conditions alone would say too much."""
    every = [" and ".join(map(str, station.conditions)) for station in each.taken]
    said = [f"({one})" if len(of.conditions) > 1 else one for one, of in zip(every, each.taken, strict=True)]
    more = f" or what {len(said) - MOST_TAKEN} more rules ask" if len(said) > MOST_TAKEN else ""
    return f", but not {' or '.join(said[:MOST_TAKEN])}{more}" if said else ""


def _is_by_name(each: RequestClass) -> bool:
    by_name = (Stage.EXPLICIT, Stage.NONE, Stage.FALLBACK)
    return each.before.stage in by_name and each.after.stage in by_name and each.before.within is None


def _station(station: Station) -> str:
    match station.stage:
        case Stage.RULE:
            return f"rule {station.name}"
        case Stage.CAPABILITY:
            return f"capability {station.name}"
        case Stage.DEFAULT:
            return "default"
        case Stage.FALLBACK:
            return "fallback"
        case Stage.EXPLICIT:
            return f"model {station.name}"
    return "nobody"


def differences(each: RequestClass) -> tuple[Difference, ...]:
    """At least one. Limits, and who stands in, only of a version that answers before and after: those of another are no
    news beside another answer."""
    both = each.before.effect, each.after.effect
    one, other = both if each.stream is None else (of_kind(effect, each.stream) for effect in both)
    answers = _answer(one), _answer(other)
    found = [Difference("answer", *answers)] if answers[0] != answers[1] else []
    if one["targets"] and other["targets"]:
        stay = {_who_answers(target) for target in one["targets"]} & {
            _who_answers(target) for target in other["targets"]
        }
        said, says = dict(_aspects(one, stay)), dict(_aspects(other, stay))
        rights = _rights(one), _rights(other)
        found.extend([Difference("rights", *rights)] if rights[0] != rights[1] else [])
        found.extend(
            Difference(aspect, said.get(aspect, "–"), says.get(aspect, "–"))
            for aspect in dict.fromkeys((*said, *says))
            if said.get(aspect) != says.get(aspect)
        )
    return tuple(found)


def _aspects(effect: Effect, stay: AbstractSet[str]) -> Iterator[tuple[str, str]]:
    for target in (target for target in effect["targets"] if _who_answers(target) in stay):
        who = _who_answers(target)
        yield f"limits of {who}", _limits(target["limits"]) if target["limits"] else LEFT_OPEN
        if target["fallback"]:
            yield f"when {who} is not well", ", then ".join(_who_answers(backend) for backend in target["fallback"])
    for kind, values in _kinds(effect["timeouts"]):
        yield f"timeouts{kind}", ", ".join(f"{name} {value}" for name, value in values.items())
    yield "retries", _retries(effect["retries"]) if effect["retries"] else LEFT_OPEN
    copies = [f"{percent(mirror['share'])} to {_who_answers(mirror)}" for mirror in effect["mirrors"]]
    if copies:
        yield "copies", ", ".join(copies)
    if effect["fault"]:
        yield "drill", ", ".join(_fault(effect["fault"]))


def _who_answers(target: Mapping[str, Any]) -> str:
    return f"{target['model']} {target['version']}"


def _answer(effect: Effect) -> str:
    if effect["gateway"]:
        return f"gateway {effect['gateway']}"
    if effect["error"]:
        return f"nobody: {effect['error']['status']} {effect['error']['code']}"
    if effect["models"]:
        return "the list of models"
    shares: dict[str, float] = {}
    for target in effect["targets"]:
        who = _answerer(target)
        shares[who] = shares.get(who, 0) + target["share"]
    return ", ".join(f"{percent(share)} {who}" for who, share in shares.items())


def _answerer(target: Mapping[str, Any]) -> str:
    """`chat 2`; of a version without instances who stands in for it, if anybody does."""
    who, by = _who_answers(target), target["answeredBy"]
    if by is None:
        return f"nobody ({who} has no endpoint: 503)"
    answers = _who_answers(by)
    return who if answers == who else f"{answers} ({who} has no endpoint)"


def _rights(effect: Effect) -> str:
    """Whose models answer. What a tenant may ask for at a gateway is nothing that policy decides yet."""
    owners = {target["model"]: target["tenant"] for target in effect["targets"] if target["tenant"] is not None}
    return ", ".join(f"{model} for tenant {owner} alone" for model, owner in owners.items()) or "for everybody"


def _retries(retries: dict[str, Any]) -> str:
    return f"{retries['attempts']} on {', '.join(retries['retryOn'])}, after {retries['backoff']}"


def _limits(limits: dict[str, Any]) -> str:
    words = {
        "maxConnections": "connections",
        "http1MaxPendingRequests": "waiting",
        "http2MaxRequests": "at work",
    }
    shown = [f"{limits[key]:,} {word}" for key, word in words.items() if limits[key]]
    return f"{', '.join(shown) or 'none'}, connect within {limits['connectTimeout']}"


def _kinds(timeouts: dict[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    if "unary" in timeouts:
        yield " of streams", timeouts["stream"]
        yield " of whole answers", timeouts["unary"]
    else:
        yield "", timeouts


def _fault(fault: dict[str, Any]) -> Iterator[str]:
    if fault["delay"]:
        yield f"{fault['delay']['percent']} % wait {fault['delay']['duration']}"
    if fault["abort"]:
        yield f"{fault['abort']['percent']} % are answered {fault['abort']['status']}"


def percent(share: float) -> str:
    """Of 1, with two decimals at most: `90 %`, `0.25 %`."""
    return f"{round(100 * share, 2):g} %"
