"""What Platform says of the control server, and what it leaves to other fields."""

from __future__ import annotations

import pytest

from compiler.fleet import Platform, Repository
from tests.compiler.policies import document, linked, model

ARGOCD = "argocd: {repoURL: 'https://h/p.git', targetRevision: stable}\n"


def platform(spec: str) -> Platform:
    made, found = linked(document("Platform", "platform", spec), model())
    assert made is not None, found
    return made.platform


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (ARGOCD, Repository("https://h/p.git", "stable", "policies", None)),
        (ARGOCD + "controlServer: {repository: {revision: v1}}", Repository("https://h/p.git", "v1", "policies", None)),
        (
            ARGOCD + "controlServer: {repository: {url: 'https://h/p.git', path: a/b/}}",
            Repository("https://h/p.git", "stable", "a/b", None),
        ),
        (
            ARGOCD + "controlServer: {repository: {url: 'https://h/other.git'}}",
            Repository("https://h/other.git", "main", "policies", None),
        ),
        (
            "controlServer: {repository: {url: 'git@h:p.git', secretRef: {name: key}}}",
            Repository("git@h:p.git", "main", "policies", "key"),
        ),
    ],
)
def test_the_repository_is_argo_cd_s_unless_it_is_said(spec: str, expected: Repository) -> None:
    image = "image: 'registry.example.com/turnout:1'"
    whole = spec.replace("controlServer: {", f"controlServer: {{{image}, ") if "controlServer" in spec else spec
    if "controlServer" not in whole:
        whole += f"controlServer: {{{image}}}"
    server = platform(whole).control_server
    assert server is not None
    assert server.repository == expected


def test_without_being_asked_for_there_is_none() -> None:
    assert platform(ARGOCD).control_server is None


@pytest.mark.parametrize(
    ("spec", "image"),
    [
        ("{}", "envoyproxy/envoy:distroless-v1.40.0"),
        ("versions: {envoy: '1.41'}", "envoyproxy/envoy:distroless-v1.41.0"),
        ("versions: {envoy: '1.41'}\ndataPlane: {envoyImage: 'mirror/envoy:1'}", "mirror/envoy:1"),
    ],
)
def test_envoy_s_image_is_of_the_release_that_policy_says(spec: str, image: str) -> None:
    assert platform(spec).envoy_image == image


@pytest.mark.parametrize(("release", "known"), [("1.34", False), ("1.35", True), ("2.0", True)])
def test_pods_know_their_zone_from_the_release_on_that_tells_them(release: str, known: bool) -> None:
    assert platform(f"versions: {{kubernetes: '{release}'}}").pods_know_zones is known
