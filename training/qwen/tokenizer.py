"""The tokenizer of nano-qwen: one token for each word of the needle world, and the marks of the Qwen3-VL class.

The time that the class writes before a pair of frames, "<97.5 seconds>", is two tokens: "<97" and ".5 seconds>".
"""

from __future__ import annotations

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from training.vocabulary import UNKNOWN, Vocabulary
from videox2l.synthesis.questions import LAST_TIME_S, WORD_PATTERN, vocabulary

SPECIAL = (
    "<pad>",
    UNKNOWN,
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
ROLES = ("user", "assistant")
TENTHS = tuple(f".{tenth} seconds>" for tenth in range(10))
WRITTEN_PATTERN = r"<\d+|\.\d seconds>"

VOCABULARY = Vocabulary(
    [*SPECIAL, *ROLES, *TENTHS, *vocabulary(), *(f"<{second}" for second in range(LAST_TIME_S))],
    f"{WRITTEN_PATTERN}|{WORD_PATTERN}",
)

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""As the class's, without system prompts and tools."""


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Lower-cases, cuts into words, numbers, times and punctuation marks; unknown words become <unk>."""
    core = Tokenizer(models.WordLevel(VOCABULARY.ids, unk_token=UNKNOWN))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Split(Regex(VOCABULARY.pattern), behavior="removed", invert=True)
    core.decoder = decoders.WordPiece(prefix="##", cleanup=True)  # without spaces before punctuation marks
    core.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in SPECIAL])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token=UNKNOWN, eos_token="<|im_end|>", pad_token="<pad>"
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
