"""The control server as Platform describes it."""

from typing import Annotated

from pydantic import Field

from compiler.kinds.measures import Bytes, Cores
from compiler.kinds.part import Part, SecretRef
from compiler.kinds.repositories import RepositoryText
from compiler.kinds.values import Image, Shape, Text


class RepositorySpec(Part):
    url: RepositoryText | None = None
    """As the cluster reaches it. Default: `argocd.repoURL`."""
    revision: Text | None = None
    """A branch, tag or commit. Default: `argocd.targetRevision` where the URL is Argo CD's too, else main."""
    path: Annotated[
        str,
        # The folder's own name is part of every place that is told: the checkout's would be another after each commit.
        Shape(r"^(?!/)(?!.*\.\.)(?!\.?/*\Z)[!-~]+\Z", "no folder within a repository", "policies"),
    ] = "policies"
    """Of the policies in it."""
    secret_ref: SecretRef | None = None
    """A Secret with `username` and `password`, or for SSH `ssh-privatekey` and `known_hosts`. Default: none."""


class ControlServerResourcesSpec(Part):
    cpu: Cores = Field(default=500, json_schema_extra={"default": "500m"})
    """Cores: `2`, or `500m`."""
    memory: Annotated[Bytes, Field(ge=1)] = Field(default=2**30, json_schema_extra={"default": "1Gi"})
    """What it may take at most."""


class XdsTlsSpec(Part):
    secret_ref: SecretRef
    """A Secret with `tls.crt`, `tls.key` and `ca.crt`, who signs Envoys' certificates. Those are in Secrets
    `turnout-gateway-<gateway>-xds` and `turnout-sidecar-xds` beside the Envoys."""


class ControlServerSpec(Part):
    image: Image
    """Built from the repository's Dockerfile; none is published."""
    replicas: Annotated[int, Field(ge=1, le=20)] = 2
    """Each has the same to say; Envoys go to any of them."""
    resources: ControlServerResourcesSpec = ControlServerResourcesSpec.model_construct()
    """Of each of them."""
    repository: RepositorySpec = RepositorySpec.model_construct()
    """Where it reads policies."""
    tls: XdsTlsSpec | None = None
    """Mutual TLS with the Envoys, who are sent what their certificates are for. Default: none."""
    git_sync_image: Image = "registry.k8s.io/git-sync/git-sync:v4.7.1"
    """What keeps a copy of the repository beside it."""
