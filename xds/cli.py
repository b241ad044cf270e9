"""The command `turnout`: its words and their help. What each does is in `commands`."""

from __future__ import annotations

import argparse
import io
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from compiler.envoy.numeric import numeric_address
from xds import commands
from xds.commands import FAILED, FAULT, INTERRUPTED, UNREAD, USAGE

Command = Callable[[argparse.Namespace], int]
Subparsers: TypeAlias = "argparse._SubParsersAction[_InAnyOrder]"  # noqa: SLF001 - it has no public name


class _InAnyOrder(argparse.ArgumentParser):
    """Takes options between its other arguments, too: `diff main --format json topic`. argparse itself takes `main` for
    all of these that there are."""

    _within = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        # The call below comes back here: for the options first, and then for what is left, where -- means nothing.
        if self._within or "--" in (args or ()):
            return super().parse_known_args(args, namespace)
        self._within = True
        options, rest = self.parse_known_intermixed_args(args, namespace)
        self._within = False
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return options, rest


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Exit status: see `commands`. Of a process's own `arguments` it is the end of the process, too:
    where a command has compiled something it does not return.
    """
    status = _status_of(arguments)
    if arguments is None and commands.LASTING:
        sys.stderr.flush()
        os._exit(status)
    return status


def _status_of(arguments: Sequence[str] | None) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for a terminal that has no Chinese, and no ×
    # What a policy may say depends on nothing that is installed by chance, and to look for it takes as long as to read
    # thirty policies.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        try:
            return _run(arguments)
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (`turnout show … | head`); Python would complain again when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD
    except OSError as problem:
        where = f": {problem.filename}" if problem.filename else ""
        print(f"turnout: {problem.strerror or problem}{where}", file=sys.stderr)
        return FAILED
    except Exception:  # noqa: BLE001 - the last line of defence: a fault of ours, told as one
        traceback.print_exc()
        print("turnout: this is a fault of turnout, not of your policies", file=sys.stderr)
        return FAULT


def _run(arguments: Sequence[str] | None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.version:
        return commands.version()
    command: Command | None = getattr(options, "command", None)
    if command is None:
        parser.print_help()
        return USAGE
    return command(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="turnout",
        description="Traffic and fleet policy for model serving: one policy repo, two outputs.",
        epilog="examples:\n"
        "  turnout check                          all problems of policies/, in one run\n"
        "  turnout compile                        write rendered/ for Argo CD\n"
        "  turnout show model/llama-70b           the effective policy, with the line of each value\n"
        "  turnout explain --body chat.json       where a request goes, and why\n"
        "  turnout diff main                      what this branch does to traffic\n"
        "  turnout serve                          the control server for Envoy\n"
        "  turnout status                         how it stands, and each Envoy\n"
        "  turnout weights llama-70b 1.0=100 --for 15m --why 'INC-7'\n"
        "  turnout rollback 0c5d91ab44e0          serve an earlier commit of the repository that is followed\n"
        "  turnout bootstrap --node gw-1 --cluster public > envoy.json && envoy -c envoy.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print turnout's version")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=_InAnyOrder)
    for add in (_check, _compile, _show, _explain, _diff, _serve, _status, _weights, _rollback, _bootstrap, _schema):
        add(subparsers)
    return parser


def _check(subparsers: Subparsers) -> None:
    parser = _add(
        subparsers,
        "check",
        commands.check,
        "find all problems of the policies",
        "turnout check\n"
        "turnout check policies --format json | jq '.diagnostics[].code'\n"
        "turnout check --format github            # in a workflow: annotates the pull request\n"
        "turnout check --envoy                    # ask a real Envoy, too: envoy --mode validate",
        "exit status: 0 no errors (warnings may be there), 1 errors, 2 wrong usage, 70 a fault of turnout",
    )
    _policies(parser)
    parser.add_argument(
        "--envoy", action="store_true", help="also run envoy --mode validate on what each group would be served"
    )
    parser.add_argument(
        "--envoy-binary", type=Path, metavar="PATH", help="that Envoy; default: on the PATH, or beside this Python"
    )
    _format(parser, "text", "json", "github")


def _compile(subparsers: Subparsers) -> None:
    parser = _add(
        subparsers,
        "compile",
        commands.compile_,
        "write the Kubernetes and Istio objects of the policies",
        "turnout compile\n"
        "turnout compile policies -o rendered\n"
        "turnout compile --check                  # in CI: exit 1 and a diff when rendered/ is stale\n"
        "turnout compile --watch                  # while you edit: until Ctrl-C",
        "Nothing is written when the policies have errors.",
    )
    _policies(parser)
    parser.add_argument("-o", "--output", type=Path, default=Path("rendered"), metavar="DIR", help="default: rendered")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--check", action="store_true", help="write nothing; exit 1 with a diff when DIR differs")
    how.add_argument("--watch", action="store_true", help="go on, and write what each edit changes")
    parser.set_defaults(format="text")


def _show(subparsers: Subparsers) -> None:
    parser = _add(
        subparsers,
        "show",
        commands.show,
        "print the effective policy of a model or rollout",
        "turnout show model/llama-70b\nturnout show model/llama-70b policies --format json\n"
        "turnout show rollout/llama-70b-1.1",
        "Each value comes with the line it stands on, or the default it comes from.",
    )
    parser.add_argument("what", metavar="KIND/NAME", help="model/NAME or rollout/NAME")
    _policies(parser)
    _format(parser, "text", "json")


def _explain(subparsers: Subparsers) -> None:
    parser = _add(
        subparsers,
        "explain",
        commands.explain,
        "say where a request goes, and why",
        "turnout explain --body chat.json --tier pro\n"
        "turnout explain --header 'model-name: llama-70b' --path /v1/embeddings\n"
        "turnout explain --curl \"curl https://inference.example.com/v1/models/llama-70b/predict -d '{}'\"\n"
        "turnout explain policies --body chat.json --format json\n"
        "turnout explain --live http://127.0.0.1:18001 --tier pro    # as it is served now, and who is healthy",
        "Each step that was tried comes with its reason and its policy line; the answer is what Envoy does.",
    )
    _policies(parser)
    parser.add_argument("--header", action="append", default=[], metavar="'NAME: VALUE'", help="of the request")
    parser.add_argument("--tier", help="the user's tier: header x-user-tier")
    parser.add_argument("--capability", action="append", default=[], metavar="C", help="needed: header x-capability")
    parser.add_argument("--body", metavar="FILE", help="its JSON; - is standard input")
    parser.add_argument("--path", default="/v1/chat/completions", help="default: /v1/chat/completions")
    parser.add_argument("--method", default="POST", help="default: POST")
    parser.add_argument("--curl", metavar="LINE", help="a whole curl command instead of the above")
    parser.add_argument("--gateway", metavar="NAME", help="default: the one that serves the host")
    parser.add_argument("--live", metavar="URL", help="ask the admin port of a running server instead of POLICIES")
    _token_file(parser)
    _format(parser, "text", "json")


def _diff(subparsers: Subparsers) -> None:
    parser = _add(
        subparsers,
        "diff",
        commands.diff,
        "say what a change does to traffic",
        "turnout diff main                        # what is in the working tree, against main\n"
        "turnout diff HEAD~1 HEAD --format json\n"
        "turnout diff main --profile requests.jsonl        # how many of the recorded requests move, and where to\n"
        "turnout diff main --format markdown > comment.md  # for a pull request\n"
        "turnout diff before/policies after/policies",
        "Classes of requests that are treated otherwise, models and GPUs that come and go, objects, the order of the\n"
        "steps. BASE and HEAD are folders of policies, or git revisions; without HEAD it is the working tree.\n"
        "exit status: 0 told, 1 errors in the policies or in the profile (with --exit-code also: something changes),\n"
        "2 wrong usage",
    )
    parser.add_argument("base", metavar="BASE", help="a folder, else a git revision")
    parser.add_argument("head", nargs="?", metavar="HEAD", help="default: the folder of --policies as it is now")
    parser.add_argument(
        "--policies", type=Path, default=Path("policies"), metavar="DIR", help="in the repository; default: policies"
    )
    parser.add_argument("--env", default="", metavar="NAME", help="of policies with environments, this one")
    parser.add_argument("--profile", type=Path, metavar="FILE", help="recorded requests, a JSON object a line")
    parser.add_argument("--exit-code", action="store_true", help="exit 1 when something changes, as git diff does")
    _format(parser, "text", "json", "markdown")


def _serve(subparsers: Subparsers) -> None:
    parser = _add(
        subparsers,
        "serve",
        commands.serve,
        "run the control server for Envoy",
        "turnout serve\nturnout serve policies --listen 127.0.0.1:18000 --admin 127.0.0.1:18001\n"
        "turnout serve --log-format json --drain 30s\n"
        "turnout serve --git https://git.example.com/policy.git#main --state /var/lib/turnout",
        "Watches the folder: every edit is pushed to the Envoys; a broken one changes nothing and is shown on the log\n"
        "and at http://ADMIN/status. SIGTERM and Ctrl-C end it in order, a second one at once. Traces of changes go\n"
        "where OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT says, by OTLP over HTTP.\n"
        "An --admin that other machines reach needs a certificate and a token, also to read. docs/security.md says\n"
        "how certificates are made, and which groups they are for.",
    )
    parser.add_argument("policies", nargs="?", type=Path, metavar="POLICIES", help="folder; default: policies")
    parser.add_argument("--env", default="", metavar="NAME", help="of policies with environments, this one")
    _git(parser)
    xds = ("127.0.0.1", 18000)
    admin = ("127.0.0.1", 18001)
    parser.add_argument(
        "--listen", type=_address, default=xds, metavar="ADDR:PORT", help="xDS over gRPC; default: 127.0.0.1:18000"
    )
    parser.add_argument(
        "--admin",
        type=_address,
        default=admin,
        metavar="ADDR:PORT",
        help="/healthz /readyz /metrics /status /config_dump /explain /weights /rollback over HTTP; default: "
        "127.0.0.1:18001",
    )
    parser.add_argument(
        "--metrics",
        type=_address,
        metavar="ADDR:PORT",
        help="/metrics /healthz /readyz alone, with no token, for others than --admin is for; default: only there",
    )
    parser.add_argument(
        "--admin-token-file",
        type=Path,
        metavar="FILE",
        help="a secret: whoever has it may set live weights and roll back; without it nobody may",
    )
    parser.add_argument(
        "--admin-read-token-file", type=Path, metavar="FILE", help="a secret: whoever has it may read, and set nothing"
    )
    parser.add_argument("--admin-cert", type=Path, metavar="FILE", help="of --admin: HTTPS, read anew when it changes")
    parser.add_argument("--admin-key", type=Path, metavar="FILE", help="of --admin-cert")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="of --listen: mutual TLS, read anew on change")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="of --tls-cert")
    parser.add_argument(
        "--tls-client-ca", type=Path, metavar="FILE", help="who signs Envoys' certificates; an Envoy without is refused"
    )
    parser.add_argument(
        "--state", type=Path, metavar="DIR", help="where live weights, and what is served, survive a restart"
    )
    parser.add_argument(
        "--drain",
        default="10s",
        metavar="DURATION",
        help="on SIGTERM, send the Envoys away one by one within this time; 5m at most; default: 10s",
    )
    parser.add_argument(
        "--log-format", choices=("text", "json"), default="text", help="of the log on standard error; default: text"
    )


def _git(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--git", metavar="URL[#BRANCH]", help="follow a repository instead of POLICIES; needs --state")
    parser.add_argument("--git-path", metavar="PATH", help="of the policies in the repository; default: policies")
    parser.add_argument(
        "--git-poll", type=_interval, metavar="DURATION", help="look for commits this often; default: 30s"
    )
    parser.add_argument(
        "--git-webhook-secret-file",
        type=Path,
        metavar="FILE",
        help="a secret: POST /webhook at --admin, signed with it, looks for commits at once",
    )
    parser.add_argument(
        "--allowed-signers",
        type=Path,
        metavar="FILE",
        help="serve only commits signed by one of these: ssh-keygen's allowed_signers, OpenPGP public keys",
    )


def _rollback(subparsers: Subparsers) -> None:
    parser = _add(
        subparsers,
        "rollback",
        commands.rollback,
        "pin a running server that follows git to an earlier commit, until it is released",
        "turnout rollback 0c5d91ab44e0\n"
        "turnout rollback --release               # the branch again\n"
        "turnout rollback                         # what is pinned, and where the branch is",
        "Waits until every Envoy has confirmed; whoever has not within --timeout is named. Needs the server's token:\n"
        "--token-file, or TURNOUT_ADMIN_TOKEN in the environment.\n"
        "exit status: 0 every Envoy has confirmed, 1 refused, not all have, or no server, 2 wrong usage",
    )
    parser.add_argument("commit", nargs="?", metavar="SHA", help="seven digits or more")
    parser.add_argument("--release", action="store_true", help="serve what the branch has again")
    parser.add_argument(
        "--timeout", type=_interval, default=60.0, metavar="DURATION", help="wait for Envoys so long; default: 60s"
    )
    parser.add_argument(
        "--admin",
        default="http://127.0.0.1:18001",
        metavar="URL",
        help="the server's admin port; default: http://127.0.0.1:18001",
    )
    _token_file(parser)


def _weights(subparsers: Subparsers) -> None:
    parser = _add(
        subparsers,
        "weights",
        commands.weights,
        "set a model's live weights on a running server, take them back, or list them",
        "turnout weights llama-70b 1.0=75 1.1=25 --for 15m --why 'INC-7: 1.1 is slow'\n"
        "turnout weights llama-70b --clear               # policy's weights again\n"
        "turnout weights                                 # what is live now, beside policy",
        "They hold in place of policy's until their time is up, they are taken back, or policy says the same. Setting\n"
        "and taking back need the server's token: --token-file, or TURNOUT_ADMIN_TOKEN in the environment.\n"
        "exit status: 0 done, 1 refused or no server, 2 wrong usage",
    )
    parser.add_argument("model", nargs="?", metavar="MODEL")
    parser.add_argument(
        "weights", nargs="*", type=_weight, metavar="VERSION=PERCENT", help="100 together; a version left out gets 0"
    )
    parser.add_argument("--for", dest="lasting", metavar="DURATION", help="15m, 1h; 24h at most")
    parser.add_argument("--why", metavar="TEXT", help="what whoever finds this needs to know")
    parser.add_argument("--clear", action="store_true", help="take the live weights of MODEL back")
    parser.add_argument(
        "--admin",
        default="http://127.0.0.1:18001",
        metavar="URL",
        help="the server's admin port; default: http://127.0.0.1:18001",
    )
    _token_file(parser)
    _format(parser, "text", "json")


def _status(subparsers: Subparsers) -> None:
    parser = _add(
        subparsers,
        "status",
        commands.status,
        "say how a running control server and its Envoys stand",
        "turnout status\n"
        "turnout status --all                     # a line for each Envoy, however many there are\n"
        "SSL_CERT_FILE=ca.crt turnout status --admin https://turnout:18001 --token-file token\n"
        "turnout status --format json | jq '.envoys[] | select(.synced | not)'\n"
        "until turnout status; do sleep 1; done   # until all is well",
        "The policy that is served, and its problems; each Envoy, and what it waits for or refuses, with the policy\n"
        "line. Of more than 30 Envoys a summary by group, and a line for each that is not in sync.\n"
        "exit status: 0 all is well, 1 a broken policy, an Envoy that refuses or waits, or no answer, 2 wrong usage",
    )
    parser.add_argument(
        "--admin",
        default="http://127.0.0.1:18001",
        metavar="URL",
        help="the server's admin port; default: http://127.0.0.1:18001",
    )
    _token_file(parser)
    parser.add_argument("--all", action="store_true", help="list Envoys that are in sync too, however many")
    _format(parser, "text", "json")


def _bootstrap(subparsers: Subparsers) -> None:
    parser = _add(
        subparsers,
        "bootstrap",
        commands.bootstrap,
        "print a bootstrap with which an Envoy joins the control server",
        "turnout bootstrap --node gw-1 --cluster public --zone az-1 > envoy.json\n"
        "turnout bootstrap --node gw-2 --port 9090 --address 127.0.0.1 --admin-port 9902 > second.json\n"
        "turnout bootstrap --static policies --node gw-3 --cluster public > alone.json   # no control server\n"
        "turnout bootstrap --static --state /var/lib/turnout --node gw-3 > alone.json    # as last served\n"
        "turnout bootstrap --node gw-1 --cluster public --xds turnout:18000 --tls-ca /certs/ca.crt \\\n"
        "    --tls-cert /certs/tls.crt --tls-key /certs/tls.key --tls-sds /etc/envoy/sds > envoy.json\n"
        "envoy -c envoy.json",
        "With --static all that the group is served stands in it: the Envoy starts without a control server, and\n"
        "stays as it is until it is started with another bootstrap.",
    )
    parser.add_argument("--static", action="store_true", help="with what the policies say, instead of a control server")
    parser.add_argument(
        "policies", nargs="?", type=Path, metavar="POLICIES", help="with --static: folder; default: policies"
    )
    parser.add_argument("--env", default="", metavar="NAME", help="with --static: of several environments, this one")
    parser.add_argument(
        "--state",
        type=Path,
        metavar="DIR",
        help="with --static: the last good of turnout serve --state DIR, no POLICIES",
    )
    parser.add_argument("--node", required=True, metavar="ID", help="this Envoy's own name")
    parser.add_argument(
        "--cluster",
        default="default",
        metavar="GROUP",
        help="a Gateway's name, sidecar, or sidecar.TENANT; default: default",
    )
    parser.add_argument("--zone", default="", help="where it runs")
    parser.add_argument(
        "--xds", type=_host_port, default="127.0.0.1:18000", metavar="HOST:PORT", help="the control server"
    )
    parser.add_argument("--port", type=_port, metavar="N", help="listen here; default: the policy's port")
    parser.add_argument(
        "--address", type=_ip, metavar="ADDR", help="listen on this address; default: all (sidecar: loopback)"
    )
    parser.add_argument(
        "--secrets",
        metavar="DIR",
        help="certificates as DIR/<secret>/tls.crt and tls.key; default: /etc/turnout/secrets",
    )
    parser.add_argument("--admin-port", type=_port, default=9901, metavar="N", help="Envoy's admin page; default: 9901")
    parser.add_argument("--tls-ca", type=Path, metavar="FILE", help="who signs the control server's certificate")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="this Envoy's, read anew when its folder changes")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="of --tls-cert")
    parser.add_argument(
        "--tls-sds", type=Path, metavar="DIR", help="written: two files that tell Envoy where the three above are"
    )
    parser.add_argument(
        "--tls-server-name", metavar="NAME", help="in the control server's certificate; default: the host of --xds"
    )
    parser.add_argument("--variant", choices=("delta", "sotw"), default="delta", help="of ADS; default: delta")


def _schema(subparsers: Subparsers) -> None:
    parser = _add(
        subparsers,
        "schema",
        commands.schema,
        "write JSON Schemas for completion in editors",
        "turnout schema .schemas\n# then in a policy file: # yaml-language-server: $schema=../.schemas/policy.json",
        "",
    )
    parser.add_argument("directory", type=Path, metavar="DIR")


def _add(
    subparsers: Subparsers, name: str, command: Command, summary: str, examples: str, notes: str
) -> argparse.ArgumentParser:
    shown = "\n".join(f"  {line}" for line in examples.splitlines())
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}." + (f"\n{notes}" if notes else ""),
        epilog=f"examples:\n{shown}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=command)
    return parser


def _policies(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "policies", nargs="?", type=Path, default=Path("policies"), metavar="POLICIES", help="folder; default: policies"
    )
    parser.add_argument("--env", default="", metavar="NAME", help="of policies with environments, this one")


def _token_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="the server's token; default: TURNOUT_ADMIN_TOKEN's"
    )


def _format(parser: argparse.ArgumentParser, *formats: str) -> None:
    parser.add_argument("--format", choices=formats, default=formats[0], help=f"default: {formats[0]}")


def _address(text: str) -> tuple[str, int]:
    """Where to listen: port 0 is any free one, no address is loopback."""
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or not 0 <= int(port) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not ADDRESS:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)


def _weight(text: str) -> tuple[str, int]:
    """Which versions there are, and what weights may be, the server knows."""
    version, equals, weight = text.partition("=")
    if not version or not equals or not (weight.isascii() and weight.isdigit()) or len(weight) > 9:
        raise argparse.ArgumentTypeError(f"{text!r} is not VERSION=PERCENT")
    return version, int(weight)


def _interval(text: str) -> float:
    """Seconds."""
    seconds = commands.seconds(text)
    if seconds is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration, as 30s")
    return seconds


def _host_port(text: str) -> str:
    """Where to connect to."""
    host, port = _address(text)
    if text.startswith(":") or not host or not port:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return text


def _ip(text: str) -> str:
    try:
        return numeric_address(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no IP address") from None


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
