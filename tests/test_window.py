"""Summary tokens stand among a window's raw tokens where the published layout puts them."""

from __future__ import annotations

import pytest
import torch

from videox2l.models.video_xl.window import Window, summary_ends


def test_a_summary_follows_every_r_raw_tokens() -> None:
    ends, carried = summary_ends(288, 2, 0, "carry")
    assert Window(288, 2, tuple(ends), {}).summary_offsets.tolist() == list(range(2, 432, 3))
    assert carried == 0
    ends, carried = summary_ends(288, 32, 0, "carry")
    assert Window(288, 32, tuple(ends), {}).summary_offsets.tolist() == list(range(32, 297, 33))
    assert carried == 0


def test_a_remainder_is_counted_on_in_the_next_window() -> None:
    second, carried = summary_ends(144, 32, 0, "carry")
    assert Window(144, 32, tuple(second), {}).summary_offsets.tolist() == [32, 65, 98, 131]
    assert carried == 16
    third, carried = summary_ends(144, 32, carried, "carry")
    assert Window(144, 32, tuple(third), {}).summary_offsets.tolist() == [16, 49, 82, 115, 148]
    assert carried == 0


@pytest.mark.parametrize("ratio", [2, 3, 7, 32, 200])
def test_windows_of_any_length_summarise_every_r_tokens_of_the_whole(ratio: int) -> None:
    sizes, ends, carried, before = [144, 30, 1, 288, 5], [], 0, 0
    for size in sizes:
        window_ends, carried = summary_ends(size, ratio, carried, "carry")
        ends += [before + end for end in window_ends]
        before += size
    assert ends == list(range(ratio, sum(sizes) + 1, ratio))
    assert carried == sum(sizes) % ratio


@pytest.mark.parametrize(("raw_tokens", "ratio", "count"), [(100, 8, 13), (99, 8, 12), (10, 32, 1), (160, 32, 5)])
def test_even_layout_spreads_its_summaries_to_the_end(raw_tokens: int, ratio: int, count: int) -> None:
    ends, carried = summary_ends(raw_tokens, ratio, 3, "even")
    assert (len(ends), ends[-1], carried) == (count, raw_tokens, 0)
    gaps = torch.tensor([0, *ends]).diff()
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1


def test_ratio_1_keeps_the_raw_tokens_themselves() -> None:
    ends, carried = summary_ends(9, 1, 0, "carry")
    window = Window(9, 1, tuple(ends), {})
    assert (ends, carried, window.main_tokens) == ([], 0, 9)
    assert window.kept_offsets.tolist() == window.raw_offsets.tolist() == list(range(9))


def test_raw_tokens_and_summaries_share_out_the_main_stream() -> None:
    window = Window(20, 3, tuple(summary_ends(20, 3, 1, "carry")[0]), {})
    offsets = torch.cat([window.raw_offsets, window.summary_offsets])
    assert offsets.sort().values.tolist() == list(range(window.main_tokens))
    assert window.kept_offsets.tolist() == window.summary_offsets.tolist()


def test_an_extra_summary_sees_the_raw_tokens_before_it_and_its_own_level() -> None:
    """Checked token by token; it stands one position past the last main element before it."""
    fine = (2, 4, 6, 8, 10, 12)
    window = Window(12, 2, fine, {4: (4, 8, 12), 6: (6, 12)})
    extras = [(4, 4), (4, 8), (4, 12), (6, 6), (6, 12)]  # (ratio, raw tokens before it)
    main = sorted([(raw, "raw", raw) for raw in range(12)] + [(end - 0.5, "summary", end) for end in fine])
    for row, (ratio, end) in enumerate(extras):
        expected = [kind == "raw" and number < end for _, kind, number in main]
        expected += [other == ratio and other_end <= end for other, other_end in extras]
        assert window.extra_mask[row].tolist() == expected
        before = [place for place, (_, _, number) in enumerate(main) if number < end or (number == end and place)]
        behind = max(place for place in before if main[place][0] <= end - 0.5)
        assert int(window.positions[window.main_tokens + row]) == behind + 1
    assert window.positions[: window.main_tokens].tolist() == list(range(18))
    assert window.extra_tokens == 5
