"""What each subcommand of `turnout` does. Imports stand in the functions, so that `check` stays light."""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from compiler.envoy.xds_tls import XdsTls
    from compiler.explain import Document
    from compiler.pipeline import Compiled
    from compiler.request import Sent
    from compiler.show import Value
    from xds.snapshot import Snapshot
    from xds.translate.group import Group

OK, FAILED, USAGE, FAULT, INTERRUPTED, UNREAD = 0, 1, 2, 70, 130, 141
"""Exit statuses: fine; the policies have errors, `rendered/` is stale, or an Envoy is not in sync; wrong usage; a fault
of ours; Ctrl-C; nobody reads the output, as a shell says it of other programs."""

LONGEST_DRAIN = 300
"""Seconds: who stops a server waits for it."""


LASTING: list[object] = []
"""What a command has compiled. Object by object, it would take longer to take apart than to prove."""


def check(options: argparse.Namespace) -> int:
    """All problems of the policies, in one run; with --envoy also what Envoy would refuse."""
    _end_soon()
    from compiler.diagnostics import has_errors

    compiled = _compiled_each(options)
    if options.envoy or options.envoy_binary is not None:
        from xds.validation import NoEnvoyError

        try:
            compiled = _validated(compiled, options.envoy_binary)
        except NoEnvoyError as problem:
            print(f"turnout check --envoy: {problem}", file=sys.stderr)
            return FAILED
    _report(compiled.values(), options, sys.stdout)
    return FAILED if any(has_errors(each.diagnostics) for each in compiled.values()) else OK


def _validated(compiled: Mapping[str, Compiled], named: Path | None) -> Mapping[str, Compiled]:
    """With what Envoy says of those that have no errors. Raises NoEnvoyError."""
    from dataclasses import replace

    from xds.validation import diagnostics, envoy_program

    envoy = envoy_program(named)
    return {
        name: each
        if each.fleet is None
        else replace(each, diagnostics=(*each.diagnostics, *diagnostics(each.fleet, envoy)))
        for name, each in compiled.items()
    }


def compile_(options: argparse.Namespace) -> int:
    """Writes `rendered/`, or with --check says how it differs."""
    policies, output = options.policies.resolve(), options.output.resolve()
    if output == policies or output.is_relative_to(policies):
        print(f"turnout: {options.output} lies in {options.policies}: what is rendered would be read", file=sys.stderr)
        return USAGE
    return _watch(options) if options.watch else _compile_once(options)


def _compile_once(options: argparse.Namespace) -> int:
    _end_soon()
    from compiler.environments import told
    from compiler.pipeline import rendered
    from compiler.render import drift, write
    from compiler.report import summary

    compiled = _compiled_each(options)
    if any(each.fleet is None for each in compiled.values()):
        _report(compiled.values(), options, sys.stderr)
        return FAILED
    # One environment alone leaves the folders of the others as they are.
    folder = options.output / options.env
    files = rendered(compiled, alone=bool(options.env))
    if options.check:
        difference = drift(files, folder)
        print(difference, end="")
        if difference:
            print(f"{folder} is not what {options.policies} say: run turnout compile", file=sys.stderr)
        return FAILED if difference else OK
    write(files, folder)
    print(f"{folder}: {len(files)} files")
    if found := told(compiled.values()):
        print(f"{options.policies}: {summary(found)}; turnout check shows them", file=sys.stderr)
    return OK


def _watch(options: argparse.Namespace) -> int:
    import asyncio

    from xds.stopping import until_stopped
    from xds.watch import watch

    output = options.output / options.env
    asyncio.run(until_stopped(watch(options.policies, output, _colour(sys.stderr), options.env)))
    return OK


def show(options: argparse.Namespace) -> int:
    _end_soon()
    from compiler.kinds import InferenceModel, Rollout
    from compiler.show import as_json, as_text
    from compiler.spelling import nearest

    kind, slash, name = options.what.partition("/")
    if kind not in ("model", "rollout") or not slash:
        likely = f"; did you mean model/{name or options.what}?"
        print(f"turnout: '{options.what}' is not model/NAME or rollout/NAME{likely}", file=sys.stderr)
        return USAGE
    compiled = _compiled(options)
    found = compiled.policies.of(Rollout if kind == "rollout" else InferenceModel)
    values = _values(compiled, kind, name, options.policies) if name in found else None
    if values is None:
        if compiled.fleet is None:
            _report([compiled], options, sys.stderr)
        hint = nearest(name, found) or f"{kind}s: {', '.join(found) or 'none'}"
        print(f"turnout: no valid {kind} '{name}' in {options.policies}; {hint}", file=sys.stderr)
        return FAILED
    print(as_json(name, values, kind) if options.format == "json" else as_text(values), end="")
    return OK


