"""What a change of policy does: to requests, to models and their GPUs, to objects; and in which order it is safe."""
