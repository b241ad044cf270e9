"""What a routing rule asks of a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from compiler.diagnostics import Position


class Field(StrEnum):
    """What of a request a condition looks at."""

    MODEL = "model"
    USER_TIER = "user_tier"
    PATH = "path"
    METHOD = "method"
    HEADER = "header"
    METADATA = "metadata"
    PROMPT_LENGTH = "prompt_length"
    MAX_TOKENS = "max_tokens"
    CAPABILITY = "capability"
    STREAM = "stream"


class LengthUnit(StrEnum):
    """What prompt_length counts."""

    CHARACTERS = "characters"
    """Code points."""
    BYTES = "bytes"
    """Of the text in UTF-8."""


MOST_OF_A_REGEX = 32_768
"""Instructions of the program that RE2 makes of a regular expression; Istio's own limit for its proxies."""


class FieldType(StrEnum):
    TEXT = "text"
    INTEGER = "integer"
    SET = "set"
    BOOLEAN = "boolean"


class Operator(StrEnum):
    EQ = "eq"
    NE = "ne"
    GT = "gt"
    GE = "ge"
    LT = "lt"
    LE = "le"
    IN = "in"
    CONTAINS = "contains"
    PREFIX = "prefix"
    REGEX = "regex"


TYPES: Mapping[Field, FieldType] = {
    Field.MODEL: FieldType.TEXT,
    Field.USER_TIER: FieldType.TEXT,
    Field.PATH: FieldType.TEXT,
    Field.METHOD: FieldType.TEXT,
    Field.HEADER: FieldType.TEXT,
    Field.METADATA: FieldType.TEXT,
    Field.PROMPT_LENGTH: FieldType.INTEGER,
    Field.MAX_TOKENS: FieldType.INTEGER,
    Field.CAPABILITY: FieldType.SET,
    Field.STREAM: FieldType.BOOLEAN,
}

OPERATORS: Mapping[FieldType, tuple[Operator, ...]] = {
    FieldType.TEXT: (
        Operator.EQ, Operator.NE, Operator.IN, Operator.CONTAINS, Operator.PREFIX, Operator.REGEX,
    ),
    FieldType.INTEGER: (
        Operator.EQ, Operator.NE, Operator.GT, Operator.GE, Operator.LT, Operator.LE, Operator.IN,
    ),
    FieldType.SET: (Operator.CONTAINS, Operator.IN),
    FieldType.BOOLEAN: (Operator.EQ,),
}  # fmt: skip
"""What can be asked of each type; anything else is P106."""

Value = str | int | bool


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that must hold. It never does for a field that the request does not have, `ne` included."""

    field: Field
    key: str
    """Of the header, in lower case, or of the metadata entry; empty for the other fields."""
    operator: Operator
    values: tuple[Value, ...]
    """One; for `in` one or more, of which any will do. Of the field's type: text, integers, or a boolean."""
    origin: Position
    value_origins: tuple[Position, ...] = ()
    """Of each value of an `in` list, in order; the other operators have one value, and `origin` is near enough."""

    @property
    def type(self) -> FieldType:
        return TYPES[self.field]

    @property
    def asked(self) -> str:
        """The field as policy writes it: `header.x-team`."""
        return f"{self.field}.{self.key}" if self.key else str(self.field)

    def __str__(self) -> str:
        """As people say it: `user_tier in [pro, enterprise]`."""
        values = ", ".join(str(value).lower() if isinstance(value, bool) else str(value) for value in self.values)
        return f"{self.asked} {self.operator} {f'[{values}]' if self.operator is Operator.IN else values}"
