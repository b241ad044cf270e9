"""Policies that change at random, and who may answer a request while they do."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from demo.policies import save

GROUPS = ("public", "internal", "sidecar")
HOSTS = {"public": "public.test", "internal": "internal.test", "sidecar": "localhost"}
AUTO = "auto"
TEAMS = ("", "red", "green", "blue")
STAYING = ("stay-0", "stay-1", "stay-2")
"""Models that are never taken away."""
MODELS_AT_MOST = 7
VERSIONS_AT_MOST = 3
INSTANCES_AT_MOST = 3


@dataclass(frozen=True)
class Ask:
    """What distinguishes requests: the model they name, and who sends them."""

    name: str
    team: str = ""


@dataclass(frozen=True)
class Version:
    name: str
    weight: int
    instances: tuple[int, ...]
    """Ports of loopback; there is always one at least."""


@dataclass(frozen=True)
class Model:
    name: str
    versions: tuple[Version, ...]
    file: str
    aliases: tuple[str, ...] = ()
    mirror: str = ""
    traffic: Mapping[str, Any] = field(default_factory=dict)
    """Timeouts, retries, health checks and so on, as the policy writes them."""

    @property
    def instances(self) -> Iterator[tuple[int, str]]:
        """Each port, and who is there."""
        for version in self.versions:
            for instance in version.instances:
                yield instance, f"{self.name}/{version.name}"


@dataclass(frozen=True)
class Draft:
    """All policies, at a time."""

    models: Mapping[str, Model]
    rules: Mapping[str, str] = field(default_factory=dict)
    """Of `auto`: the model of each team."""
    chain: tuple[str, ...] = ()
    internal: tuple[str, ...] = STAYING
    """Models that the gateway of this name serves."""
    body_limit: int = 4
    order: int = 0
    """What the order of the documents comes from."""

    def instances(self) -> dict[int, str]:
        return {port: who for model in self.models.values() for port, who in model.instances}

    def asks(self, group: str) -> frozenset[Ask]:
        models = [self.models[name] for name in (self.internal if group == "internal" else self.models)]
        named = {Ask(name) for model in models for name in (model.name, *model.aliases)}
        return frozenset(named if group == "internal" else named | {Ask(AUTO, team) for team in TEAMS})

    def answering(self, ask: Ask) -> frozenset[str]:
        """Who may answer, as `model/version`."""
        wanted = self.rules.get(ask.team, STAYING[0]) if ask.name == AUTO else ask.name
        for model in self.models.values():
            if wanted in (model.name, *model.aliases):
                return frozenset(f"{model.name}/{version.name}" for version in model.versions if version.weight)
        return frozenset()

    def changed(self, model: Model, **changes: Any) -> Draft:
        return replace(self, models={**self.models, model.name: replace(model, **changes)})

    def settings(self, model: Model, **traffic: Any) -> Draft:
        return self.changed(model, traffic={**model.traffic, **traffic})


class Chance:
    """What edits are drawn from: a seed, and the ports at which somebody answers who is not listed yet."""

    def __init__(self, seed: int, free: Iterable[int]) -> None:
        self.random = random.Random(seed)
        self.free = list(free)
        self.settled: frozenset[int] = frozenset()
        """Instances that every Envoy takes for healthy."""
        self._number = 0

    def number(self) -> int:
        """Never the same twice."""
        self._number += 1
        return self._number

    def instances(self, count: int) -> tuple[int, ...]:
        self.random.shuffle(self.free)
        return tuple(self.free.pop() for _ in range(count))

    def weights(self, count: int) -> tuple[int, ...]:
        """Some may be 0."""
        cuts = sorted(self.random.choice((0, 100, *range(10, 100, 10))) for _ in range(count - 1))
        return tuple(end - start for start, end in zip((0, *cuts), (*cuts, 100), strict=True))


Edit = Callable[[Draft, Chance], Draft | None]
"""`None` where there is nothing to be changed in this way."""


def first(chance: Chance) -> Draft:
    models = {}
    for number, name in enumerate(STAYING):
        weights = chance.weights(1 + number % 2)
        versions = tuple(Version(f"1.{n}", weight, chance.instances(2)) for n, weight in enumerate(weights))
        models[name] = Model(name, versions, "models")
    return Draft(models)


def edited(draft: Draft, chance: Chance) -> tuple[str, Draft]:
    """The name of the edit, and what it leaves."""
    while True:
        edit = chance.random.choice(EDITS)
        after = edit(draft, chance)
        if after is not None and after != draft:
            return edit.__name__, after


def move_weights(draft: Draft, chance: Chance) -> Draft | None:
    model = _model(draft, chance)
    return _weighted(draft, model, model.versions, chance)


def add_an_instance(draft: Draft, chance: Chance) -> Draft | None:
    model = _model(draft, chance)
    version = chance.random.choice(model.versions)
    if len(version.instances) == INSTANCES_AT_MOST or not chance.free:
        return None
    return _with(draft, model, replace(version, instances=(*version.instances, *chance.instances(1))))


def remove_an_instance(draft: Draft, chance: Chance) -> Draft | None:
    """Not the last that is known to be healthy: the others may not have been looked at yet."""
    model = _model(draft, chance)
    version = chance.random.choice(model.versions)
    gone = chance.random.choice(version.instances)
    left = tuple(instance for instance in version.instances if instance != gone)
    return _with(draft, model, replace(version, instances=left)) if chance.settled & set(left) else None


def replace_instances(draft: Draft, chance: Chance) -> Draft | None:
    """All but one that is known to be healthy."""
    model = _model(draft, chance)
    version = chance.random.choice(model.versions)
    stays = [instance for instance in version.instances if instance in chance.settled]
    if not stays or not chance.free:
        return None
    instances = (chance.random.choice(stays), *chance.instances(1))
    return _with(draft, model, replace(version, instances=instances))


def add_a_model(draft: Draft, chance: Chance) -> Draft | None:
    if len(draft.models) == MODELS_AT_MOST or len(chance.free) < 2:
        return None
    name = f"guest-{chance.number()}"
    model = Model(name, (Version("1", 100, chance.instances(chance.random.choice((1, 2)))),), "models")
    return replace(draft, models={**draft.models, name: model})


def remove_a_model(draft: Draft, chance: Chance) -> Draft | None:
    """With all that points to it. Only what nobody asks for by name may go."""
    model = _model(draft, chance)
    if model.name in STAYING:
        return None
    kept = {name: other for name, other in draft.models.items() if name != model.name}
    return replace(
        draft,
        models={name: replace(m, mirror="") if m.mirror == model.name else m for name, m in kept.items()},
        rules={team: target for team, target in draft.rules.items() if target != model.name},
        chain=tuple(hop for hop in draft.chain if hop != model.name),
        internal=tuple(name for name in draft.internal if name != model.name),
    )


def add_a_version(draft: Draft, chance: Chance) -> Draft | None:
    model = _model(draft, chance)
    if len(model.versions) == VERSIONS_AT_MOST or not chance.free:
        return None
    version = Version(f"2.{chance.number()}", 0, chance.instances(1))
    return _weighted(draft, model, (*model.versions, version), chance)


def remove_a_version(draft: Draft, chance: Chance) -> Draft | None:
    model = _model(draft, chance)
    gone = chance.random.choice(model.versions)
    left = tuple(version for version in model.versions if version != gone)
    return _weighted(draft, model, left, chance) if left else None


def change_the_rules(draft: Draft, chance: Chance) -> Draft:
    teams = [team for team in TEAMS if team and chance.random.random() < 0.7]
    return replace(draft, rules={team: _model(draft, chance).name for team in teams})


def change_an_alias(draft: Draft, chance: Chance) -> Draft:
    model = _model(draft, chance)
    if model.aliases:
        return draft.changed(model, aliases=())
    return draft.changed(model, aliases=(f"alias-{chance.number()}",))


def change_a_timeout(draft: Draft, chance: Chance) -> Draft:
    seconds = 60 + chance.number()
    return draft.settings(_model(draft, chance), timeouts={"unary": {"total": f"{seconds}s"}})


def change_the_retries(draft: Draft, chance: Chance) -> Draft:
    return draft.settings(_model(draft, chance), retries={"attempts": chance.random.choice((0, 0, 1, 3))})


def change_the_health_check(draft: Draft, chance: Chance) -> Draft:
    """The cluster changes, and with it who is taken for healthy starts anew."""
    path, seconds = chance.random.choice(("/health", "/health?again")), chance.random.randint(4, 8)
    return draft.settings(_model(draft, chance), healthCheck={"path": path, "interval": f"{seconds}s"})


def change_the_balancing(draft: Draft, chance: Chance) -> Draft:
    strategy = chance.random.choice(("round_robin", "least_connections"))
    return draft.settings(_model(draft, chance), loadBalancing={"strategy": strategy})


def change_the_connections(draft: Draft, chance: Chance) -> Draft:
    return draft.settings(_model(draft, chance), connectionPool={"connectTimeout": f"{5000 + chance.number()}ms"})


def change_a_mirror(draft: Draft, chance: Chance) -> Draft:
    model, other = _model(draft, chance), _model(draft, chance)
    return draft.changed(model, mirror="" if model.mirror or other is model else other.name)


def change_the_chain(draft: Draft, chance: Chance) -> Draft:
    """Aggregates come and go."""
    hops = chance.random.sample(sorted(draft.models), chance.random.choice((0, 1, 2)))
    return replace(draft, chain=tuple(hops))


def change_what_a_gateway_serves(draft: Draft, chance: Chance) -> Draft:
    guests = [name for name in draft.models if name not in STAYING and chance.random.random() < 0.5]
    return replace(draft, internal=(*STAYING, *guests))


def change_the_body_limit(draft: Draft, chance: Chance) -> Draft:
    return replace(draft, body_limit=chance.random.randint(4, 16))


def move_a_model_to_another_file(draft: Draft, chance: Chance) -> Draft:
    return draft.changed(_model(draft, chance), file=chance.random.choice(("models", "more", "others")))


def rewrite_everything(draft: Draft, chance: Chance) -> Draft:
    """Other files, another order, and several other edits in the same save."""
    for _ in range(chance.random.randint(0, 4)):
        _, draft = edited(draft, chance)
    number = chance.number()
    models = {name: replace(model, file=f"rewritten-{number}") for name, model in draft.models.items()}
    return replace(draft, models=models, order=number)


EDITS: tuple[Edit, ...] = (
    move_weights,
    move_weights,
    add_an_instance,
    add_an_instance,
    remove_an_instance,
    remove_an_instance,
    replace_instances,
    add_a_model,
    add_a_model,
    remove_a_model,
    add_a_version,
    add_a_version,
    remove_a_version,
    remove_a_version,
    change_the_rules,
    change_an_alias,
    change_a_timeout,
    change_the_retries,
    change_the_health_check,
    change_the_balancing,
    change_the_connections,
    change_a_mirror,
    change_the_chain,
    change_what_a_gateway_serves,
    change_the_body_limit,
    move_a_model_to_another_file,
    rewrite_everything,
)


def write(folder: Path, before: Draft, draft: Draft) -> None:
    """A model on its way to another file is in both for a moment, which is an error, and so never in none."""
    old, new = ({name: model.file for name, model in at.models.items()} for at in (before, draft))
    goals = {file for name, file in new.items() if old.get(name) != file}
    files = _files(draft)
    for name in sorted(files, key=lambda name: name not in goals):
        path = folder / f"{name}.yaml"
        if not path.exists() or path.read_text() != files[name]:
            save(path, files[name])
    for path in folder.glob("*.yaml"):
        if path.stem not in files:
            path.unlink()


def _files(draft: Draft) -> dict[str, str]:
    found: dict[str, list[dict[str, Any]]] = {"platform": [_platform()], "routing": list(_routing(draft))}
    names = sorted(draft.models)
    random.Random(draft.order).shuffle(names)
    for name in names:
        model = draft.models[name]
        found.setdefault(model.file, []).append(_inference_model(model))
    # JSON is YAML, and quick to write.
    return {name: "---\n".join(json.dumps(d, indent=1) + "\n" for d in documents) for name, documents in found.items()}


def _platform() -> dict[str, Any]:
    # Whatever Envoy would try again would be hidden from the client.
    traffic = {
        "retries": {"attempts": 0},
        "healthCheck": {"interval": "5s", "timeout": "3s", "successThreshold": 1},
        "connectionPool": {"connectTimeout": "5s"},
    }
    return _document("Platform", "platform", {"defaults": {"traffic": traffic}})


def _routing(draft: Draft) -> Iterator[dict[str, Any]]:
    limit = f"{draft.body_limit}Mi"
    yield _document("Gateway", "public", {"hosts": [HOSTS["public"]], "maxRequestBytes": limit})
    yield _document("Gateway", "internal", {"hosts": [HOSTS["internal"]], "models": list(draft.internal)})
    members = [{"name": name} for name in sorted(draft.models)]
    routing = {
        "defaultModel": STAYING[0],
        "rules": [
            {
                "name": f"for-{team}",
                "conditions": [{"field": "header.x-team", "operator": "eq", "value": team}],
                "target": target,
            }
            for team, target in draft.rules.items()
        ],
        "fallback": {"chain": [{"model": hop} for hop in draft.chain]},
    }
    yield _document("ModelOrchestrator", AUTO, {"gateway": "public", "models": members, "routing": routing})


def _inference_model(model: Model) -> dict[str, Any]:
    mirror = {"mirror": {"model": model.mirror, "percent": 50}} if model.mirror else {}
    versions = [
        {
            "name": version.name,
            "weight": version.weight,
            "endpoints": [{"address": "127.0.0.1", "port": port, "zone": "az-1"} for port in version.instances],
        }
        for version in model.versions
    ]
    spec = {
        "modelName": f"example/{model.name}",
        "aliases": list(model.aliases),
        "traffic": {**model.traffic, **mirror},
        "versions": versions,
    }
    return _document("InferenceModel", model.name, spec)


def _document(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "turnout.dev/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def _model(draft: Draft, chance: Chance) -> Model:
    return draft.models[chance.random.choice(sorted(draft.models))]


def _with(draft: Draft, model: Model, version: Version) -> Draft:
    versions = (version if version.name == other.name else other for other in model.versions)
    return draft.changed(model, versions=tuple(versions))


def _weighted(draft: Draft, model: Model, versions: tuple[Version, ...], chance: Chance) -> Draft:
    weights = chance.weights(len(versions))
    return draft.changed(
        model, versions=tuple(replace(v, weight=weight) for v, weight in zip(versions, weights, strict=True))
    )
