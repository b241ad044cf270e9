"""`make demo`: policies become traffic on this machine, and every claim on the way is counted. Exit 1 if one fails."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from demo.display import Display
from demo.policies import Instance, scratch_copy
from demo.processes import NotReadyError, Process, Processes
from demo.split import bound, deviations
from demo.stack import Control, Envoy, Stack, turnout
from demo.traffic import Load, Request, Tally, chat, send

POLICIES = Path(__file__).with_name("policies")
REQUESTS = 2_000
"""Counted for each split."""

COMMITTED = {"1.0": 90, "1.1": 10, "1.2": 0}
EDITED = {"1.0": 65, "1.1": 10, "1.2": 25}
"""Percent for each version of llama-70b. 1.2 stands at 0 first, so that its first answer is the first one shifted."""

GENERATION = ("--answer-time", "50ms", "--first-token", "30ms", "--token-interval", "5ms")
"""How the instances answer that are killed: long enough to die at work."""


class BrokenPromiseError(Exception):
    """Something the demo is there to show did not happen."""


class Demo:
    def __init__(self, display: Display, stack: Stack, work: Path) -> None:
        self.display = display
        self.stack = stack
        self._work = work
        self._servers: dict[Instance, Process] = {}

    def compile(self) -> None:
        self.display.step("Policies are compiled")
        folder, rendered = self.stack.policies.folder, self._work / "rendered"
        turnout("compile", str(folder), "-o", str(rendered))
        files = sum(1 for path in rendered.rglob("*") if path.is_file())
        self.display.good(f"{len(list(folder.iterdir()))} policy files became {files} files for Argo CD")
        turnout("compile", str(folder), "-o", str(rendered), "--check")
        self.display.good("and a second compilation changes nothing")

    def start(self) -> tuple[Control, Envoy]:
        self.display.step("The same policies are served to an Envoy")
        began = time.monotonic()
        instances = self.stack.policies.instances()
        self.display.live("starting model servers …")
        for model in sorted({instance.model for instance in instances}):
            options = GENERATION if model == "llama-2-7b" else ()
            own = [instance for instance in instances if instance.model == model]
            self._servers |= self.stack.start_instances(own, *options)
        self.display.live("starting the control server and Envoy …")
        control = self.stack.start_control()
        envoy = self.stack.start_envoy(control)
        self.stack.wait_for_healthy(envoy, instances)
        took = time.monotonic() - began
        self.display.good(f"{len(instances)} model servers, 1 control server, 1 Envoy, in {took:.1f} s")
        return control, envoy

    def name_models(self, envoy: Envoy) -> None:
        self.display.step("A request can name its model in four ways")
        plain = chat(None)
        ways = {
            "in its body": (chat("mistral-7b"), "mistral-7b"),
            "in the header model-name": (
                Request(plain.path, plain.body, {**plain.headers, "model-name": "llama-2-7b"}),
                "llama-2-7b",
            ),
            "in its path": (Request("/v1/models/llama-70b/completions", plain.body, plain.headers), "llama-70b"),
            "not at all": (plain, "mistral-7b"),
        }
        for way, (request, model) in ways.items():
            tally = send(envoy.url, 10, request, clients=1)
            self._demand(tally.by("model") == {(model,): 10}, f"{way}: {model} answers", tally)

    def count_split(self, envoy: Envoy, title: str, asked: Mapping[str, int]) -> None:
        self.display.step(title)
        tally = send(envoy.url, REQUESTS, chat("llama-70b"), watch=self.display.progress(REQUESTS, "requests"))
        seen = {version: count for (version,), count in tally.by("version").items()}
        rows = [_split_row(version, percent, seen.get(version, 0)) for version, percent in asked.items()]
        self.display.table(("llama-70b", "asked", "seen", "answers", "off by", "allowed"), rows)
        self._demand_none_failed(tally)
        self._demand(not deviations(asked, seen), "within four standard deviations", tally)

    def edit(self, envoy: Envoy) -> None:
        self.display.step("A weight is edited while requests are under way")
        with Load(envoy.url, 20, chat("llama-70b")) as load:
            load.wait_for(200)
            self.stack.policies.set_weights("llama-70b", EDITED)
            saved = time.monotonic()
            self.display.say("saved: 1.0 from 90 to 65, 1.2 from 0 to 25")
            shifted = load.wait_for_answer(lambda answer: answer.version == "1.2", "from version 1.2")
            load.wait_for(200)
        self.display.good(
            f"the first request shifted was answered {(shifted.ended - saved) * 1000:.0f} ms after the save"
        )
        self._demand_none_failed(load.tally())

    def lose_actives(self, envoy: Envoy) -> None:
        self.display.step("Every active instance of llama-2-7b is killed at work")
        actives = [i for i in self._servers if (i.model, i.tier) == ("llama-2-7b", "active")]
        with Load(envoy.url, 40, chat("llama-2-7b"), chat("llama-2-7b", stream=True)) as load:
            load.wait_for(600)
            self._demand(
                set(load.tally().by("tier")) == {("active",)}, "until then the active ones answer", load.tally()
            )
            for instance in actives:
                self._servers[instance].kill()
            killed = time.monotonic()
            standby = load.wait_for_answer(lambda answer: answer.tier == "hot", "from a standby")
            self.display.good(f"a standby answered {(standby.ended - killed) * 1000:.0f} ms after the kill")
            load.wait_for(1_500)
            tally = load.tally().since(killed)
            self._demand(set(tally.by("tier")) == {("hot",)}, "and from then on the standbys answer", tally)
            self._restart(actives, load)
        self._report_losses(load.tally())

    def _restart(self, actives: list[Instance], load: Load) -> None:
        self._servers |= self.stack.start_instances(actives, *GENERATION)
        back = time.monotonic()
        answer = load.wait_for_answer(lambda a: a.tier == "active" and a.sent > back, "from an active instance again")
        self.display.good(f"restarted, an active one answered again after {answer.ended - back:.1f} s")

    def _report_losses(self, tally: Tally) -> None:
        text = f"of {len(tally.answers):,} requests, {len(tally.lost)} were lost before their answer had begun"
        self._demand(not tally.lost, text, tally)
        self.display.say(f"  {len(tally.cut)} streams broke off that had begun: nobody can take those over")

    def _demand_none_failed(self, tally: Tally) -> None:
        failed = len(tally.lost) + len(tally.cut)
        self._demand(not failed, f"{failed} of {len(tally.answers):,} requests failed", tally)

    def _demand(self, kept: bool, promise: str, tally: Tally) -> None:
        if not kept:
            counted = dict(tally.by("model", "version", "tier"))
            raise BrokenPromiseError(f"{promise}: not so\n   answers: {counted}\n   failures: {dict(tally.failures)}")
        self.display.good(promise)


def _split_row(version: str, percent: int, count: int) -> tuple[str, ...]:
    off, allowed = count - REQUESTS * percent / 100, bound(REQUESTS, percent)
    share = 100 * count / REQUESTS
    return version, f"{percent} %", f"{share:.1f} %", f"{count:,}", f"{off:+.0f}", f"±{allowed:.0f}"


def play(display: Display, processes: Processes, work: Path, *, keep: bool) -> None:
    began = time.monotonic()
    policies = scratch_copy(POLICIES, work / "policies")
    demo = Demo(display, Stack(processes, policies, work), work)
    demo.compile()
    control, envoy = demo.start()
    demo.name_models(envoy)
    demo.count_split(envoy, "A split is what policy asked for", COMMITTED)
    demo.edit(envoy)
    demo.count_split(envoy, "The new split is there", EDITED)
    demo.lose_actives(envoy)
    display.step(f"All of it happened, in {time.monotonic() - began:.0f} s")
    if keep:
        stay(display, processes, policies.folder, control, envoy)


def stay(display: Display, processes: Processes, folder: Path, control: Control, envoy: Envoy) -> None:
    body = '{"model": "llama-70b", "messages": [{"role": "user", "content": "Who are you?"}]}'
    display.say(f"ask         curl {envoy.url}/v1/chat/completions -H 'content-type: application/json' -d '{body}'")
    display.say(f"edit        {folder}")
    display.say(f"status      {control.url}/status")
    display.say(f"Envoy       {envoy.admin}")
    display.say(f"logs        {processes.logs}")
    display.say("Ctrl-C ends it all.")
    while control.process.alive and envoy.process.alive:
        time.sleep(0.5)
    raise NotReadyError(f"something ended on its own\n{processes.last_words()}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave everything running until Ctrl-C")
    keep = parser.parse_args().keep
    # A shell starts what it runs in the background deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    display = Display()
    with tempfile.TemporaryDirectory(prefix="turnout-demo-") as folder, Processes(Path(folder)) as processes:
        try:
            play(display, processes, Path(folder), keep=keep)
        except KeyboardInterrupt:
            display.say("ending everything")
            return 0 if keep else 130
        except BrokenPromiseError as broken:
            display.bad(f"{broken}\n{processes.last_words()}")
            return 1
        except NotReadyError as missing:
            display.bad(str(missing))
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
