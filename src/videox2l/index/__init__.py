"""What is made of a video once: its chunks' KVs at every level, built, stored, opened and re-loaded."""
