"""Policy in, manifests and proofs out."""
