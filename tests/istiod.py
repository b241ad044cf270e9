"""What istiod makes of a gateway's VirtualService and EnvoyFilter, as far as tests need: Envoy's configuration in JSON.

After pilot/pkg/networking/core/route/route.go and core/envoyfilter of Istio: every match entry becomes a route, in
order; values of patches are merged into what is there. No Istio runs here: this is what a real Envoy can be asked.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from compiler.emit import istio
from compiler.fleet import Fleet
from compiler.kept import Kept

FILTERS = "type.googleapis.com/envoy.extensions.filters"
ACTIONS = {"route", "direct_response"}

Json = dict[str, Any]
NO_DELEGATES: Mapping[str, list[Json]] = {}
NO_HEADERS: Json = {"response": {"set": {}}}


def spec(of: Fleet, kind: str, name: str) -> Any:
    return next(
        o.body["spec"]
        for o in istio.objects(of, Kept())
        if (o.body["kind"], o.body["metadata"]["name"]) == (kind, name)
    )


def patches(of: Fleet, name: str, apply_to: str) -> list[Json]:
    return [p for p in spec(of, "EnvoyFilter", f"turnout-{name}")["configPatches"] if p["applyTo"] == apply_to]


def virtual_host(of: Fleet, name: str, cluster: str, delegates: Mapping[str, list[Json]] = NO_DELEGATES) -> Json:
    """Of the gateway `name`, whose destinations are all `cluster`; the routes tell their name in `x-test-route`.

    `delegates` are the routes of VirtualServices without hosts, by namespace and name.
    """
    service = spec(of, "VirtualService", name)
    service = {**service, "http": [made for http in service["http"] for made in delegated(http, delegates)]}
    host: Json = {
        "name": f"{service['hosts'][0]}:80",
        "domains": service["hosts"],
        "routes": [route for http in service["http"] for route in _routes(http, cluster)],
    }
    for patch in patches(of, name, "VIRTUAL_HOST"):
        if patch["match"]["routeConfiguration"]["vhost"]["domainName"] in host["domains"]:
            host = merged(host, patch["patch"]["value"])
    for patch in patches(of, name, "HTTP_ROUTE"):
        match = patch["match"]["routeConfiguration"]["vhost"]
        if match.get("domainName") in (None, *host["domains"]):
            value, wanted = patch["patch"]["value"], match["route"]["name"]
            host["routes"] = [merged(r, value) if r["name"] == wanted else r for r in host["routes"]]
    return host


def delegated(http: Json, delegates: Mapping[str, list[Json]]) -> list[Json]:
    """After pilot/pkg/model/virtualservice.go: a delegate that is not there takes its route away and no other one; one
    that is there has its destinations from itself, and from the root what it does not say."""
    if "delegate" not in http:
        return [http]
    found = delegates.get(f"{http['delegate']['namespace']}/{http['delegate']['name']}", [])
    assert not any("match" in own or "name" in own for own in found), "not needed so far"
    root = {key: value for key, value in http.items() if key != "delegate"}
    return [{**root, **own} for own in found]


def connection_manager(of: Fleet, names: tuple[str, ...], virtual_hosts: list[Json]) -> Json:
    """That of a listener which the gateways `names` share."""
    manager: Json = {
        "@type": f"{FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "outbound_0.0.0.0_80",
        "route_config": {
            "name": "http.80",
            "virtual_hosts": virtual_hosts,
            "max_direct_response_body_size_bytes": 2**20,
        },
        "http_filters": [
            {"name": f"envoy.filters.http.{name}", "typed_config": {"@type": f"{FILTERS}.http.{name}.v3.{message}"}}
            for name, message in (("fault", "HTTPFault"), ("router", "Router"))
        ],
    }
    for name in names:
        for patch in patches(of, name, "NETWORK_FILTER"):
            manager = merged(manager, patch["patch"]["value"]["typed_config"])
        for patch in patches(of, name, "HTTP_FILTER"):
            assert patch["patch"]["operation"] == "INSERT_FIRST"
            manager["http_filters"].insert(0, patch["patch"]["value"])
    return manager


def merged(into: Mapping[str, Any], value: Mapping[str, Any]) -> Json:
    """As protobuf merges: lists are appended, messages merged, one of several kinds replaces another."""
    out = copy.deepcopy(dict(into))
    if ACTIONS & set(value):
        out = {key: item for key, item in out.items() if key not in ACTIONS or key in value}
    for key, item in value.items():
        old = out.get(key)
        if isinstance(item, Mapping) and isinstance(old, Mapping) and "@type" not in item:
            out[key] = merged(old, item)
        elif isinstance(item, list) and isinstance(old, list):
            out[key] = [*old, *copy.deepcopy(item)]
        else:
            out[key] = copy.deepcopy(item)
    return out


def _routes(http: Json, cluster: str) -> Iterator[Json]:
    for match in http.get("match", [{}]):
        headers = http.get("headers", {}).get("response", {}).get("set", {})
        route: Json = {
            "name": http["name"],
            "match": _match(match),
            "response_headers_to_add": [_header(*pair) for pair in (*headers.items(), ("x-test-route", http["name"]))],
        }
        if "directResponse" in http:
            answer = http["directResponse"]
            body = {"inline_string": answer["body"]["string"]}
            yield {**route, "direct_response": {"status": answer["status"], "body": body}}
        else:
            yield {**route, "route": _action(http, cluster)}


def _action(http: Json, cluster: str) -> Json:
    weights = [
        {
            "name": cluster,
            "weight": destination.get("weight", 1),
            "response_headers_to_add": [
                _header(*pair) for pair in destination.get("headers", NO_HEADERS)["response"]["set"].items()
            ],
        }
        for destination in http["route"]
    ]
    return {"timeout": http.get("timeout", "0s"), "weighted_clusters": {"clusters": weights}}


def _match(match: Json) -> Json:
    headers = [
        *({"name": name, **_header_match(how)} for name, how in match.get("headers", {}).items()),
        *(
            {
                "name": name,
                **_header_match(how),
                "invert_match": True,
                **({"treat_missing_header_as_empty": True} if how else {}),
            }
            for name, how in match.get("withoutHeaders", {}).items()
        ),
        *({"name": ":method", **_header_match(match["method"])} for _ in range("method" in match)),
    ]
    path = {"path": match["uri"]["exact"]} if "uri" in match else {"prefix": "/"}
    return {**path, "headers": headers}


def _header_match(how: Mapping[str, str]) -> Json:
    if not how:
        return {"present_match": True}
    ((kind, text),) = how.items()
    return {"string_match": {"safe_regex": {"regex": text}} if kind == "regex" else {kind: text}}


def _header(key: str, value: str) -> Json:
    return {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
