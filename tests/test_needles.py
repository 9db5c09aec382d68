"""Needle evaluation: fresh mp4 files, the same questions in every setting, intervals, priors, recall, sizes."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from videox2l import FRESH, Answer, Budget, Even, OneLevel, SummaryTokens, TopK, VideoIndex, VideoX2L
from videox2l.compression.fresh import Fresh
from videox2l.compression.summary_tokens import SummaryCompression
from videox2l.errors import SettingsError
from videox2l.evaluation.answers_file import AnswersFile
from videox2l.evaluation.evaluate import EvaluationProgress
from videox2l.evaluation.intervals import mean_accuracy, mean_difference, wilson
from videox2l.evaluation.needles import NeedleEvaluation, NeedleItem, evaluate_needles
from videox2l.evaluation.question_set import Item, words
from videox2l.evaluation.result import EvaluationResult
from videox2l.evaluation.settings import Setting, comparison, frame_settings
from videox2l.evaluation.table import evaluation_table
from videox2l.models.base import MLLM, Turn
from videox2l.models.video_xl.adapter import VideoXL
from videox2l.oracles.base import Oracle
from videox2l.synthesis.plan import NeedlePlan, NeedleSettings
from videox2l.synthesis.questions import TASKS
from videox2l.synthesis.writer import VideoFormat
from videox2l.types import KV

SMALL = NeedleEvaluation(
    videos=2, needles=NeedleSettings(minutes=0.2, seed=3, format=VideoFormat(fps=1, width=64, height=64))
)
SETTINGS = (
    Setting("fine", SummaryTokens((2,)), chunk_frames=2),
    Setting("random", oracle="random", selector=TopK(1), chunk_frames=2),
    Setting("spread", selector=Even(1), chunk_frames=2),
    Setting("equal", chunk_frames=2, same_size_as="random"),
    Setting("full", SummaryTokens((1,)), chunk_frames=2),
)


@pytest.fixture(scope="module")
def result(video_xl) -> EvaluationResult:
    return evaluate_needles(VideoX2L(video_xl), SETTINGS, SMALL)


def test_every_setting_answers_the_same_questions(result: EvaluationResult):
    asked = [[(o.video, o.task, o.truth) for o in each.outcomes] for each in result.settings]
    assert all(questions == asked[0] for questions in asked)
    plan = NeedlePlan(SMALL.needles)
    assert asked[0] == [(v, q.task, q.answer) for v in range(2) for q in plan.video(v).questions]
    assert set(result.settings[0].tasks) == set(TASKS)


def test_the_one_level_has_the_cache_size_of_the_setting_it_stands_against(result: EvaluationResult):
    method, equal = result["random"], result["equal"]
    assert len(equal.equal_levels) == 1
    assert equal.cache_tokens == pytest.approx(method.cache_tokens, rel=0.1)
    assert result["full"].times_smaller == 1.0
    assert result["fine"].times_smaller == pytest.approx(2, rel=0.05)


def test_evaluations_repeat_exactly(result: EvaluationResult, video_xl):
    again = evaluate_needles(VideoX2L(video_xl), SETTINGS[1:2], SMALL)
    assert again["random"].outcomes == result["random"].outcomes


def test_questions_of_a_conversation_follow_each_other_in_one_context(
    video_xl: VideoXL, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[str, tuple[Turn, ...], str]] = []
    real = VideoX2L.ask

    def ask(self: VideoX2L, index: VideoIndex, question: str, **settings: Any) -> Answer:
        answer = real(self, index, question, **settings)
        asked.append((question, settings["history"], answer.text))
        return answer

    monkeypatch.setattr(VideoX2L, "ask", ask)
    evaluation = replace(SMALL, videos=1, turns=3)
    kept = AnswersFile(tmp_path / "answers.jsonl")
    first = evaluate_needles(VideoX2L(video_xl), SETTINGS[:1], evaluation, kept=kept)
    questions = {question.text for question in NeedlePlan(SMALL.needles).video(0).questions}
    assert {question for question, _, _ in asked} == questions
    turns = [Turn(question, text) for question, _, text in asked]
    assert [list(history) for _, history, _ in asked] == [turns[number - number % 3 : number] for number in range(10)]
    again = evaluate_needles(VideoX2L(video_xl), SETTINGS[:1], evaluation, kept=AnswersFile(kept.path))
    assert len(asked) == 10  # kept answers are the history of those that follow
    assert again["fine"].outcomes == first["fine"].outcomes
    assert "asked in conversations of 3 turns" in first.questions.name


def test_recall_counts_the_needles_chunks(video_xl):
    class First(Oracle):
        """Scores chunks from first to last."""

        def relevance(self, model, index, question):
            return -torch.arange(len(index.entries), dtype=torch.float32)

    engine = VideoX2L(video_xl)
    setting = Setting("first", oracle=First(), selector=TopK(2, fine_edges=False), chunk_frames=2)
    outcomes = evaluate_needles(engine, (setting,), replace(SMALL, videos=1)).settings[0].outcomes
    questions = NeedlePlan(SMALL.needles).video(0).questions
    for question, outcome in zip(questions, outcomes, strict=True):
        chunks = {int(time_s // 2) for time_s in question.needle_times_s}
        if not chunks:
            assert outcome.recall == {}
            continue
        assert outcome.recall["@1"] == len(chunks & {0}) / len(chunks)
        assert outcome.recall["@2"] == outcome.recall["in_detail"] == len(chunks & {0, 1}) / len(chunks)


def test_edges_that_two_passes_keep_fine_count_as_read_in_detail(video_xl) -> None:
    engine = VideoX2L(video_xl, SummaryTokens(passes="two_pass"), chunk_frames=4, selector=TopK(0), oracle="random")
    settings = (Setting.of(engine), replace(Setting.of(engine), name="one pass", compressor=SummaryTokens()))
    needles = NeedleSettings(minutes=0.25, format=VideoFormat(fps=2), tasks=("when",), questions=3)
    result = evaluate_needles(engine, settings, NeedleEvaluation(2, needles))
    two, one = (each.mean_recall["in_detail"] for each in result.settings)
    assert two == one > 0


def test_chunks_kept_fine_anyway_count_as_read_in_detail(result: EvaluationResult):
    recalls = [outcome.recall for outcome in result["random"].outcomes if outcome.recall]
    assert recalls
    for recall in recalls:
        assert set(recall) == {"@1", "in_detail"}
        assert recall["in_detail"] >= recall["@1"]


def test_recall_by_score_needs_scores(result: EvaluationResult):
    recalls = [outcome.recall for outcome in result["spread"].outcomes if outcome.recall]
    assert recalls
    assert all(set(recall) == {"in_detail"} for recall in recalls)
    assert set(result["spread"].mean_recall) == {"in_detail"}
    assert result["fine"].mean_recall == {}


def test_the_rows_read_what_they_say(result: EvaluationResult, video_xl):
    """Six chunks of 144 visual tokens at 2x and 9 at 32x behind a prompt of 44; the last has no more than its share."""
    sizes = {name: {outcome.cache_tokens for outcome in result[name].outcomes} for name in ("fine", "random", "spread")}
    prompt = 44
    assert sizes == {
        "fine": {prompt + 6 * 144},
        "random": {prompt + 3 * 144 + 3 * 9},
        "spread": {prompt + 3 * 144 + 3 * 9},
    }


def test_settings_of_one_compression_share_one_index(video_xl, monkeypatch):
    indexed = []
    start = SummaryTokens.start

    def note(self: SummaryTokens, model: MLLM, prompt: KV) -> SummaryCompression:
        indexed.append(self.levels)
        return start(self, model, prompt)

    monkeypatch.setattr(SummaryTokens, "start", note)
    evaluate_needles(VideoX2L(video_xl), SETTINGS[:3], replace(SMALL, videos=1))
    assert indexed == [(2,), (2, 32)]


def test_the_result_is_json_and_a_table(result: EvaluationResult):
    values = json.loads(json.dumps(result.to_json(), allow_nan=False))
    names = [setting["name"] for setting in values["settings"]]
    assert names == ["fine", "random", "spread", "equal", "full"]
    assert len(values["differences"]) == 10
    assert values["tasks"]["attribute"]["asked"] == 2
    assert 0 < values["tasks"]["exist"]["prior"] <= 1
    one = replace(result, settings=result.settings[1:2])
    for shown in (result, one):
        console = Console(width=200, record=True, file=io.StringIO())
        console.print(evaluation_table(shown))
        text = console.export_text()
        assert "attribute" in text and "prior" in text and "random" in text


def test_a_count_next_to_the_right_one_is_near(result: EvaluationResult):
    counted = replace(result["fine"].of("count")[0], truth="4")
    texts = ["4", "0:12 0:50 so 3", "5", "2", "four", "4 4"]
    outcomes = tuple(replace(counted, text=text) for text in texts)
    assert replace(result["fine"], outcomes=outcomes).within_one("count").value == 0.5


def test_answerable_questions_that_are_refused_are_counted(result: EvaluationResult):
    good, unknown = result["fine"].of("where")[0], result["fine"].of("unknown")[0]
    outcomes = (
        replace(good, text="top left"),
        replace(good, text="I don't know."),
        replace(unknown, text="i don't know"),
    )
    refused = replace(result["fine"], outcomes=outcomes)
    assert refused.refused.value == 0.5
    assert refused.to_json()["refused"]["value"] == 0.5


def test_progress_reaches_the_last_question(video_xl):
    seen: list[EvaluationProgress] = []
    evaluate_needles(VideoX2L(video_xl), SETTINGS[:1], replace(SMALL, videos=1), seen.append)
    assert (seen[0].video, seen[0].answers) == (0, 0)
    assert seen[-1].answers == seen[-1].total_answers == len(NeedlePlan(SMALL.needles).video(0).questions)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ((), "no settings"),
        ((Setting("a", oracle="random"), Setting("a", oracle="random")), "two settings are called 'a'"),
        ((Setting("a", oracle="random", same_size_as="b"), Setting("b", oracle="random")), "no setting before it"),
        ((Setting("a", oracle="crystal ball"),), "'crystal ball' is unknown"),
        ((Setting("a", oracle="contrastive"),), "dual encoder"),
    ],
)
def test_impossible_settings_are_named_before_anything_is_made(video_xl, settings, message: str):
    with pytest.raises(SettingsError, match=message):
        evaluate_needles(VideoX2L(video_xl), settings, SMALL)


def test_the_default_comparison_holds_what_the_method_must_beat():
    settings = comparison(Setting("2x/32x, contrastive"))
    assert [setting.name for setting in settings] == [
        "2x everywhere",
        "2x/32x, contrastive",
        "2x/32x, probe",
        "2x/32x, attention",
        "2x/32x, random",
        "2x/32x, evenly spaced",
        "one level, equal size",
        "frames uniform, fresh",
        "frames uniform, re-loaded",
        "frames top_k, fresh",
        "frames top_k, re-loaded",
        "32x everywhere",
        "2x/32x, two_pass",
        "full cache",
    ]
    assert {setting.oracle for setting in settings[1:5]} == {"contrastive", "probe", "attention", "random"}
    assert settings[5].selector == Even(3)
    equal = [setting for setting in settings if setting.same_size_as]
    assert [setting.same_size_as for setting in equal] == [settings[1].name] * 5
    everywhere = [setting for setting in settings if isinstance(setting.selector, OneLevel) and setting not in equal]
    assert [setting.compressor.levels for setting in everywhere] == [(2,), (32,), (1,)]
    assert [setting.compressor.levels for setting in equal[1:]] == [(FRESH,), (1,)] * 2
    assert not any(setting.selector.fine_edges for setting in (*everywhere, *equal))
    assert all(setting.selector.fine_edges for setting in settings if setting.selects and setting not in equal)


def test_a_method_that_leaves_chunks_out_is_compared_without_ratios_where_it_has_none():
    """As for a model whose KVs can't be re-used."""
    method = Setting("fresh, contrastive", Fresh(), selector=TopK(3, leaves_out=True))
    settings = comparison(method, frame_methods=("aks",))
    assert [setting.name for setting in settings] == [
        "full cache",
        "fresh, contrastive",
        "fresh, probe",
        "fresh, random",
        "fresh, evenly spaced",
        "frames aks, fresh",
    ]
    assert {setting.compressor for setting in settings} == {Fresh()}


