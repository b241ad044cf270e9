"""The kinds of policy, each with its schema. To add one: a module, and a line here."""

from __future__ import annotations

from compiler.kinds.disaster_recovery import DisasterRecovery
from compiler.kinds.gateway import Gateway
from compiler.kinds.inference_model import InferenceModel
from compiler.kinds.model_orchestrator import ModelOrchestrator
from compiler.kinds.part import Part
from compiler.kinds.platform import Platform
from compiler.kinds.rollout import Rollout
from compiler.kinds.tenant import Tenant

API_VERSION = "turnout.dev/v1"

KINDS: tuple[type[Part], ...] = (
    Platform,
    InferenceModel,
    ModelOrchestrator,
    DisasterRecovery,
    Gateway,
    Tenant,
    Rollout,
)
"""In the order in which they are decoded: Platform's defaults come before the models they complete."""

__all__ = [
    "API_VERSION",
    "KINDS",
    "DisasterRecovery",
    "Gateway",
    "InferenceModel",
    "ModelOrchestrator",
    "Platform",
    "Rollout",
    "Tenant",
]
