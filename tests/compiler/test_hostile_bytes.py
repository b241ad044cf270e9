"""Policies with damage that chance has done: compiled, or told with places; never a traceback, never for long.

`make examples` tries far more. What people and programs really leave behind is in `test_hostile_files`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.pipeline import compile_policies

POLICIES = Path(__file__).parents[2] / "policies"
WHOLE = tuple(file.read_bytes() for file in sorted(POLICIES.rglob("*.yaml")))
TOKENS = (
    b": ",
    b"- ",
    b"\n",
    b"  ",
    b"{",
    b"}",
    b"[",
    b"]",
    b"&a ",
    b"*a",
    b"<<: ",
    b"? ",
    b"|\n",
    b"'",
    b'"',
    b"---\n",
)
VALUES = (
    b"null",
    b"true",
    b"-1",
    b"0x1f",
    b"1e999",
    b".nan",
    b"2026-01-01",
    b"!!binary x",
    b"\xff",
    b"\0",
    b"spec",
    b"~",
)

damages = st.tuples(
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 40),
    st.one_of(st.sampled_from(TOKENS + VALUES), st.binary(max_size=4)),
)


def compiled(text: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "policies" / "x.yaml"
        file.parent.mkdir()
        file.write_bytes(text)
        found = compile_policies(file.parent)
        lines = text.count(b"\n") + text.count(b"\r") + 2
        assert found.fleet is not None or found.diagnostics
        for told in found.diagnostics:
            assert 0 <= told.position.line <= lines
            assert len(told.message) < 1_000


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_compiled_or_told(text: bytes) -> None:
    compiled(text)


@settings(deadline=None)
@given(st.sampled_from(WHOLE), st.lists(damages, min_size=1, max_size=4))
def test_damaged_policies_are_compiled_or_told(whole: bytes, done: list[tuple[float, int, bytes]]) -> None:
    text = whole
    for where, length, instead in done:
        at = int(where * len(text))
        text = text[:at] + instead + text[at + length :]
    compiled(text)
