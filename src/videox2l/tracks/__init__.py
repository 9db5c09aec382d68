"""What is made of a video at index time and is not KVs."""
