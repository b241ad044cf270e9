"""Envoy configuration that Turnout's own Envoys and Istio's share, as text and plain data: written once, meant once."""
