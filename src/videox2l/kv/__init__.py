"""Key-value caches: rotary positions, attention, one buffer for all layers. Nothing here knows a model."""
