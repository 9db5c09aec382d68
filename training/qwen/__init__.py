"""What nano-qwen, of transformers' Qwen3-VL class, is trained with beside what it shares with nano."""
