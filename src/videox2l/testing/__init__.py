"""Tiny random models of every family, for tests of this package and of adapters from outside."""
