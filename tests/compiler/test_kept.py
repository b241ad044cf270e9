"""What is kept from run to run changes nothing but the time that it takes."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from compiler import kept as kept_module
from compiler import source
from compiler.by_name import by_name
from compiler.diagnostics import Diagnostic, Position
from compiler.kept import STRETCH, Kept
from compiler.link.endpoints import check_addresses
from compiler.pipeline import Compiled, compile_policies, manifests
from xds.cache import Snapshots
from xds.serve import TRANSLATION
from xds.snapshot import ResourceType
from xds.translate.group import Group

MODEL = """\
apiVersion: turnout.dev/v1
kind: InferenceModel
metadata: {{name: {name}}}
spec:
  modelName: org/{name}
  aliases: [{aliases}]
  capabilities: [{capabilities}]
  versions:
    - {{name: "1", weight: {weight}, replicas: 2}}
    - {{name: "2", weight: {rest}, replicas: {replicas}}}
  endpoints:
    - {{address: 10.0.{number}.1, port: {port}, version: "1"}}
    - {{address: 10.0.{number}.2, port: 80, version: "2"}}
  traffic: {{retries: {{attempts: {attempts}}}{mirror}}}
{tenant}"""
TENANT = """\
apiVersion: turnout.dev/v1
kind: Tenant
metadata: {{name: {name}}}
spec: {{gpuQuota: {quota}}}
"""
TENANTS = ("bank", "shop")
ORCHESTRATOR = """\
apiVersion: turnout.dev/v1
kind: ModelOrchestrator
metadata: {{name: auto}}
spec:
  gateway: public
  models: [{{name: m0, weight: {weight}}}, {{name: m1, weight: {rest}}}, {{name: m2, weight: 0}}]
  routing:
    rules:
      - {{priority: {port}, conditions: [{{field: user_tier, operator: eq, value: pro}}], target: m{target}}}
    fallback: {{onExplicitModel: {explicit}, chain: [{{model: m0}}, {{model: m2}}]}}
"""
RECOVERY = """\
apiVersion: turnout.dev/v1
kind: DisasterRecovery
metadata: {{name: dr}}
spec:
  azFailover: {{strategy: active-active, activeZones: [a]}}
  models: [{{name: m{target}, hotStandby: {replicas}}}]
"""
PLATFORM = """\
apiVersion: turnout.dev/v1
kind: Platform
metadata: {{name: platform}}
spec:
  defaults: {{traffic: {{timeouts: {{unary: {{total: {port}s}}}}}}}}
"""
GATEWAY = """\
apiVersion: turnout.dev/v1
kind: Gateway
metadata: {{name: {name}}}
spec: {{hosts: [{name}.example.com]{models}}}
"""
FOREIGN = """\
apiVersion: ai.example.com/v1
kind: ModelOrchestrator
metadata: {{name: theirs}}
spec:
  models: [{{name: m1, weight: 100}}]
  healthCheck: {{interval: {attempts}s, timeout: 1s}}
