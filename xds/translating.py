"""Policies as they are read, translated one after the other, beside whatever else goes on."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from compiler.fleet import Fleet
from xds.cache import Prepared
from xds.observe.events import PoliciesRead, fault
from xds.stages import Stage

AGAIN = 1.0
"""Seconds until policies that could not be translated are tried again."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Translated:
    """Policies are ready to be served."""

    read: PoliciesRead
    prepared: Prepared
    again: bool
    """Whether it has failed before, which has been told."""
    stage: Stage
    """When that was."""


Prepare = Callable[[Fleet], Prepared]
Tell = Callable[[PoliciesRead | Translated], None]


async def follow(policies: AsyncIterator[PoliciesRead], prepare: Prepare, tell: Tell) -> None:
    """Tells of each either that it is translated, or, without a fleet, that it is broken."""
    again: asyncio.Task[None] | None = None
    try:
        async for read in policies:
            if again is not None:
                again.cancel()
            again = await _translate(read, prepare, tell)
    finally:
        if again is not None:
            again.cancel()


async def _translate(read: PoliciesRead, prepare: Prepare, tell: Tell) -> asyncio.Task[None] | None:
    """The task that tries again what failed through no fault of the policies."""
    if read.fleet is None:
        tell(read)
        return None
    began = time.time()
    try:
        prepared = await asyncio.to_thread(prepare, read.fleet)
    except Exception:
        log.exception("translation failed digest=%s", read.digest)
        failed = (*read.diagnostics, fault(read.folder, "the translation for Envoy"))
        tell(replace(read, fleet=None, diagnostics=failed))
        return asyncio.create_task(_translate_again(read, read.fleet, prepare, tell))
    tell(Translated(read, prepared, again=False, stage=Stage("translate", began, time.time())))
    return None


async def _translate_again(read: PoliciesRead, fleet: Fleet, prepare: Prepare, tell: Tell) -> None:
    while True:
        await asyncio.sleep(AGAIN)
        began = time.time()
        with suppress(Exception):  # it has been said
            prepared = await asyncio.to_thread(prepare, fleet)
            break
    tell(Translated(read, prepared, again=True, stage=Stage("translate", began, time.time())))
