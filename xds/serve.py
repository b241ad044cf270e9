"""`turnout serve`: the control server, put together."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from compiler.pipeline import fleet_of
from xds import logs, translate
from xds.admin.access import Access
from xds.admin.http import Admin
from xds.admin.metrics import Metrics
from xds.cache import Snapshots, Translation
from xds.control import Control
from xds.git.follow import Following
from xds.git.program import GitError
from xds.git.settings import GitOptions, following
from xds.keeping import SERVED, Keeping
from xds.loopback import is_loopback
from xds.observe.commits import commits
from xds.observe.events import PoliciesRead
from xds.observe.policies import policies
from xds.otlp.exporter import Exporter
from xds.otlp.settings import Settings
from xds.spans import Trace, untraced
from xds.stopping import until_stopped
from xds.store import Forgetful
from xds.store.file import StateFile
from xds.store.served import ServedFolder
from xds.stream.server import Server
from xds.tls.files import CertificateError, Files, watch
from xds.tls.ports import Tls, grpc_credentials, http_context

TRANSLATION = Translation(
    translate.group_names, translate.served_as, translate.snapshot, translate.place, translate.layer
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    policies: Path
    git: GitOptions | None = None
    """The branch that is followed instead; it needs `state`."""
    environment: str = ""
    """Of policies that have several, the one to serve."""
    listen: tuple[str, int] = ("127.0.0.1", 18000)
    """For Envoys; port 0 takes a free one, which the log names."""
    admin: tuple[str, int] = ("127.0.0.1", 18001)
    """For people and Prometheus."""
    metrics: tuple[str, int] | None = None
    """For Prometheus and probes alone, without TLS and token; without it they find theirs at `admin`."""
    admin_token: bytes | None = None
    """Whoever has it may set live weights; without one nobody may."""
    admin_read_token: bytes | None = None
    """Whoever has this one may read, where reading needs a token."""
    tls: Files | None = None
    """For Envoys, who then show certificates of their own; without it no TLS, and every client may ask for all."""
    admin_tls: Files | None = None
    state: Path | None = None
    """Where live state and the last good snapshot survive a restart; without it they do not."""
    drain: float = 10.0
    """Seconds in which Envoys are sent away once a signal has come; a second signal ends at once."""
    json_log: bool = False
    """For machines: each line of the log is a JSON object."""
    traces: Settings | None = None
    """Where traces of policy changes go; by default nowhere."""


class CannotKeepError(Exception):
    """The folder for live state cannot be written to."""


class CannotFollowError(Exception):
    """There is no git."""


class CannotListenError(Exception):
    """A port is taken, or an address is not this machine's."""


def run(options: Options) -> int:
    """The exit code, after SIGTERM or SIGINT: 0; 1 when it cannot listen, or keep what it is to keep."""
    _open_as_many_files_as_may_be()
    try:
        asyncio.run(serve(options))
    except (CannotListenError, CannotKeepError, CannotFollowError, CertificateError) as problem:
        print(f"turnout serve: {problem}", file=sys.stderr)
        return 1
    return 0


async def serve(options: Options) -> None:
    """Serves until SIGTERM or SIGINT. Raises CannotListenError, CannotKeepError, CertificateError."""
    tls = Tls.load(options.tls, options.admin_tls)
    metrics = Metrics()
    async with AsyncExitStack() as last:
        trace: Callable[[Trace], None] = untraced
        if options.traces is not None:
            trace = (await last.enter_async_context(Exporter(options.traces, metrics.traces_lost))).send
        await _serve(options, tls, metrics, trace)
    log.info("stopped")


