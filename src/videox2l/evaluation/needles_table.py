"""Needle results for people: tasks down the page for one setting, settings down the page for several."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from videox2l.evaluation.intervals import Estimate
from videox2l.evaluation.needles_result import NeedlesResult, SettingResult


def needles_table(result: NeedlesResult) -> RenderableType:
    """A table to print with rich, and lines that say what was measured."""
    table = one_setting(result.settings[0]) if len(result.settings) == 1 else many_settings(result)
    needles = result.needles
    about = (
        f"{result.model}: {result.videos} fresh videos of {needles.duration_s:.0f} s, seed {needles.seed}, "
        f"{len(result.settings[0].outcomes)} questions in each setting; exact match with 95% intervals"
    )
    return Group(Text(about), table, *(Text(f"note: {note}") for note in result.notes))


def one_setting(result: SettingResult) -> Table:
    """Tasks down the page."""
    table = Table(title=f"{result.setting.name}: {_size(result)}", title_justify="left")
    table.add_column("task")
    columns = ["questions", "prior", "accuracy", "95% interval"]
    recalls = list(result.detail_recall)
    for name in columns + [_recall_name(name) for name in recalls]:
        table.add_column(name, justify="right")
    for task in result.tasks:
        accuracy, recall = result.accuracy(task), result.recall(task)
        table.add_row(
            task,
            str(len(result.of(task))),
            _share(result.prior(task)),
            _share(accuracy.value),
            _bounds(accuracy),
            *(_share(recall.get(name)) for name in recalls),
        )
    mean, recall = result.detail_accuracy, result.detail_recall
    table.add_section()
    table.add_row(
        f"mean of {', '.join(result.detail_tasks)}",
        "",
        "",
        _share(mean.value),
        _bounds(mean),
        *(_share(recall[name]) for name in recalls),
    )
    return table


def many_settings(result: NeedlesResult) -> Table:
    """Settings down the page, tasks across; each accuracy over its interval."""
    first = result.settings[0]
    table = Table(show_lines=True)
    for name in ("setting", "cache", *first.tasks, "detail mean", f"against {first.setting.name}", "recall"):
        table.add_column(name, justify="left" if name == "setting" else "right")
    priors = [_share(first.prior(task)) for task in first.tasks]
    table.add_row("prior (most frequent answer)", "", *priors, "", "", "")
    for each in result.settings:
        ratio = f" ({each.setting.compressor.levels[0]}x)" if each.setting.same_size_as else ""
        table.add_row(
            Text(each.setting.name + ratio),
            _size(each),
            *(_two_lines(each.accuracy(task)) for task in first.tasks),
            _two_lines(each.detail_accuracy),
            "" if each is first else _two_lines(each.difference(first), sign="+"),
            "\n".join(f"{_recall_name(name)} {_share(value)}" for name, value in each.detail_recall.items()),
        )
    return table


def _size(result: SettingResult) -> str:
    return f"{result.cache_tokens:.0f} tokens, {result.times_smaller:.1f}x"


def _recall_name(name: str) -> str:
    return "in detail" if name == "in_detail" else name


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _bounds(estimate: Estimate, sign: str = "") -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{estimate.low:{sign}.3f} to {estimate.high:{sign}.3f}"


def _two_lines(estimate: Estimate, sign: str = "") -> str:
    return f"{estimate.value:{sign}.3f}\n{_bounds(estimate, sign)}"
