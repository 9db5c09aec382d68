"""Compression: drive the model over one chunk after another, keep each chunk's KVs at every level."""