async def _serve(options: Options, tls: Tls, metrics: Metrics, trace: Callable[[Trace], None]) -> None:
    snapshots = Snapshots(TRANSLATION)
    server = Server(snapshots, metrics, trace=trace)
    store = Forgetful() if options.state is None else _state_file(options.state)
    keeping = None if options.state is None else _keeping(options.state, options.environment, metrics)
    control = Control(snapshots, server.publish, metrics, store, keeping=keeping, trace=trace)
    access = Access(options.admin_token, options.admin_read_token, guarded=not is_loopback(options.admin[0]))
    git = None if options.git is None else await _following(options, options.git)
    secret = None if options.git is None else options.git.webhook_secret
    admin = Admin(control, snapshots, server, metrics, access, tls.all, git, secret)
    metrics.certificates(tls.all)
    watching = asyncio.create_task(watch(tls.all, partial(metrics.certificates, tls.all)))
    try:
        xds, http = await _listening(server, admin, options, tls)
        source = options.policies if options.git is None else options.git.remote
        log.info("listening xds=%s admin=%s policies=%s", xds, http, source)
        if options.metrics is not None:
            log.info("listening metrics=%s", await _started(admin.start_metrics, options.metrics, "--metrics"))
        if options.tls is None and not is_loopback(options.listen[0]):
            log.warning("without --tls-cert every client that reaches xds=%s may have every group's configuration", xds)
        read, at = _source(options, git, snapshots)

        async def drain() -> None:
            admin.stopping = True
            log.info("stopping streams=%d drain_seconds=%s", len(server.peers()), options.drain)
            await server.drain(options.drain)

        reported = _reported(read, as_json=options.json_log)
        await until_stopped(control.run(reported, at), drain)
    finally:
        watching.cancel()
        admin.stopping = True
        await server.stop()
        await admin.stop()


def _source(
    options: Options, git: Following | None, snapshots: Snapshots
) -> tuple[AsyncIterator[PoliciesRead], AsyncIterator[str] | None]:
    """Policies, and commits of those that stay as they are: each commit that is followed is read for itself."""
    if git is not None:
        return git.policies(), None
    read = policies(options.policies, sys.stderr.isatty(), options.environment)
    return read, commits(options.policies, lambda: snapshots.commit)


async def _following(options: Options, git: GitOptions) -> Following:
    """Raises CannotKeepError, CannotFollowError."""
    assert options.state is not None
    found = following(git, options.state, options.environment, sys.stderr.isatty())
    try:
        await found.prepare()
    except OSError as problem:
        raise CannotKeepError(f"--state {options.state}: {problem.strerror or problem}") from None
    except GitError as problem:
        raise CannotFollowError(str(problem)) from None
    return found


def _keeping(state: Path, environment: str, metrics: Metrics) -> Keeping:
    return Keeping(ServedFolder(state / SERVED), environment, fleet_of, metrics.keep_failing)


def _state_file(folder: Path) -> StateFile:
    store = StateFile(folder)
    try:
        store.prepare()
    except OSError as problem:
        raise CannotKeepError(f"--state {folder}: {problem.strerror or problem}") from None
    return store


async def _listening(server: Server, admin: Admin, options: Options, tls: Tls) -> tuple[str, str]:
    """The address for Envoys and the URL for people, with their ports as they were chosen."""
    credentials = None if tls.xds is None else grpc_credentials(tls.xds)
    context = None if tls.admin is None else http_context(tls.admin)
    xds = await _started(partial(server.start, credentials=credentials), options.listen, "--listen")
    http = await _started(partial(admin.start, tls=context), options.admin, "--admin")
    return xds, f"{'http' if context is None else 'https'}://{http}"


async def _started(start: Callable[[str, int], Awaitable[int]], address: tuple[str, int], option: str) -> str:
    host, port = address
    shown = f"[{host}]" if ":" in host else host
    try:
        return f"{shown}:{await start(host, port)}"
    except OSError as problem:
        raise CannotListenError(f"{option} {shown}:{port}: {os.strerror(problem.errno or errno.EADDRINUSE)}") from None


def _open_as_many_files_as_may_be() -> None:
    """Each connection is one, and the limit that a process is given is often 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _reported(events: AsyncIterator[PoliciesRead], *, as_json: bool) -> AsyncIterator[PoliciesRead]:
    async for event in events:
        if as_json:
            for found in event.diagnostics:
                logs.tell(found)
        elif event.report:
            sys.stderr.write(event.report)
            sys.stderr.flush()
        yield event
