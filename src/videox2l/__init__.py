"""Video-X2L: ask questions about long videos from a KV cache compressed at two levels."""

__version__ = "0.1.0"
