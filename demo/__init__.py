"""Turnout at work on one machine: `make demo`."""
