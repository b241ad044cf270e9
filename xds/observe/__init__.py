"""The world as events: one async iterator for each source."""