"""


class Fleet:
    """Policies that change at random: mostly as people change them, sometimes into something broken."""

    def __init__(self, chance: random.Random, folder: Path) -> None:
        self._chance, self._folder = chance, folder
        self._files: dict[str, list[str]] = {
            f"team-{file}": [self.model(3 * file + at, mistakes=0.0) for at in range(3)] for file in range(3)
        }
        self._files["rest"] = [self.orchestrator(), self.recovery(), PLATFORM.format(port=60), *self.others()]
        self.keep()
        self._save_all()

    def model(self, number: int, mistakes: float = 0.05) -> str:
        weight = self._chance.randint(0, 100)
        # Those that the orchestrator weighs against each other have to agree.
        mirrors = number > 2 and self._chance.random() < 0.2
        mirror = f", mirror: {{model: m{self._chance.randint(0, 2)}, percent: 5}}" if mirrors else ""
        tenant = f"  tenant: {self._chance.choice(TENANTS)}\n" if number > 2 and self._chance.random() < 0.3 else ""
        names = [f"also-{number}", f"and-{number}", *(["shared"] if mistakes else [])]
        return MODEL.format(
            name=f"m{number}",
            number=number,
            aliases=", ".join(self._chance.sample(names, self._chance.randint(0, 1))),
            capabilities=", ".join(self._chance.sample(["chat", "code"], self._chance.randint(0, 2))),
            weight=weight,
            rest=100 - weight if self._chance.random() >= mistakes else 7,
            port=self._chance.randint(8000, 8010),
            replicas=self._chance.randint(1, 3),
            attempts=self._chance.randint(1, 3) if number > 2 else 2,
            mirror=mirror,
            tenant=tenant,
        )

    def tenants(self) -> Iterator[str]:
        return (TENANT.format(name=name, quota=self._chance.randint(90, 99)) for name in TENANTS)

    def orchestrator(self) -> str:
        weight = self._chance.randint(0, 100)
        explicit = self._chance.choice(["never", "never", "always"])
        port, target = self._chance.randint(1, 9), self._chance.randint(0, 2)
        return ORCHESTRATOR.format(weight=weight, rest=100 - weight, port=port, target=target, explicit=explicit)

    def recovery(self) -> str:
        return RECOVERY.format(target=self._chance.randint(0, 9), replicas=self._chance.randint(0, 2))

    def gateways(self) -> tuple[str, str]:
        models = f", models: [m{self._chance.randint(0, 8)}]" if self._chance.random() < 0.5 else ""
        return GATEWAY.format(name="public", models=""), GATEWAY.format(name="inside", models=models)

    def others(self) -> tuple[str, ...]:
        return (*self.gateways(), *self.tenants())

    def edit(self) -> None:
        name = self._chance.choice(list(self._files))
        documents = self._files[name]
        at = self._chance.randrange(len(documents))
        edits: list[Callable[[], None]] = [
            lambda: documents.__setitem__(at, self.model(self._chance.randint(0, 9))),
            lambda: documents.__setitem__(at, f"# moved down\n{documents[at]}"),
            lambda: documents.__setitem__(at, documents[at].replace("port: 8", "port: 9")),
            lambda: documents.append(self.model(self._chance.randint(0, 12))),
            lambda: documents.insert(0, documents.pop()),
            lambda: documents.append(FOREIGN.format(attempts=self._chance.randint(2, 5))),
            lambda: documents.append(PLATFORM.format(port=self._chance.randint(30, 60))),
            lambda: self._files.__setitem__("rest", [self.orchestrator(), self.recovery(), *self.others()]),
            lambda: self._files.__setitem__("rest", [self.orchestrator(), PLATFORM.format(port=60), *self.others()]),
            lambda: self._files.__setitem__(name, [self.model(number) for number in range(3)]),
            lambda: documents.append("kind: [broken"),
            lambda: documents.__setitem__(at, documents[at].replace("turnout.dev/v1", "ai.example.com/v1")),
            lambda: documents.__setitem__(slice(1, None), []),
        ]
        self._chance.choice(edits)()
        self._save_all()

    def keep(self) -> None:
        self._sound = {name: list(documents) for name, documents in self._files.items()}

    def undo(self) -> None:
        """As people do with most of what turns out to be broken."""
        if self._chance.random() < 0.8:
            self._files = {name: list(documents) for name, documents in self._sound.items()}
            self._save_all()

    def _save_all(self) -> None:
        for name in self._files:
            self.save(name)

    def save(self, name: str) -> None:
        text = "---\n".join(self._files[name])
        path = self._folder / f"{name}.yaml"
        if not path.exists() or path.read_text() != text:
            fresh = self._folder / f".{name}"
            fresh.write_text(text)
            fresh.replace(path)


def served(snapshots: Snapshots, compiled: Compiled) -> object:
    """What Envoys of each group are to have, with the policy line that each part comes from."""
    assert compiled.fleet is not None
    snapshots.replace(snapshots.prepared(compiled.fleet))
    for tenant in compiled.fleet.tenants:
        snapshots.get(Group(f"sidecar.{tenant.name}"))
    return {
        (group, type_.label): [(r.name, r.body, r.version, r.origin) for r in snapshot[type_].values()]
        for group, snapshot in snapshots.groups.items()
        for type_ in ResourceType
    }


@pytest.mark.parametrize("seed", range(8))
def test_a_run_after_another_finds_what_a_first_run_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """To the line: positions are in the fleet's text."""
    monkeypatch.setattr(source, "SETTLED", 0.0)
    policies, snapshots = Fleet(random.Random(seed), tmp_path), Snapshots(TRANSLATION)
    previous, valid = compile_policies(tmp_path), 0
    for _ in range(60):
        policies.edit()
        previous = compile_policies(tmp_path, previous)
        fresh = compile_policies(tmp_path)
        assert previous.diagnostics == fresh.diagnostics
        assert repr(previous.fleet) == repr(fresh.fleet)
        assert previous.sources == fresh.sources
        if fresh.fleet is None:
            policies.undo()
            continue
        valid += 1
        policies.keep()
        assert served(snapshots, previous) == served(Snapshots(TRANSLATION), fresh)
        assert previous.fleet is not None
        assert manifests(previous.fleet, previous.kept) == manifests(fresh.fleet)
    assert valid > 10


