"""Traces to an OpenTelemetry collector, by OTLP over HTTP with JSON.

By hand: OpenTelemetry's own exporters cannot be had in this process, for xds-protos brings messages of the same names.
"""
