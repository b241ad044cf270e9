"""A policy folder of any number of models, and edits of one model in it, saved as editors do it."""

from __future__ import annotations

from pathlib import Path

TIERS = (("az-1", "active"), ("az-2", "hot"), ("az-3", "warm"))
VERSIONS = ("1.0", "1.1")
SHARE = 90
"""Percent of the first version."""
STEP = 5
LEAST = 50
CANARY_EVERY = 10
"""Models of which one has a second version: few are at a canary at a time."""

MODEL = """\
apiVersion: turnout.dev/v1
kind: InferenceModel
metadata: {{name: {name}, labels: {{team: team-{team:04}}}}}
spec:
  modelName: example/{name}-7b
  modelPath: s3://models/{name}
  resources: {{gpuType: a100-80g, gpuCount: 1, cpu: 8, memory: 32Gi}}
  config: {{maxSeqLen: 4096, maxBatchSize: 64, dtype: bfloat16}}
  capabilities: [chat, completion]
{scaling}  versions:
{versions}
{endpoints}  traffic:
    healthCheck: {{interval: 5s, timeout: 2s, failureThreshold: 2}}
    retries: {{attempts: 3}}
    timeouts: {{stream: {{firstByte: 30s, idle: 2m}}}}
"""
VERSION = '    - {{name: "{}", weight: {}{}}}'
REPLICAS = ", replicas: 3"
SCALING = "  autoscaling: {minReplicas: 2, maxReplicas: 4, metrics: [{name: running_requests, target: 48}]}\n"
ENDPOINT = '    - {{address: {address}, port: {port}, zone: {zone}, tier: {tier}, version: "{version}"}}'


PLATFORM = """\
apiVersion: turnout.dev/v1
kind: Platform
metadata: {name: platform}
spec: {prometheus: {address: "http://prometheus.monitoring.svc:9090"}}
"""
"""What scaling by load needs."""


def model_name(number: int) -> str:
    return f"model-{number:05}"


class PolicyFolder:
    """Models by number, from 0; those beyond the last begin again at 0."""

    def __init__(self, path: Path, models: int, per_file: int = 20, endpoints: int = 6, scaled: bool = False) -> None:
        self.path, self.models = path, models
        self._per_file, self._endpoints, self._scaled = per_file, endpoints, scaled
        self._shares = [SHARE] * models
        self._ports = [8000] * models
        path.mkdir()
        if scaled:
            (path / "platform.yaml").write_text(PLATFORM)
        for first in range(0, models, per_file):
            self._save(first)

    def move_endpoint(self, number: int) -> None:
        """Gives an active endpoint another port."""
        number %= self.models
        self._ports[number] = 8000 + (self._ports[number] + 1) % 1000
        self._save(number)

    def shift_weight(self, number: int) -> None:
        """Gives the second version of the canary with this number some percent more; in the end none of what it had
        beyond 10."""
        number = number * CANARY_EVERY % self.models
        share = self._shares[number] - STEP
        self._shares[number] = share if share >= LEAST else SHARE
        self._save(number)

    def _save(self, number: int) -> None:
        """The file with this model, renamed into its place: nobody reads half of it."""
        team = number // self._per_file
        numbers = range(team * self._per_file, min((team + 1) * self._per_file, self.models))
        fresh = self.path / f".team-{team:04}.new"
        fresh.write_text("---\n".join(self._model(each) for each in numbers))
        fresh.replace(self.path / f"team-{team:04}.yaml")

    def _model(self, number: int) -> str:
        share, canary = self._shares[number], number % CANARY_EVERY == 0
        shares = (share, 100 - share) if canary else (100,)
        endpoints = [self._endpoint(number, at, VERSIONS[0]) for at in range(self._endpoints)]
        if canary and endpoints:
            endpoints.append(self._endpoint(number, self._endpoints, VERSIONS[1]))
        replicas = "" if self._scaled else REPLICAS
        return MODEL.format(
            name=model_name(number),
            team=number // self._per_file,
            scaling=SCALING if self._scaled else "",
            versions="\n".join(VERSION.format(*version, replicas) for version in zip(VERSIONS, shares, strict=False)),
            endpoints="".join(["  endpoints:\n", *(f"{line}\n" for line in endpoints)]) if endpoints else "",
        )

    def _endpoint(self, number: int, at: int, version: str) -> str:
        zone, tier = TIERS[at % len(TIERS)]
        return ENDPOINT.format(
            address=f"10.{at}.{number // 250}.{number % 250 + 1}",
            port=8000 if at else self._ports[number],
            zone=zone,
            tier=tier,
            version=version,
        )
