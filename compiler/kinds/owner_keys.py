"""Keys of the labels and annotations that an owner puts on what is rendered: not those that others write there."""

from typing import Annotated

from pydantic import AfterValidator

from compiler.kinds.values import MetadataKey, quoted, refuse

_OURS = "Turnout writes it"
_ARGO_CDS = "Argo CD writes it"
_A_HOOK = "it would make a hook of every object"
_TAKEN = {
    "app.kubernetes.io/managed-by": _OURS,
    "app.kubernetes.io/name": _OURS,
    "app.kubernetes.io/part-of": _OURS,
    "argocd.argoproj.io/hook": _A_HOOK,
    "argocd.argoproj.io/hook-delete-policy": _A_HOOK,
    "argocd.argoproj.io/installation-id": _ARGO_CDS,
    "argocd.argoproj.io/sync-wave": _OURS,
    "argocd.argoproj.io/tracking-id": _ARGO_CDS,
    "grafana_dashboard": _OURS,
    "grafana_datasource": _OURS,
    # Argo CD takes these for its own.
    "helm.sh/hook": _A_HOOK,
    "helm.sh/hook-delete-policy": _A_HOOK,
    "helm.sh/hook-weight": _A_HOOK,
    "istio-injection": _OURS,
}
_TAKEN_PREFIX = "pod-security.kubernetes.io/"


def _owner_key(key: str) -> str:
    why = _OURS if key.startswith(_TAKEN_PREFIX) else _TAKEN.get(key)
    if why is not None:
        raise refuse("P115", f"{quoted(key)} is no name: {why}", "leave it out")
    return key


OwnerKey = Annotated[MetadataKey, AfterValidator(_owner_key)]