def test_only_what_an_edit_touches_is_made_again() -> None:
    made: list[object] = []

    def make(item: list[int], common: str) -> str:
        made.append(item)
        return f"{common}{item}"

    items, common = [[number] for number in range(3 * STRETCH)], "item "
    before = Kept()
    first = before.each(make, tuple(items), common)
    items[STRETCH] = [1000]
    made.clear()
    after = Kept(before.closed())
    second = after.each(make, tuple(items), common)
    assert made == [[1000]]
    assert [old for old, new in zip(first, second, strict=True) if old != new] == [first[STRETCH]]
    assert second[STRETCH] == "item [1000]"


def test_what_nobody_comes_to_any_more_is_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_module, "LEAST_STALE", 5)
    made: list[object] = []
    items = [[number] for number in range(2 * STRETCH)]
    kept = Kept()
    kept.each(made.append, tuple(items))
    first = items[STRETCH]
    for number in range(50):
        kept = Kept(kept.closed())
        items[0] = [1000 + number]
        kept.each(made.append, tuple(items))
        results, named, _ = kept.closed().results()
        assert len(results) + len(named) < 2.5 * len(items)
    made.clear()
    kept = Kept(kept.closed())
    items[STRETCH] = [first[0]]
    kept.each(made.append, tuple(items))
    assert made == [items[STRETCH]], "the rest of a stretch that nobody has touched for long is still there"


def test_the_same_parts_cut_at_other_places_are_other_items() -> None:
    kept = Kept()
    a, b, c, d = [1], [2], [3], [4]
    assert kept.rows(count, [(a, b, c), (d,)]) == (3, 1)
    assert kept.rows(count, [(a, b), (c, d)]) == (2, 2)


def count(*parts: object) -> int:
    return len(parts)


def test_names_that_nobody_comes_to_any_more_are_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_module, "LEAST_STALE", 5)
    kept = Kept()
    for number in range(100):
        kept = Kept(kept.closed())
        kept.last(("name", number), (), list, ())
        kept.same(("name", number), number)
    assert len(kept.closed().results()[1]) < 20


def test_what_a_run_that_fails_has_made_is_not_taken_for_good() -> None:
    made: list[object] = []
    part = [1]
    good = Kept().closed()
    Kept(good).of(made.append, part)  # and is never closed
    Kept(good).of(made.append, part)
    assert made == [part, part]


def test_another_object_is_another_part_however_equal() -> None:
    kept, made = Kept(), []
    for part in ([1], [1]):
        kept.of(made.append, part)
    assert len(made) == 2


def test_an_equal_value_is_the_object_that_was_there_before() -> None:
    kept = Kept()
    first, equal, other = [1], [1], [2]
    assert kept.same("name", first) is first
    assert Kept(kept.closed()).same("name", equal) is first
    assert kept.same("name", other) is other


def by_way_of(kept: Kept, items: tuple[object, ...]) -> tuple[object, ...]:
    """All that there is for long tuples, of one that is known by its stretches and of one that is not."""
    singles = kept.each(str, items)
    pairs = kept.chained(twice, singles)
    return (
        singles,
        pairs,
        kept.stretches(len, pairs),
        kept.rows(count, [(item, item) for item in items]),
        kept.folded("counted", pairs, Counter, lambda before, gone, come: before - Counter(gone) + Counter(come)),
        kept.joined([kept.tuple_of(items[:3]), kept.tuple_of(items[3:])]),
    )


def twice(item: str) -> tuple[str, ...]:
    return (item,) * (len(item) % 3)


