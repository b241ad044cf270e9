"""Certificates from files, and both ports with them."""
