"""Tiny random models of every family, and the checks that every adapter passes: for tests here and elsewhere."""
