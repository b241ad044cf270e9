"""A scratch copy of policies that can be served from this machine and edited, and the instances it speaks of.

Edits replace single values in the text, so that comments and layout stay what a person wrote.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from demo.processes import free_port


@dataclass(frozen=True, slots=True)
class Instance:
    """One entry of `endpoints` in a policy: where a model server is to listen, and what it is."""

    model: str
    version: str
    tier: str
    zone: str
    address: str
    port: int

    @property
    def name(self) -> str:
        return f"{self.model}-{self.version}-{self.tier}-{self.port}"


@dataclass(frozen=True, slots=True)
class Policies:
    """A folder of policies that is ours to edit."""

    folder: Path

    def instances(self) -> tuple[Instance, ...]:
        return tuple(
            Instance(
                model=_value(model, "metadata", "name"),
                version=version,
                tier=_value(endpoint, "tier") or "active",
                zone=_value(endpoint, "zone"),
                address=_value(endpoint, "address"),
                port=int(_value(endpoint, "port")),
            )
            for _, model in self._models()
            for version, endpoint in _endpoints(model)
        )

    def set_weights(self, model: str, weights: Mapping[str, int]) -> None:
        """Give versions of `model` other weights, in one save. Raises KeyError for a version it has not."""
        file, document = next((f, d) for f, d in self._models() if _value(d, "metadata", "name") == model)
        nodes = {_value(entry, "name"): _at(entry, "weight") for entry in _items(_at(document, "spec", "versions"))}
        save(file, _replaced(file.read_text(), {nodes[version]: str(weight) for version, weight in weights.items()}))

    def _models(self) -> Iterator[tuple[Path, yaml.Node]]:
        for file in sorted(self.folder.glob("*.yaml")):
            for document in _documents(file.read_text()):
                if _value(document, "kind") == "InferenceModel":
                    yield file, document


def scratch_copy(source: Path, folder: Path) -> Policies:
    """`source` copied to `folder`, with a port of its own for each endpoint that is free on this machine."""
    folder.mkdir(parents=True)
    for file in sorted(source.glob("*.yaml")):
        text = file.read_text()
        models = (document for document in _documents(text) if _value(document, "kind") == "InferenceModel")
        ports = {_at(endpoint, "port"): str(free_port()) for model in models for _, endpoint in _endpoints(model)}
        (folder / file.name).write_text(_replaced(text, ports))
    return Policies(folder)


def save(file: Path, text: str) -> None:
    """As editors save: a whole new file takes the old one's place, so that no reader ever sees half of it."""
    fresh = file.parent.with_name(f".{file.name}.new")
    fresh.write_text(text)
    fresh.replace(file)


def _documents(text: str) -> Iterator[yaml.Node]:
    return (document for document in yaml.compose_all(text, Loader=yaml.SafeLoader) if document is not None)


def _endpoints(model: yaml.Node) -> Iterator[tuple[str, yaml.Node]]:
    """Each endpoint of a model with the version that it serves."""
    single = _value(model, "spec", "version") or "1"
    for endpoint in _items(_at(model, "spec", "endpoints")):
        yield _value(endpoint, "version") or single, endpoint
    for version in _items(_at(model, "spec", "versions")):
        for endpoint in _items(_at(version, "endpoints")):
            yield _value(version, "name"), endpoint


def _at(node: yaml.Node | None, *keys: str) -> yaml.Node | None:
    for key in keys:
        if not isinstance(node, yaml.MappingNode):
            return None
        node = next((value for name, value in node.value if name.value == key), None)
    return node


def _items(node: yaml.Node | None) -> list[yaml.Node]:
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _value(node: yaml.Node | None, *keys: str) -> str:
    """A scalar as it is written; empty where there is none."""
    found = _at(node, *keys)
    return str(found.value) if isinstance(found, yaml.ScalarNode) else ""


def _replaced(text: str, values: Mapping[yaml.Node | None, str]) -> str:
    """`text` with other values in the places of some of its scalars."""
    found = [(node, value) for node, value in values.items() if node is not None]
    for node, value in sorted(found, key=lambda pair: -pair[0].start_mark.index):
        text = text[: node.start_mark.index] + value + text[node.end_mark.index :]
    return text
