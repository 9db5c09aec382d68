"""Video-XL: CLIP tower, projector, Qwen2 decoder with visual summary tokens."""
