"""YAML text for manifests: block style, and strings that every YAML reader takes for strings.

A fifth of the time of PyYAML's C dumper, for the shapes of manifests: maps, lists, text, numbers, booleans, null.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# Text that stands unquoted. Narrow on purpose: YAML 1.1 reads `on`, `1:30`, `0755`, `1_0`, `.5`, `=` and dates as
# something else, so what begins like a number is quoted, but for quantities and durations.
_PLAIN = re.compile(
    r"""(?: --[A-Za-z][A-Za-z0-9_-]*                       # --served-model-name
        |   [A-Za-z_/][A-Za-z0-9_./@-]*(?::[A-Za-z0-9_./@-]+)*   # a word, a path, an image, a URI
        |   (?:0|[1-9][0-9]*)(?:ms|s|m|[KMGT]i) )\Z""",
    re.VERBOSE,
)
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
# JSON leaves these as they are, and YAML forbids them, or breaks lines at them.
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
# A program or the like: lines of plain text that begin at the margin, with one line break at the end. YAML takes the
# indentation from the first line, and breaks lines at some characters that are not among these.
_BLOCK = re.compile(r"[!-~][\t -~]*\n(?:[\t -~]*\n)*[\t -~]*[!-~][\t -~]*\n\Z")
# JSON within YAML reads best in single quotes, which escape nothing but themselves.
_JSON = re.compile(r"[\[{][ -~]*\Z")
_LISTS = (list, tuple)
_CONSTANTS = {None: "null", False: "false", True: "true"}


def yaml_text(value: Mapping[str, Any] | Sequence[Any]) -> str:
    """`value` as one document without markers, ending in a line break. Keys keep their order.

    Raises TypeError for anything that is not JSON's, NaN and infinities included.
    """
    lines: list[str] = []
    _add(lines.append, "", "\n", value)
    lines.append("\n")
    return "".join(lines)


def _add(add: Callable[[str], None], lead: str, indent: str, value: Any) -> None:
    """Adds the lines of `value`: `lead` stands before the first, `indent`, with its line break, before the others."""
    if value and isinstance(value, Mapping):
        _add_entries(add, lead, indent, value)
    elif value and isinstance(value, _LISTS):
        _add_items(add, lead, indent, value)
    else:
        add(f"{lead}{_scalar(value)}")


def _add_items(add: Callable[[str], None], lead: str, indent: str, items: Sequence[Any]) -> None:
    lead, others, below = f"{lead}- ", f"{indent}- ", f"{indent}  "
    for item in items:
        kind = type(item)  # exact types first, here and below: most of a manifest, and quicker than abstract ones
        if kind is str:
            add(f"{lead}{_STRINGS[item]}")
        elif kind is dict and item:
            _add_entries(add, lead, below, item)
        else:
            _add(add, lead, below, item)
        lead = others


def _add_entries(add: Callable[[str], None], lead: str, indent: str, entries: Mapping[str, Any]) -> None:
    for key, item in entries.items():
        kind = type(item)
        if kind is str and "\n" not in item:
            add(f"{lead}{_STRINGS[key]}: {_STRINGS[item]}")
        elif kind is dict and item:
            add(f"{lead}{_STRINGS[key]}:")
            below = f"{indent}  "
            _add_entries(add, below, below, item)
        elif kind is int:
            add(f"{lead}{_STRINGS[key]}: {item}")
        elif item and isinstance(item, _LISTS):
            # Lists stand at their key's own column, as kubectl writes them.
            add(f"{lead}{_STRINGS[key]}:")
            _add_items(add, indent, indent, item)
        elif item and isinstance(item, Mapping):
            add(f"{lead}{_STRINGS[key]}:")
            _add(add, f"{indent}  ", f"{indent}  ", item)
        elif kind is str and _BLOCK.match(item):
            add(f"{lead}{_STRINGS[key]}: |")
            for line in item[:-1].split("\n"):
                add(f"{indent}  {line}" if line else "\n")
        else:
            add(f"{lead}{_STRINGS[key]}: {_scalar(item)}")
        lead = indent


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _STRINGS[value]
    if value is None or isinstance(value, bool):
        return _CONSTANTS[value]
    if isinstance(value, int):
        return int.__repr__(value)  # of an enumeration, too
    if isinstance(value, float) and math.isfinite(value):
        text = repr(value)
        # YAML 1.1 takes an exponent only behind a decimal point.
        return text.replace("e", ".0e") if "e" in text and "." not in text else text
    if isinstance(value, Mapping) and not value:
        return "{}"
    if isinstance(value, _LISTS) and not value:
        return "[]"
    raise TypeError(f"{value!r} has no place in a manifest")


def _string(value: str) -> str:
    if _PLAIN.match(value) and value.lower() not in _WORDS:
        return value
    if _JSON.match(value):
        return "'" + value.replace("'", "''") + "'"
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))


class _Strings(dict[str, str]):
    """What `_string` says of each text: a fleet has few, and says them over and over."""

    def __missing__(self, value: str) -> str:
        if len(self) >= _MOST_STRINGS:
            self.clear()
        text = self[value] = _string(value)
        return text


_STRINGS = _Strings()
_MOST_STRINGS = 1 << 16
