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
    asked = "" if result.turns == 1 else f", asked in conversations of {result.turns} turns"
    measured = (
        f"{result.model}: {result.videos} fresh videos of {needles.duration_s:.0f} s, seed {needles.seed}, "
        f"{len(result.settings[0].outcomes)} questions in each setting{asked}; exact match with 95% intervals. recall: "
        "share of the needles' chunks among the k of highest score (@k), and among those read in full detail (read)"
    )
    return Group(Text(measured), table, *(Text(f"note: {note}") for note in result.notes))


def one_setting(result: SettingResult) -> Table:
    """Tasks down the page."""
    size = f"{result.cache_tokens:.0f} tokens in the cache, {result.times_smaller:.1f}x fewer than without compression"
    table = Table(title=Text(f"{result.setting.name}: {size}"), title_justify="left")
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
    table = Table(show_lines=True, padding=(0, 0))
    table.add_column("setting", max_width=20)
    for name in ("cache", *first.tasks, "mean", "against first", "recall"):
        table.add_column(name, justify="right", overflow="fold")
    priors = [_share(first.prior(task)) for task in first.tasks]
    table.add_row("prior: most frequent answer", "", *priors, "", "", "")
    for each in result.settings:
        level = f" ({each.setting.compressor.levels[-1]}x)" if each.setting.same_size_as else ""
        table.add_row(
            Text(each.setting.name + level),
            f"{each.cache_tokens:.0f}\n{each.times_smaller:.1f}x",
            *(_two_lines(each.accuracy(task)) for task in first.tasks),
            _two_lines(each.detail_accuracy),
            "" if each is first else _two_lines(each.difference(first), sign="+"),
            "\n".join(f"{_recall_name(name)} {_share(value)}" for name, value in each.detail_recall.items()),
        )
    table.caption = f"mean and recall: over {', '.join(first.detail_tasks)}; cache: tokens, and times smaller than full"
    return table


def _recall_name(name: str) -> str:
    return "read" if name == "in_detail" else name


def _share(value: float | None, sign: str = "") -> str:
    """Without the zero in front: ".987"."""
    return "" if value is None else f"{value:{sign}.3f}".replace("0.", ".", 1)


def _bounds(estimate: Estimate, sign: str = "") -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    low, high = (f"{bound:{sign}.2f}".replace("0.", ".", 1) for bound in (estimate.low, estimate.high))
    return f"{low} {high}" if sign else f"{low}-{high}"


def _two_lines(estimate: Estimate, sign: str = "") -> str:
    return f"{_share(estimate.value, sign)}\n{_bounds(estimate, sign)}"
