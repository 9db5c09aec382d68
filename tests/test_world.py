"""The needle world keeps its promises: seeded, at any size, needles where and when the script says."""

import random

import numpy as np
import pytest
from PIL import Image

from videox2l.synthesis.world import BLOCK_S, COLOURS, KINDS, Event, VideoScript, render, sample_script

CENTRES = {
    "top left": (0.25, 0.25),
    "top right": (0.25, 0.75),
    "bottom left": (0.75, 0.25),
    "bottom right": (0.75, 0.75),
}


def test_the_same_seed_gives_the_same_video():
    one, two = (sample_script(random.Random(5), 40) for _ in range(2))
    assert one == two
    assert np.array_equal(render(one, 12.0, 72, 128), render(two, 12.0, 72, 128))
    assert one != sample_script(random.Random(6), 40)


@pytest.mark.parametrize("duration_s", [4, 7.5, 10, 100, 1200])
def test_events_keep_to_their_block_their_corner_and_the_video(duration_s):
    script = sample_script(random.Random(1), duration_s)
    blocks = -(-int(duration_s) // BLOCK_S)
    assert {int(event.start_s) // BLOCK_S for event in script.events} == set(range(blocks))
    for event in script.events:
        last = event.start_s + event.duration_s
        assert 1 <= event.duration_s <= 3 and last <= duration_s
        assert int(event.start_s) // BLOCK_S == int(last - 1) // BLOCK_S
        rivals = [other for other in script.events if other is not event and other.corner == event.corner]
        assert all(other.start_s >= last or other.start_s + other.duration_s <= event.start_s for other in rivals)


def test_kinds_are_unique_as_long_as_there_are_enough_and_some_are_always_missing():
    short, long = (sample_script(random.Random(2), seconds) for seconds in (70, 1800))
    assert len(short.unique_events) == len(short.events)
    assert len(long.unique_events) >= 20
    for script in (short, long):
        assert len(set(KINDS) - {event.kind for event in script.events}) >= 8


@pytest.mark.parametrize("size", [(64, 64), (90, 160), (480, 640)])
def test_a_needle_shows_in_its_corner_and_only_while_it_lasts(size):
    event = Event("red", "square", 1, "bottom right", 3.0, 2.0)
    script = VideoScript(0, 10, (event,))
    for time_s in (0.0, 2.9, 5.0):
        assert len(np.unique(render(script, time_s, *size).reshape(-1, 3), axis=0)) == 1
    for time_s in (3.0, 4.9):
        frame = render(script, time_s, *size)
        changed = np.argwhere((frame != frame[0, 0]).any(-1)).mean(0) / size
        assert np.allclose(changed, CENTRES[event.corner], atol=0.03)
        red = (np.abs(frame.astype(int) - COLOURS["red"]).max(-1) < 12).mean()
        assert 0.02 < red < 0.2


def test_needles_lie_over_real_footage():
    footage = np.random.RandomState(0).randint(0, 255, (120, 200, 3)).astype(np.uint8)
    script = VideoScript(0, 10, (Event("blue", "heart", 4, "top left", 0.0, 1.0),))
    frame = render(script, 0.0, 60, 100, footage)
    bare = render(script, 5.0, 60, 100, footage)
    assert np.array_equal(bare, np.array(Image.fromarray(footage).resize((100, 60), Image.Resampling.BICUBIC)))
    assert np.array_equal(frame[30:], bare[30:]) and not np.array_equal(frame[:30, :50], bare[:30, :50])


def test_scenes_move_and_cut():
    script = sample_script(random.Random(3), 60)
    assert script.scenes[0].start_s == 0 and len(script.scenes) >= 3
    cut = script.scenes[1].start_s
    before, after = (render(script, time_s, 64, 64).astype(int) for time_s in (cut - 0.5, cut))
    assert np.abs(before - after).mean() > 5


def test_settings_that_cannot_fit_are_refused():
    with pytest.raises(ValueError, match="at least 4 seconds"):
        sample_script(random.Random(0), 2)
    with pytest.raises(ValueError, match="events_per_block"):
        sample_script(random.Random(0), 20, events_per_block=(3, 30))
