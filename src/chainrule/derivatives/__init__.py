"""Derivatives of a network, as pure functions ready for `Backend.compile`."""
