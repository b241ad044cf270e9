"""Where each engine tells its metrics, as pods say it to whoever collects them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from compiler.emit.names import CONTAINER_PORT
from compiler.fleet import Framework, Version

ENGINE_LABEL = "turnout.dev/engine"


class Scrape(NamedTuple):
    port: int
    path: str


SCRAPES: Mapping[Framework, Scrape] = {
    Framework.VLLM: Scrape(CONTAINER_PORT, "/metrics"),
    Framework.SGLANG: Scrape(CONTAINER_PORT, "/metrics"),
    Framework.TGI: Scrape(CONTAINER_PORT, "/metrics"),
    # https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/metrics.html
    Framework.TRITON: Scrape(8002, "/metrics"),
    # `/metrics` is JSON there. This one is served with `return_perf_metrics: true` in the engine's own options.
    Framework.TENSORRT_LLM: Scrape(CONTAINER_PORT, "/prometheus/metrics"),
}


def scrape_labels(version: Version) -> dict[str, str]:
    return {ENGINE_LABEL: str(version.engine.framework)}


def scrape_annotations(version: Version) -> dict[str, str]:
    """What collectors go by. Where Istio's proxy stands in front, it serves the engine's metrics beside its own, to
    callers without a certificate too, and writes its own port and path here: a pod that takes mutual TLS alone can be
    asked in no other way. https://istio.io/latest/docs/ops/integrations/prometheus/#option-1-metrics-merging
    """
    found = SCRAPES[version.engine.framework]
    return {"prometheus.io/path": found.path, "prometheus.io/port": str(found.port), "prometheus.io/scrape": "true"}
