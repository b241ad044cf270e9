"""Policies for tests, written in a few words."""

from __future__ import annotations

import textwrap

from compiler.decode import decode
from compiler.diagnostics import Diagnostic
from compiler.fleet import Fleet, Model
from compiler.link import link
from compiler.parse import parse


def document(kind: str, name: str, spec: str = "") -> str:
    body = textwrap.indent(textwrap.dedent(spec).strip("\n"), "  ")
    return f"apiVersion: turnout.dev/v1\nkind: {kind}\nmetadata: {{name: {name}}}\n" + (
        f"spec:\n{body}\n" if spec else ""
    )


def model(name: str = "chat", spec: str = "") -> str:
    return document("InferenceModel", name, f"modelName: org/{name}\n" + textwrap.dedent(spec).strip("\n"))


def linked(*documents: str) -> tuple[Fleet | None, list[Diagnostic]]:
    """The fleet of `documents`, and what decoding and linking say of it."""
    nodes, unread = parse("---\n".join(documents), "policies/all.yaml")
    assert unread == ()
    policies, found = decode((nodes,))
    fleet, more = link(policies)
    return fleet, [*found, *more]


def fleet(*documents: str) -> Fleet:
    """The fleet of `documents`, which are valid."""
    result, found = linked(*documents)
    assert [d for d in found if d.code != "P116"] == []
    assert result is not None
    return result


def one_model(*documents: str) -> Model:
    (found,) = fleet(*documents).models
    return found


def codes(*documents: str) -> list[str]:
    return sorted(d.code for d in linked(*documents)[1])
