"""Video-XL-2: SigLIP tower, temporal module over groups of four frames, Qwen2 decoder with time texts."""
