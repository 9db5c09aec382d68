"""Which decoders can be driven chunk by chunk, and how long a context they were trained for, by their configuration."""

from __future__ import annotations

from transformers import PreTrainedConfig

from videox2l.errors import ModelError


def refuse_decoder(config: PreTrainedConfig) -> None:
    """Raises: ModelError for a decoder whose KVs can't be kept, moved and dropped token by token."""
    kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    if kinds:
        raise ModelError(
            f"the decoder ({config.model_type}) has {', '.join(sorted(kinds))} layers, which do not attend to every "
            "earlier token, so chunks' KVs can't be re-loaded into it: pass a model with full attention in every layer"
        )
    window = getattr(config, "sliding_window", None)
    if not getattr(config, "layer_types", None) and window and window < config.max_position_embeddings:
        raise ModelError(
            f"the decoder ({config.model_type}) has a sliding_window: its tokens attend only to the last {window}, so "
            "chunks' KVs can't be re-loaded into it: pass a model with full attention in every layer"
        )
    parameters = getattr(config, "rope_parameters", None) or {}
    part = parameters.get("partial_rotary_factor") or 1.0
    if part < 1:
        raise ModelError(
            f"the decoder ({config.model_type}) rotates only a part of each head (partial_rotary_factor {part}), "
            "which is not supported: pass a model whose RoPE rotates all of it"
        )
    rope = parameters.get("rope_type", "default")
    if rope not in ("default", "linear", "dynamic", "yarn", "llama3"):
        raise ModelError(
            f"the decoder ({config.model_type}) has {rope} RoPE, whose angles change with the length of the text: "
            "pass a model with default, linear, dynamic, yarn or llama3 RoPE"
        )


def trained_positions(config: PreTrainedConfig) -> int:
    """How many positions a decoder was made for, by its RoPE.

    Linear and yarn scaling stretch the original length by their factor. llama3 scaling is stretched already in
    `max_position_embeddings`. Dynamic scaling is default RoPE up to `max_position_embeddings`; beyond it, its angles
    would change with the length of the text, and ours stay those of default RoPE.
    """
    rope = getattr(config, "rope_parameters", None) or {}
    kind, factor = rope.get("rope_type"), rope.get("factor")
    if kind == "linear" and factor:
        return int(config.max_position_embeddings * factor)
    if kind == "yarn" and factor:
        return int(rope["original_max_position_embeddings"] * factor)
    return config.max_position_embeddings
