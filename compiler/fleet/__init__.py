"""`Fleet`: what the policies mean. The one value that emitters, translator and evaluator read.

Frozen all through. Every default is filled in, every reference resolved, every sum checked; zero means zero and
`None` means absent, never "default". Each part carries the `origin` it came from, so that a manifest, a status row
and a refusal by Envoy can all name the line.
"""

from compiler.fleet.gateway import Carrier, Gateway, Host, Listener, Orchestrator, Protocol, Rule, Target
from compiler.fleet.model import (
    ColdStart,
    Endpoint,
    Engine,
    Fleet,
    Framework,
    Model,
    ModelPath,
    ModelType,
    Quantization,
    Resources,
    Scheme,
    Tier,
    Version,
    Zones,
)
from compiler.fleet.names import cluster_name, slug
from compiler.fleet.routes import Route, Share, routes
from compiler.fleet.rules import Condition, Field, FieldType, LengthUnit, Operator
from compiler.fleet.traffic import (
    ConnectionPool,
    HashAlgorithm,
    HashKey,
    HashSource,
    HealthCheck,
    LoadBalancing,
    OutlierDetection,
    Retries,
    SlowStart,
    Strategy,
    Timeouts,
)

__all__ = [
    "Carrier",
    "ColdStart",
    "Condition",
    "ConnectionPool",
    "Endpoint",
    "Engine",
    "Field",
    "FieldType",
    "Fleet",
    "Framework",
    "Gateway",
    "HashAlgorithm",
    "HashKey",
    "HashSource",
    "HealthCheck",
    "Host",
    "LengthUnit",
    "Listener",
    "LoadBalancing",
    "Model",
    "ModelPath",
    "ModelType",
    "Operator",
    "Orchestrator",
    "OutlierDetection",
    "Protocol",
    "Quantization",
    "Resources",
    "Retries",
    "Route",
    "Rule",
    "Scheme",
    "Share",
    "SlowStart",
    "Strategy",
    "Target",
    "Tier",
    "Timeouts",
    "Version",
    "Zones",
    "cluster_name",
    "routes",
    "slug",
]
