"""Whether resources are fit to be served: Envoy's own constraints, and what must be true between resources."""