def test_frames_are_read_with_as_many_tokens_as_the_setting_they_are_compared_with(video_xl):
    """For every question, fresh and re-loaded."""
    ours = Setting("ours", SummaryTokens((2, 32)), "random", TopK(1, fine_edges=False), chunk_frames=2)
    result = evaluate_needles(VideoX2L(video_xl), (ours, *frame_settings(ours, False)), replace(SMALL, videos=1))
    ours_result, *arms = result.settings
    assert [arm.setting.name for arm in arms] == ["frames uniform, fresh", "frames uniform, re-loaded"]
    for arm in arms:
        for own, other in zip(ours_result.outcomes, arm.outcomes, strict=True):
            assert own.cache_tokens - 144 < other.cache_tokens <= own.cache_tokens  # less than a frame's
    fresh, reloaded = (arm.to_json() for arm in arms)
    assert "cache_tokens" not in fresh["selector"]
    assert fresh["prefill_s"] > 0 == reloaded["prefill_s"]
    assert fresh["compressor"]["levels"] == ["fresh"]
    assert fresh["ratios"].keys() == {"fresh"} and reloaded["ratios"].keys() == {"1x"}
    assert ours_result.to_json()["ratios"] == {"2x": 2.0, "32x": 32.0}


def test_one_level_everywhere_has_no_exception_for_the_first_and_last_chunk(video_xl):
    """Two passes compress them at 2x whatever the level."""
    two_pass = Setting("two_pass", SummaryTokens((2, 32), "two_pass"), "random", TopK(1), chunk_frames=2)
    rows = {row.name: row for row in comparison(two_pass, has_encoder=False)}
    everywhere = (rows["32x everywhere"], rows["full cache"])
    coarse, full = evaluate_needles(VideoX2L(video_xl), everywhere, replace(SMALL, videos=1)).settings
    assert coarse.cache_tokens == 44 + 6 * 9
    assert full.times_smaller == 1.0