def _values(compiled: Compiled, kind: str, name: str, root: Path) -> list[Value] | None:
    """None for a rollout in policies that have errors: what it means depends on the model that it moves."""
    from compiler.kinds import InferenceModel, Rollout
    from compiler.link import settings
    from compiler.show import model_values, rollout_values

    policies = compiled.policies
    if kind == "model":
        return model_values(policies.of(InferenceModel)[name], policies, settings(policies, []), root)
    rollouts = compiled.fleet.rollouts if compiled.fleet is not None else ()
    moved = next((rollout for rollout in rollouts if rollout.name == name), None)
    return None if moved is None else rollout_values(policies.of(Rollout)[name], moved, policies, root)


def explain(options: argparse.Namespace) -> int:
    """Where the request goes. Exit status 1 when nobody serves it, or the policies have errors."""
    from compiler import explain as explained
    from compiler.request import MalformedRequestError, parse_curl

    try:
        sent = parse_curl(options.curl) if options.curl else _sent(options)
        document = _explained_live(options, sent) if options.live else _explained(options, sent)
    except MalformedRequestError as problem:
        refused = {"error": {"status": 400, "code": "malformed_request", "message": str(problem)}}
        said = explained.as_json(refused) if options.format == "json" else f"400 before any route is asked: {problem}\n"
        print(said, end="")
        return FAILED
    except ValueError as problem:
        print(f"turnout: {problem}", file=sys.stderr)
        return USAGE
    if document is None:
        return FAILED
    print(explained.as_json(document) if options.format == "json" else explained.as_text(document), end="")
    return FAILED if document["error"] else OK


def _explained(options: argparse.Namespace, sent: Sent) -> Document | None:
    """By the policies; None where they are broken. Raises MalformedRequestError; ValueError for an unknown gateway."""
    _end_soon()
    from compiler import explain as explained
    from compiler.evaluate import evaluate, gateway_asked, reads_bodies
    from compiler.fleet import LengthUnit
    from compiler.report import shown
    from compiler.request import read_request

    compiled = _compiled(options)
    if compiled.fleet is None:
        unasked = [d for d in compiled.diagnostics if d.code == "P011"]
        for problem in unasked:
            print(f"turnout: {problem.message}: {problem.hint}", file=sys.stderr)
        if not unasked:
            print(f"turnout: {options.policies} have errors: run turnout check", file=sys.stderr)
        return None
    gateway = gateway_asked(compiled.fleet, sent.host, options.gateway)
    unit = gateway.length_unit if gateway else LengthUnit.CHARACTERS
    request = read_request(sent, unit, reads_body=reads_bodies(gateway, sent.host))
    decision = evaluate(compiled.fleet, request, gateway)
    return explained.document(request, decision, lambda position: shown(position, options.policies))


def _explained_live(options: argparse.Namespace, sent: Sent) -> Document | None:
    """By a running server. Raises as `_explained` does; None where the server cannot be asked, which is said."""
    import base64
    import json

    from compiler.request import MalformedRequestError
    from xds.client import LOOKING, NotAnsweredError, ask, authorization

    asked = {
        "method": sent.method,
        "path": sent.path,
        "headers": sent.headers,
        "body": base64.b64encode(sent.body).decode(),
        "gateway": options.gateway,
    }
    headers = authorization(options.token_file)
    try:
        answer = ask(options.live, "/explain", json.dumps(asked).encode(), headers=headers, timeout=LOOKING)
    except NotAnsweredError as problem:
        print(f"turnout: {problem}", file=sys.stderr)
        return None
    if answer.status == 200 and "targets" in answer.document:
        return answer.document
    if answer.document.get("code") == "malformed_request":
        raise MalformedRequestError(answer.error)
    if answer.status == 400:
        raise ValueError(answer.error)
    print(f"turnout: {options.live}: {answer.error}", file=sys.stderr)
    return None


def _sent(options: argparse.Namespace) -> Sent:
    """The request that the flags describe. Raises ValueError for a header without a colon."""
    from compiler.request import TIER_HEADER, Sent

    headers = []
    for header in options.header:
        name, colon, value = header.partition(":")
        if not colon:
            raise ValueError(f"{header!r} is not 'NAME: VALUE'")
        headers.append((name.strip().lower(), value.strip()))
    if options.tier:
        headers.append((TIER_HEADER, options.tier))
    if options.capability:
        headers.append(("x-capability", ",".join(options.capability)))
    body = b"{}"
    if options.body:
        body = sys.stdin.buffer.read() if options.body == "-" else Path(options.body).read_bytes()
    return Sent(options.method, options.path, tuple(headers), body)


