"""A value of another kind than a setting takes is refused at the library's doors, in one sentence that names it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from videox2l import Answer, Sampling, TopK, VideoX2L
from videox2l.errors import ModelError, QuestionError, SettingsError, StoreError, VideoError, VideoX2LError
from videox2l.find import find_moments
from videox2l.store import open_store
from videox2l.tracks.dual_encoder import DualEncoder
from videox2l.video import open_video


class NoEncoder(DualEncoder):
    """Stands where an encoder must be; it is never asked."""

    embed_frames = embed_text = None  # type: ignore[assignment]


def ask(engine: VideoX2L, clip: Path, **settings: Any) -> None:
    engine.ask(clip, **{"question": "Who?"} | settings)


def find(engine: VideoX2L, clip: Path, text: Any = "heart", **settings: Any) -> None:
    find_moments(clip, text, NoEncoder(), engine.store, **settings)


Door = Callable[[VideoX2L, Path, Any], Any]
ADDRESS = "https://example.com/a.mp4"
REFUSED: list[tuple[Door, Any, type[VideoX2LError], str]] = [
    (lambda engine, clip, wrong: ask(engine, clip, question=wrong), 5, QuestionError, "an object of type int"),
    (lambda engine, clip, wrong: ask(engine, clip, question=wrong), None, QuestionError, "an object of type NoneType"),
    (lambda engine, clip, wrong: ask(engine, clip, question=wrong), ["Who?"], QuestionError, "an object of type list"),
    (lambda engine, clip, wrong: ask(engine, clip, oracle=wrong), 5, SettingsError, "oracle can't be an object of"),
    (lambda engine, clip, wrong: ask(engine, clip, selector=wrong), TopK, SettingsError, "can't be the class TopK"),
    (
        lambda engine, clip, wrong: ask(engine, clip, generation=wrong),
        5,
        SettingsError,
        "generation can't be an object",
    ),
    (
        lambda engine, clip, wrong: engine.index(clip, wrong),
        2,
        SettingsError,
        "sampling can't be an object of type int",
    ),
    (lambda engine, clip, wrong: find(engine, clip, wrong), 3, QuestionError, "an object of type int"),
    (lambda engine, clip, wrong: find(engine, clip, k=wrong), "a", SettingsError, "k='a' is not a number of moments"),
    (lambda engine, clip, wrong: TopK(k=wrong), "x", SettingsError, "k='x' is not a number of chunks"),
    (lambda engine, clip, wrong: TopK(k=wrong), 2.5, SettingsError, "k=2.5 is not a number of chunks"),
    (lambda engine, clip, wrong: Sampling(fps=wrong), "1", SettingsError, "fps='1' is not a sampling rate"),
    (lambda engine, clip, wrong: Sampling(start_s=wrong), "1", SettingsError, "start_s='1' is not a time"),
    (lambda engine, clip, wrong: VideoX2L.from_pretrained(wrong), 5, ModelError, "the model can't be an object"),
    (lambda engine, clip, wrong: VideoX2L.from_pretrained(wrong), "", ModelError, "the model is an empty text"),
    (lambda engine, clip, wrong: VideoX2L.from_pretrained(encoder=wrong), 3, SettingsError, "encoder can't be an"),
    (lambda engine, clip, wrong: open_store(wrong), "", StoreError, "the store is an empty text"),
    (lambda engine, clip, wrong: open_video(wrong), "", VideoError, "the video is an empty text"),
    (lambda engine, clip, wrong: open_video(wrong), Answer, VideoError, "can't be read as a video"),
    (lambda engine, clip, wrong: open_video(wrong), ADDRESS, VideoError, "download the video first"),
    (lambda engine, clip, wrong: open_video(wrong), Path(ADDRESS), VideoError, "download the video first"),
]


@pytest.mark.parametrize(("door", "wrong", "error", "said"), REFUSED)
def test_another_kind_of_value_is_refused_in_a_sentence(
    engine: VideoX2L, made_clip: Path, door: Door, wrong: Any, error: type[VideoX2LError], said: str
) -> None:
    with pytest.raises(error) as caught:
        door(engine, made_clip, wrong)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