def test_a_budget_is_compared_without_settings_that_need_a_k():
    settings = comparison(Setting("2x/8x/32x, probe", SummaryTokens((2, 8, 32)), "probe", Budget(500)), False)
    names = [setting.name for setting in settings]
    assert names[:4] == ["2x everywhere", "2x/8x/32x, probe", "2x/8x/32x, attention", "2x/8x/32x, random"]
    assert not any("evenly" in name for name in names)
    assert all(setting.selector == Budget(500) for setting in settings[1:4])


def test_the_default_evaluation_is_of_the_model_as_it_is_published(video_xl_2):
    needles = NeedleSettings(minutes=0.6, seed=3, format=VideoFormat(fps=1, width=64, height=64), tasks=("where",))
    engine = VideoX2L(video_xl_2, chunk_frames=4, selector=TopK(1))
    result = evaluate_needles(engine, evaluation=NeedleEvaluation(1, needles))
    assert [each.setting.name for each in result.settings] == [
        "1x everywhere",
        "1x/4x, attention, k=1",
        "1x/4x, probe",
        "1x/4x, random",
        "1x/4x, evenly spaced",
        "one level, equal size",
        "frames uniform, fresh",
        "frames uniform, re-loaded",
        "4x everywhere",
        "full cache",
    ]
    full, method = result["full cache"], result["1x/4x, attention, k=1"]
    assert result["4x everywhere"].cache_tokens < method.cache_tokens < full.cache_tokens
    assert result["one level, equal size"].cache_tokens == pytest.approx(method.cache_tokens, rel=0.15)
    assert result["1x everywhere"].cache_tokens == full.cache_tokens


