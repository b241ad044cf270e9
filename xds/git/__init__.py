"""A git repository as the source of policies: one commit after the other, each whole or not at all."""
