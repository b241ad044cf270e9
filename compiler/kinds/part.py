"""What every map in a policy is, and what every document begins with."""

import typing
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from compiler.kinds.owner_keys import OwnerKey
from compiler.kinds.values import LabelValue, Name, Namespace, Text


def camel_case(field: str) -> str:
    """`max_seq_len` as policy spells it: `maxSeqLen`. Digits keep the case of what follows: `consecutive5xxErrors`."""
    first, *others = field.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in others)


class Part(BaseModel):
    """A map in a policy. Unknown keys are refused; values are never converted from another type.

    For a quick start, annotations are not postponed in the modules of the kinds, as pydantic would evaluate the text of
    each; and a validator is built when the first document of a kind comes, for the document as a whole. So a part that
    is another's default is made by `model_construct`.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, alias_generator=camel_case, defer_build=True)

    def model_post_init(self, _: Any) -> None:
        """Thousands of parts of a fleet state the same fields, and a set of names is larger than what it names: they
        share it. Nothing changes it: parts are frozen, and so are their copies."""
        stated = self.__pydantic_fields_set__
        _set(self, "__pydantic_fields_set__", _STATED.setdefault(frozenset(stated), stated))

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's, in two thirds of its time: a part has nothing beside its fields, and a version takes ten."""
        if deep:
            return super().model_copy(update=update, deep=deep)
        kind, changes = type(self), update or {}
        copied, stated = kind.__new__(kind), frozenset((*self.__pydantic_fields_set__, *changes))
        _set(copied, "__dict__", {**self.__dict__, **changes})
        _set(copied, "__pydantic_fields_set__", _STATED.get(stated) or _STATED.setdefault(stated, set(stated)))
        _set(copied, "__pydantic_extra__", None)
        _set(copied, "__pydantic_private__", None)
        return copied


_set = object.__setattr__
_STATED: dict[frozenset[str], set[str]] = {}
"""Of each schema the few sets of fields that policies state."""


def later(description: str, **constraints: Any) -> Any:
    """A field whose effect comes with a later version: accepted, checked, and answered with P116."""
    return Field(
        default=None, description=f"{description} No effect yet.", json_schema_extra={"x-later": True}, **constraints
    )


def part_of(annotation: Any) -> type[BaseModel] | None:
    """The schema that `annotation` holds: itself, as an option, or as the items of a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in typing.get_args(annotation):
        if (part := part_of(argument)) is not None:
            return part
    return None


class SecretRef(Part):
    """Names a secret; its value never stands in policy."""

    name: Name
    """The Kubernetes Secret; for Turnout's own Envoys, the folder of that name on their machine."""
    key: Text | None = None
    """An entry of it, where one is meant."""


class Metadata(Part):
    name: Name
    """Unique among policies of its kind."""
    namespace: Namespace | None = None
    """Of the objects rendered from this policy. Default: Platform's."""
    labels: dict[OwnerKey, LabelValue] = {}
    """Put on every object rendered from this policy; not those that Turnout itself writes (P115)."""
    annotations: dict[OwnerKey, str] = {}
    """Put on every object rendered from this policy; any text may be their value. Not those that Turnout itself or
    Argo CD writes, and no hooks (P115)."""


class Document(Part):
    """What every policy document begins with."""

    api_version: Literal["turnout.dev/v1"]
    """The version of the policy language."""
    kind: str
    """What the document describes."""
    metadata: Metadata
    """Its name, and what Kubernetes is told with every object made of it."""