def test_an_engine_is_evaluated_as_it_is_set(video_xl):
    engine = VideoX2L(video_xl, SummaryTokens((4, 16), "two_pass", 2), chunk_frames=5, oracle="probe", selector=TopK(2))
    setting = Setting.of(engine)
    assert setting.name == "4x/16x, probe, k=2"
    assert setting.engine(VideoX2L(video_xl, store=engine.store)) == engine
    assert Setting.of(replace(engine, compressor=SummaryTokens((8,)))).name == "8x everywhere"
    assert Setting.of(replace(engine, selector=Even(2))).name == "4x/16x, Even(fine_edges=True, k=2, leaves_out=False)"


def test_a_setting_says_in_json_how_it_was_measured():
    values = Setting("method", SummaryTokens((2, 32)), oracle="probe", selector=TopK(2)).to_json()
    assert json.loads(json.dumps(values, allow_nan=False)).keys() == values.keys()
    assert values["oracle"] == "probe"
    assert values["selector"] == {"name": "top_k", "k": 2, "fine_edges": True, "leaves_out": False}
    compressor = values["compressor"]
    assert (compressor["name"], compressor["levels"], compressor["passes"]) == (
        "summary_tokens",
        [2, 32],
        "single_pass",
    )
    assert "oracle" not in Setting("spread", selector=Even()).to_json()
    assert not {"oracle", "selector"} & Setting("fine", SummaryTokens((2,))).to_json().keys()