def diff(options: argparse.Namespace) -> int:
    """What changes between two revisions or folders. Exit status 1 when policies have errors."""
    from xds.diff import run

    _end_soon()
    return run(options, _colour(sys.stdout))


def schema(options: argparse.Namespace) -> int:
    from compiler.schema import schemas

    options.directory.mkdir(parents=True, exist_ok=True)
    for name, content in schemas().items():
        (options.directory / name).write_text(content, encoding="utf-8")
        print(options.directory / name)
    return OK


def serve(options: argparse.Namespace) -> int:
    import logging

    from xds import logs
    from xds.client import token_in
    from xds.exposure import files, wrong_use
    from xds.git.settings import git_options
    from xds.git.settings import wrong_use as wrong_git_use
    from xds.otlp.settings import settings

    if (wrong := wrong_use(options) or wrong_git_use(options)) is not None:
        print(f"turnout serve: {wrong}", file=sys.stderr)
        return USAGE
    drain = seconds(options.drain)
    if drain is None or drain > LONGEST_DRAIN:
        print(f"turnout serve: --drain {options.drain}: a duration up to 5m, as 10s", file=sys.stderr)
        return USAGE
    logs.to_stderr(as_json=options.log_format == "json")
    from xds.serve import Options, run  # which loads gRPC

    try:
        token, read_token = (
            None if file is None else token_in(file, logging.getLogger(__name__).warning)
            for file in (options.admin_token_file, options.admin_read_token_file)
        )
        git = git_options(options)
        traces = settings(os.environ)
    except ValueError as problem:
        print(f"turnout serve: {problem}", file=sys.stderr)
        return FAILED
    return run(
        Options(
            policies=options.policies or Path("policies"),
            git=git,
            environment=options.env,
            listen=options.listen,
            admin=options.admin,
            metrics=options.metrics,
            admin_token=token,
            admin_read_token=read_token,
            tls=files(options.tls_cert, options.tls_key, options.tls_client_ca),
            admin_tls=files(options.admin_cert, options.admin_key),
            state=options.state,
            drain=drain,
            json_log=options.log_format == "json",
            traces=traces,
        )
    )


def seconds(text: str) -> float | None:
    """Of a duration as policies write them; `None` for what is none."""
    from datetime import timedelta

    from compiler.kinds.measures import parse_duration

    try:
        duration = parse_duration(text)
    except (ValueError, OverflowError):
        return None
    return duration.total_seconds() if isinstance(duration, timedelta) else None


def weights(options: argparse.Namespace) -> int:
    """Sets, takes back or lists live weights. Exit status 1 when the server refuses, or there is none."""
    from xds.weights import run, wrong_use

    if (wrong := wrong_use(options)) is not None:
        print(f"turnout weights: {wrong}", file=sys.stderr)
        return USAGE
    return run(options)


def rollback(options: argparse.Namespace) -> int:
    """Pins a running server to a commit, or releases it. Exit status 1 when it refuses, or not all Envoys confirm."""
    from xds.rollback import run, wrong_use

    if (wrong := wrong_use(options)) is not None:
        print(f"turnout rollback: {wrong}", file=sys.stderr)
        return USAGE
    return run(options)


def status(options: argparse.Namespace) -> int:
    """How a running server and its Envoys stand. Exit status 1 when not all is well, or nobody answers."""
    from xds.admin.overview import as_json, as_text, overview
    from xds.client import NotAnsweredError, ask, authorization

    try:
        answer = ask(options.admin, "/status", headers=authorization(options.token_file))
        problem = "" if {"policy", "envoys"} <= answer.document.keys() else f"{options.admin}: {answer.error}"
    except NotAnsweredError as unreachable:
        problem = f"{unreachable}; is turnout serve running? --admin says where"
    except ValueError as no_token:
        problem = str(no_token)
    if problem:
        print(f"turnout: {problem}", file=sys.stderr)
        if options.format == "json":
            print(as_json({"ok": False, "error": problem}), end="")
        return FAILED
    document = overview(answer.document)
    if options.format == "json":
        print(as_json(document), end="")
    else:
        print(as_text(document, everyone=options.all, colour=_colour(sys.stdout)), end="")
    return OK if document["ok"] else FAILED


def bootstrap(options: argparse.Namespace) -> int:
    """Prints what a stock Envoy is started with. Exit status 1 when a static one cannot be made."""
    from xds import bootstrap as made
    from xds.exposure import envoy_wrong_use

    if (wrong := envoy_wrong_use(options)) is not None:
        print(f"turnout bootstrap: {wrong}", file=sys.stderr)
        return USAGE
    if options.static:
        return _static_bootstrap(options)
    if options.policies or options.env or options.state:
        print("turnout bootstrap: POLICIES, --env and --state are for --static", file=sys.stderr)
        return USAGE
    tls = None if options.tls_sds is None else _envoy_tls(options)
    print(
        made.bootstrap(
            node_id=options.node,
            cluster=options.cluster,
            zone=options.zone,
            xds_address=options.xds,
            port=options.port,
            address=options.address,
            secrets=options.secrets,
            admin_port=options.admin_port,
            delta=options.variant == "delta",
            tls=tls,
        ),
        end="",
    )
    return OK


