"""What only the running server knows, and the decisions on it: pure, (policy, state, now) to state."""
