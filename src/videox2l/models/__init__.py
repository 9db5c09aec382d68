"""Adapters: one per family of multimodal LLMs, and what is needed to load one."""