def _envoy_tls(options: argparse.Namespace) -> XdsTls:
    """Writes the two files that are to be beside the bootstrap, too."""
    from compiler.envoy.xds_tls import XdsTls, secrets

    host = options.xds.rpartition(":")[0].strip("[]")
    ca, certificate, key, sds = map(str, (options.tls_ca, options.tls_cert, options.tls_key, options.tls_sds))
    tls = XdsTls(ca, certificate, key, sds, options.tls_server_name or host)
    options.tls_sds.mkdir(parents=True, exist_ok=True)
    for name, content in secrets(tls).items():
        (options.tls_sds / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return tls


def _static_bootstrap(options: argparse.Namespace) -> int:
    from xds.static import static_bootstrap
    from xds.translate.group import Group, Placement, PlacementError

    if options.policies and options.state:
        print("turnout bootstrap: either POLICIES or --state", file=sys.stderr)
        return USAGE
    group = Group(options.cluster, Placement(options.port, options.address, options.secrets))
    try:
        snapshot = _kept_snapshot(options, group) if options.state else _policy_snapshot(options, group)
    except (LookupError, PlacementError) as problem:
        print(f"turnout bootstrap: {problem.args[0]}", file=sys.stderr)
        return FAILED
    if snapshot is None:
        return FAILED
    who = {"node_id": options.node, "cluster": options.cluster, "zone": options.zone}
    print(static_bootstrap(snapshot, **who, admin_port=options.admin_port), end="")
    return OK


def _policy_snapshot(options: argparse.Namespace, group: Group) -> Snapshot | None:
    """None where the policies are broken, which is said. Raises LookupError, PlacementError."""
    from xds import translate

    options.policies, options.format = options.policies or Path("policies"), "text"
    compiled = _compiled(options)
    if compiled.fleet is None:
        _report([compiled], options, sys.stderr)
        return None
    name = translate.served_as(compiled.fleet, group.name)
    if name is None:
        raise LookupError(f"no group '{group.name}': {', '.join(translate.group_names(compiled.fleet))}")
    return translate.snapshot(compiled.fleet, translate.Group(name, group.placement))


def _kept_snapshot(options: argparse.Namespace, group: Group) -> Snapshot | None:
    """None where there is none that is whole, which is said. Raises LookupError, PlacementError."""
    from xds.keeping import SERVED, restored
    from xds.store.served import ServedFolder

    folder = options.state / SERVED
    last = ServedFolder(folder).load()
    if last is None or options.env not in ("", last.environment):
        print(
            f"turnout bootstrap: no last good snapshot {options.env and 'of ' + options.env + ' '}in {folder}",
            file=sys.stderr,
        )
        return None
    found = restored(last)
    of_group = found.groups.get(found.served_as.get(group.name, group.name))
    if of_group is None:
        raise LookupError(f"no group '{group.name}' was kept: {', '.join(sorted(found.groups))}")
    return found.place(of_group, group)


def version() -> int:
    from importlib import metadata  # to read it takes as long as fifty policies

    try:
        print(f"turnout {metadata.version('turnout')}")
    except metadata.PackageNotFoundError:
        print("turnout from source")
    return OK


def _compiled(options: argparse.Namespace) -> Compiled:
    """In one environment, where the policies have several: that which is asked for."""
    from compiler.pipeline import compile_policies

    return compile_policies(options.policies, environment=options.env)


def _compiled_each(options: argparse.Namespace) -> Mapping[str, Compiled]:
    """In every environment, or in that which is asked for."""
    from compiler.pipeline import compile_environments

    compiled = compile_environments(options.policies, options.env)
    LASTING[:] = [compiled]
    return compiled


def _end_soon() -> None:
    """What a command makes lasts until its end: to look for cycles in it would take a third of the time."""
    gc.disable()


def _report(compiled: Iterable[Compiled], options: argparse.Namespace, out: TextIO) -> None:
    from compiler import report
    from compiler.environments import told

    root, runs = options.policies, list(compiled)
    found = told(runs)
    match options.format:
        case "json":
            print(report.as_json(found, root), end="", file=out)
        case "github":
            print(report.github(found, root), end="", file=out)
        case _:
            print(report.text(found, runs[0].sources, root, _colour(out)), end="", file=out)
            print(f"{root}: {report.summary(found)}", file=out)


def _colour(stream: TextIO) -> bool:
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