@pytest.mark.parametrize("seed", range(20))
def test_long_tuples_are_worked_through_as_if_for_the_first_time(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when results are forgotten, and when a run that fails lies in between."""
    monkeypatch.setattr(kept_module, "LEAST_STALE", 50)
    chance, kept = random.Random(seed), Kept()
    items = [[number] for number in range(chance.choice([3, STRETCH, 5 * STRETCH + 2]))]
    for _ in range(40):
        for _ in range(chance.choice([0, 1, 1, 2, len(items)])):
            at, edit = chance.randrange(len(items)), chance.random()
            if edit < 0.8:
                items[at] = [chance.randrange(2000)]
            elif edit < 0.9:
                items.insert(at, [chance.randrange(2000)])
            elif len(items) > 2:
                del items[at]
        run = Kept(kept)
        assert by_way_of(run, tuple(items)) == by_way_of(Kept(), tuple(items))
        if chance.random() < 0.8:
            kept = run.closed()


def test_what_is_made_of_another_common_part_is_another_result() -> None:
    items, kept = ([1], [2]), Kept()
    for common in ("a", "b"):
        kept = Kept(kept.closed())
        assert kept.each(followed_by, items, common) == (f"[1]{common}", f"[2]{common}")


def followed_by(item: list[int], common: str) -> str:
    return f"{item}{common}"


def test_a_result_follows_the_few_items_that_have_changed() -> None:
    whole: list[int] = []

    def total(items: tuple[list[int], ...]) -> int:
        whole.append(len(items))
        return sum(map(sum, items))

    def followed(before: int, gone: Sequence[list[int]], come: Sequence[list[int]]) -> int:
        assert (len(gone), len(come)) == (1, 1)
        return before - sum(gone[0]) + sum(come[0])

    items, kept = [[number] for number in range(10 * STRETCH)], Kept()
    for value in range(5):
        items[STRETCH] = [value]
        kept = Kept(kept.closed())
        assert kept.folded("total", tuple(items), total, followed) == sum(map(sum, items))
    assert whole == [len(items)]


def test_an_equal_value_is_still_the_same_object_after_others_were_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where what it is part of was not made again meanwhile."""
    monkeypatch.setattr(kept_module, "LEAST_STALE", 5)

    def make(item: list[int], kept: Kept) -> list[int]:
        return kept.same(("parity", item[0] // 1000), kept.of(parity, item))

    items, kept = [[1000 * number] for number in range(STRETCH)], Kept()
    first = kept.each(make, tuple(items), using=(kept,))
    for number in range(1, 50):
        kept = Kept(kept.closed())
        items[0] = [number]
        kept.each(make, tuple(items), using=(kept,))
    kept = Kept(kept.closed())
    items[1] = [1002]
    assert kept.each(make, tuple(items), using=(kept,))[1] is first[1]


def parity(item: list[int]) -> list[int]:
    return [item[0] % 2]


def test_maps_by_name_follow_edits_and_the_first_of_a_name_counts() -> None:
    chance, kept = random.Random(1), Kept()
    pairs = [(f"m{number}", [number]) for number in range(3 * STRETCH)]
    for _ in range(200):
        at, edit = chance.randrange(len(pairs)), chance.random()
        if edit < 0.7:
            pairs[at] = pairs[at][0], [chance.randrange(2000)]
        elif edit < 0.8:
            pairs[at] = f"m{chance.randrange(len(pairs))}", [0]
        elif edit < 0.9:
            pairs.insert(at, (f"m{chance.randrange(len(pairs))}", [1]))
        else:
            del pairs[at]
        kept = Kept(kept.closed())
        found = by_name(kept, "models", tuple(pairs))
        first = dict(reversed(pairs))
        assert list(found.items()) == sorted(first.items())


@pytest.mark.parametrize("seed", range(10))
def test_an_address_that_two_models_have_is_found_whatever_edit_gave_it_to_them(seed: int) -> None:
    chance, kept = random.Random(seed), Kept()
    addresses = [[f"10.0.{model}.{at}:80" for at in range(2)] for model in range(2 * STRETCH)]
    for _ in range(60):
        model, edit = chance.randrange(len(addresses)), chance.random()
        if edit < 0.5:
            addresses[model] = [f"10.1.{model}.{chance.randrange(250)}:80"]
        elif edit < 0.8:
            addresses[model] = [*addresses[chance.randrange(len(addresses))]]
        elif edit < 0.9:
            addresses[model] = ["10.2.0.1:80", "10.2.0.1:80"]
        else:
            addresses.pop(model)
        portions = tuple(
            ((f"m{number}", tuple((address, Position("a.yaml", number, at)) for at, address in enumerate(own))),)
            for number, own in enumerate(addresses)
        )
        run, found, fresh = Kept(kept), list[Diagnostic](), list[Diagnostic]()
        check_addresses(kept_as_before(portions, run), run, found)
        check_addresses(portions, Kept(), fresh)
        assert found == fresh
        if not found:
            kept = run.closed()


def kept_as_before(portions: tuple[tuple[object, ...], ...], kept: Kept) -> Any:
    return tuple(kept.same(("portion", at), portion) for at, portion in enumerate(portions))
