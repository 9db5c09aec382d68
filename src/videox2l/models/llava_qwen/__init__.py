"""What Video-XL and Video-XL-2 share: both are published as `llava_qwen`, a Qwen2 decoder behind a vision tower."""
