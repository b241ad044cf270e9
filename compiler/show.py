"""The effective policy of one model or rollout, each value with the line or the default it comes from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compiler.decode import Policies, Policy
from compiler.diagnostics import Position
from compiler.fleet import Rollout
from compiler.kept import Kept
from compiler.kinds import InferenceModel
from compiler.kinds import Rollout as RolloutKind
from compiler.kinds.inference_model import InferenceModelSpec, VersionSpec
from compiler.link import Settings
from compiler.link.endpoints import endpoints_of
from compiler.link.models import Alternative, effective_versions
from compiler.link.pools import pool_of, pools
from compiler.link.recovery import recoveries
from compiler.nodes import Loc, Node, at, dotted
from compiler.report import shown
from compiler.rollout_document import rollout_spec


@dataclass(frozen=True, slots=True)
class Value:
    """One leaf of an effective policy."""

    loc: Loc
    """`("spec", "traffic", "retries", "attempts")`."""
    value: Any
    """As policy would write it."""
    origin: str
    """`file:line:column`, with ` Platform.defaults` where it is inherited, or `default`."""


def model_values(policy: Policy[InferenceModel], policies: Policies, settings: Settings, root: Path) -> list[Value]:
    """Every value of the model, in the schema's order; what versions may set for themselves under each version."""
    recovery = recoveries(policies, Kept(), []).get(policy.body.metadata.name)
    views = effective_versions(policy, policies, settings, recovery)
    pool = _pool(policy, views, policies, settings)
    specs = [
        spec.model_copy(update={"pool": pool}).model_dump(mode="json", by_alias=True, exclude_none=True)
        for _, spec in views
    ]
    metadata = policy.body.metadata.model_dump(by_alias=True, exclude_none=True)
    inherited = _Origins(policies, root)
    if policy.body.spec.versions is None:
        return list(inherited.values({"metadata": metadata, "spec": specs[0]}, policy.node, (), ()))
    own = {info.alias or name for name, info in VersionSpec.model_fields.items()} - {"name", "weight"}
    shared = _common([{key: value for key, value in spec.items() if key not in own | {"version"}} for spec in specs])
    values = list(inherited.values({"metadata": metadata, "spec": shared}, policy.node, (), ()))
    for index, ((version, _), spec) in enumerate(zip(views, specs, strict=True)):
        alone = {key: value for key, value in spec.items() if key in own} | _beyond(spec, shared, own | {"version"})
        values += inherited.version(index, version, alone, policy)
    return values


def _pool(
    policy: Policy[InferenceModel],
    views: Iterable[tuple[Alternative, InferenceModelSpec]],
    policies: Policies,
    settings: Settings,
) -> str | None:
    """The name of the one that the model is in, which is the only one where policy names none."""
    has_gpus = any(spec.resources.gpu_count for _, spec in views)
    found = pool_of(policy, has_gpus, pools(policies, settings, Kept(), []), [])
    return policy.body.spec.pool if found is None else found.name


def rollout_values(policy: Policy[RolloutKind], rollout: Rollout, policies: Policies, root: Path) -> list[Value]:
    """Every value of the rollout that `policy` has become, in the schema's order."""
    metadata = policy.body.metadata.model_dump(by_alias=True, exclude_none=True)
    tree = {"metadata": metadata, "spec": rollout_spec(rollout)}
    return list(_Origins(policies, root).values(tree, policy.node, (), ()))


def _common(trees: list[dict[str, Any]]) -> dict[str, Any]:
    """What is the same in all of `trees`, leaf by leaf: defaults that follow a version's size are not."""
    first, result = trees[0], {}
    for key, value in first.items():
        if isinstance(value, dict) and value:
            result[key] = _common([tree[key] for tree in trees])
        elif all(tree.get(key) == value for tree in trees):
            result[key] = value
    return result


