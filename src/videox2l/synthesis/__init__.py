"""Procedural needle videos and the questions asked about them."""