def test_videos_that_give_no_question_of_a_task_are_an_error(video_xl, tmp_path):
    clip = tmp_path / "clip.mp4"
    NeedlePlan(SMALL.needles).video(0).write(clip, SMALL.needles.format)
    needles = replace(SMALL.needles, haystacks=(clip,), tasks=("global",))
    with pytest.raises(SettingsError, match="no question to ask"):
        evaluate_needles(VideoX2L(video_xl), SETTINGS[:1], NeedleEvaluation(1, needles))


def test_an_answer_is_right_word_for_word():
    assert words("Top left.") == words("top left")
    assert words("0:42") == words(" 0:42 ")
    assert words("0:4") != words("0:42")
    assert words("red star") != words("star red")
    assert NeedleItem("order", "Which first?", "red star").is_right("0:42 1:13 so Red star")
    assert not Item("order", "Which first?", "red star").is_right("0:42 1:13 so Red star")


def test_wilson_matches_published_values():
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3
    for right, asked, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        estimate = wilson(right, asked)
        assert (estimate.low, estimate.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_paired_differences_are_tighter_than_accuracies_and_cover_the_truth():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(40):
        hard = rng.random((40, 2, 5)) * 0.4 + rng.random((40, 1, 1)) * 0.6  # videos differ in difficulty
        right, other = (hard < 0.55).sum(-1), (hard < 0.5).sum(-1)
        asked = np.full((40, 2), 5.0)
        difference, accuracy = mean_difference(right, other, asked), mean_accuracy(right, asked)
        assert difference.low is not None and difference.high is not None
        assert accuracy.low is not None and accuracy.high is not None
        assert difference.high - difference.low < accuracy.high - accuracy.low
        many = rng.random(50_000) * 0.4 + rng.random(50_000) * 0.6
        covered += difference.low <= (many < 0.55).mean() - (many < 0.5).mean() <= difference.high
    assert covered >= 33


def test_one_video_gives_no_bounds():
    estimate = mean_accuracy(np.array([[2.0, 3.0]]), np.array([[4.0, 4.0]]))
    assert (estimate.value, estimate.low, estimate.high) == (0.625, None, None)


def test_nano_reads_needles_it_has_never_seen_and_probe_finds_their_chunks():
    settings = (Setting("fine", SummaryTokens((2,))), Setting("probe", oracle="probe"))
    tasks = ("attribute", "where", "when", "exist")
    needles = NeedleSettings(minutes=100 / 60, seed=77, format=VideoFormat(fps=1), questions=4, tasks=tasks)
    result = evaluate_needles(VideoX2L.from_pretrained("nano"), settings, NeedleEvaluation(3, needles))
    for each in result.settings:
        assert each.mean_accuracy.value > 0.85
    assert result["probe"].mean_recall["@3"] > 0.85
    assert result["probe"].times_smaller > 3.5