def _beyond(tree: dict[str, Any], shared: dict[str, Any], skip: set[str]) -> dict[str, Any]:
    """The leaves of `tree` that are not in `shared`."""
    result: dict[str, Any] = {}
    for key, value in tree.items():
        if key in skip:
            continue
        if isinstance(value, dict) and key in shared:
            if inner := _beyond(value, shared[key], set()):
                result[key] = inner
        elif key not in shared:
            result[key] = value
    return result


@dataclass(frozen=True, slots=True)
class _Origins:
    policies: Policies
    root: Path

    def values(self, tree: Any, node: Node, loc: Loc, path: Loc) -> Iterator[Value]:
        """The leaves of `tree`, which stands at `loc` of the policy `node` and is shown at `path`."""
        if isinstance(tree, dict) and tree:
            for key, value in tree.items():
                yield from self.values(value, node, (*loc, key), (*path, key))
        elif isinstance(tree, list | tuple) and any(isinstance(item, dict) for item in tree):
            for index, item in enumerate(tree):
                yield from self.values(item, node, (*loc, index), (*path, index))
        else:
            yield Value(path, tree, self._origin(node, loc))

    def version(
        self, index: int, version: Alternative, spec: dict[str, Any], policy: Policy[InferenceModel]
    ) -> Iterator[Value]:
        prefix: Loc = ("spec", "versions", index)
        yield Value((*prefix, "name"), version.policy.body.spec.version, shown(version.origin, self.root))
        yield Value((*prefix, "weight"), version.weight, self._origin(policy.node, (*prefix, "weight")))
        node, endpoints = version.policy.node, endpoints_of(policy, version.policy)
        for key, value in spec.items():
            if key == "endpoints" and endpoints:
                for shown_index, ((written, _), item) in enumerate(zip(endpoints, value, strict=True)):
                    yield from self.values(item, node, ("spec", key, written), (*prefix, key, shown_index))
            else:
                yield from self.values(value, node, ("spec", key), (*prefix, key))

    def _origin(self, node: Node, loc: Loc) -> str:
        found, exact = at(node, loc)
        if not exact:
            return "default"
        place = shown(found.position, self.root)
        return f"{place} Platform.defaults" if self._is_default(loc, found.position) else place

    def _is_default(self, loc: Loc, position: Position) -> bool:
        platform = self.policies.platform
        if platform is None:
            return False
        found, exact = at(platform.node, ("spec", "defaults", *loc[1:]))
        return exact and found.position == position


def as_text(values: Iterable[Value]) -> str:
    """`values` as a policy document, each leaf with its origin behind it."""
    rows: list[tuple[str, str]] = []
    before: Loc = ()
    for value in values:
        common = next((i for i, (a, b) in enumerate(zip(before, value.loc, strict=False)) if a != b), len(before))
        last = len(value.loc) - 1
        rows.extend((_row(value, depth), value.origin if depth == last else "") for depth in range(common, last + 1))
        before = value.loc
    merged = _join_items(rows)
    width = min(max((len(row) for row, _ in merged), default=0), 64)
    return "".join(f"{row:<{width}}  # {origin}\n" if origin else f"{row}\n" for row, origin in merged)


def _row(value: Value, depth: int) -> str:
    step = value.loc[depth]
    indent = "  " * depth
    if isinstance(step, int):
        return f"{indent}-"
    last = depth == len(value.loc) - 1
    return f"{indent}{step}: {json.dumps(value.value, ensure_ascii=False)}" if last else f"{indent}{step}:"


def _join_items(rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The `-` of a list item on the line of its first key."""
    joined: list[tuple[str, str]] = []
    for row, origin in rows:
        if joined and joined[-1][0].strip() == "-":
            dash = joined.pop()[0]
            joined.append((f"{dash} {row.strip()}", origin))
        else:
            joined.append((row, origin))
    return joined


def as_json(name: str, values: Iterable[Value], kind: str = "model") -> str:
    """`{"model": name, "values": [{"path", "value", "origin"}, …]}`; `kind` is its first key."""
    rows = [{"path": dotted(v.loc), "value": v.value, "origin": v.origin} for v in values]
    return json.dumps({kind: name, "values": rows}, indent=2, ensure_ascii=False) + "\n"
