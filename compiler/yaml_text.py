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


def yaml_text(value: Mapping[str, Any] | Sequence[Any]) -> str:
    """`value` as one document without markers, ending in a line break. Keys keep their order.

    Raises TypeError for anything that is not JSON's, NaN and infinities included.
    """
    lines: list[str] = []
    _add(lines, "", "", value)
    return "\n".join(lines) + "\n"


def _add(lines: list[str], lead: str, indent: str, value: Any) -> None:
    """The block of `value`; `lead` stands before its first line, `indent` before the others."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            _add_entry(lines, f"{lead}{_scalar(key)}:", indent, item)
            lead = indent
    elif _is_list(value) and value:
        for item in value:
            _add(lines, f"{lead}- ", f"{indent}  ", item)
            lead = indent
    else:
        lines.append(f"{lead}{_scalar(value)}")


def _add_entry(lines: list[str], key: str, indent: str, item: Any) -> None:
    if isinstance(item, Mapping) and item:
        lines.append(key)
        _add(lines, f"{indent}  ", f"{indent}  ", item)
    elif _is_list(item) and item:
        # Lists stand at their key's own column, as kubectl writes them.
        lines.append(key)
        _add(lines, indent, indent, item)
    elif isinstance(item, str) and _BLOCK.match(item):
        lines.append(f"{key} |")
        lines.extend(f"{indent}  {line}" if line else "" for line in item[:-1].split("\n"))
    else:
        lines.append(f"{key} {_scalar(item)}")


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _string(value)
    if value is None or isinstance(value, int):
        return json.dumps(value)
    if isinstance(value, float) and math.isfinite(value):
        text = repr(value)
        # YAML 1.1 takes an exponent only behind a decimal point.
        return text.replace("e", ".0e") if "e" in text and "." not in text else text
    if isinstance(value, Mapping) and not value:
        return "{}"
    if _is_list(value) and not value:
        return "[]"
    raise TypeError(f"{value!r} has no place in a manifest")


@functools.lru_cache(maxsize=4096)
def _string(value: str) -> str:
    if _PLAIN.match(value) and value.lower() not in _WORDS:
        return value
    if _JSON.match(value):
        return "'" + value.replace("'", "''") + "'"
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))
