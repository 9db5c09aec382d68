"""Results for people: tasks down the page for one setting, settings down the page for several."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from videox2l.evaluation.intervals import Estimate
from videox2l.evaluation.result import EvaluationResult, SettingResult

MOST_NOTES = 8


def evaluation_table(result: EvaluationResult) -> RenderableType:
    """A table to print with rich, and lines that say what was measured."""
    table = one_setting(result.settings[0]) if len(result.settings) == 1 else many_settings(result)
    measured = (
        f"{result.model} on {result.questions.name}: {len(result.settings[0].outcomes)} questions in each setting; "
        "share of right answers with its 95% interval."
    )
    if any(each.mean_recall for each in result.settings):
        measured += (
            " recall: of the chunks that show what is asked about, the share among the k of highest score (@k), and "
            "the share read in full detail (read)."
        )
    notes = [f"note: {note}" for note in result.notes[:MOST_NOTES]]
    if len(result.notes) > MOST_NOTES:
        notes.append(f"and {len(result.notes) - MOST_NOTES} more notes, which --json prints")
    return Group(Text(measured), table, *map(Text, notes))


def one_setting(result: SettingResult) -> Table:
    """Tasks down the page."""
    size = f"{result.cache_tokens:.0f} tokens in the cache, {result.times_smaller:.1f}x fewer than without compression"
    table = Table(title=Text(f"{result.setting.name}: {size}"), title_justify="left")
    table.add_column("task")
    columns = ["questions", "prior", "accuracy", "95% interval"]
    recalls = list(result.mean_recall)
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
    mean, recall = result.mean_accuracy, result.mean_recall
    table.add_section()
    table.add_row(
        f"mean of {', '.join(result.mean_tasks)}",
        "",
        "",
        _share(mean.value),
        _bounds(mean),
        *(_share(recall[name]) for name in recalls),
    )
    return table


def many_settings(result: EvaluationResult) -> Table:
    """Settings down the page, tasks across; each accuracy over its interval."""
    first = result.settings[0]
    has_bounds = first.mean_accuracy.low is not None
    tasks = () if len(first.tasks) == 1 and has_bounds else first.tasks  # the mean alone says it all
    table = Table(show_lines=True, padding=(0, 0))
    table.add_column("setting", max_width=20)
    for name in ("cache", *tasks, "mean", "against first", "recall"):
        table.add_column(name, justify="right", overflow="fold")
    priors = [_share(first.prior(task)) for task in tasks]
    mean_prior = sum(first.prior(task) for task in first.mean_tasks) / len(first.mean_tasks)
    table.add_row("prior: most frequent answer", "", *priors, _share(mean_prior), "", "")
    for each in result.settings:
        table.add_row(
            Text(each.setting.name + _level_range(each.equal_levels)),
            f"{each.cache_tokens:.0f}\n{each.times_smaller:.1f}x",
            *(_two_lines(each.accuracy(task)) for task in tasks),
            _two_lines(each.mean_accuracy),
            "" if each is first else _two_lines(each.difference(first), sign="+"),
            "\n".join(f"{_recall_name(name)} {_share(value)}" for name, value in each.mean_recall.items()),
        )
    over = f"mean and recall: over {', '.join(first.mean_tasks)}; " if len(tasks) > 1 else ""
    table.caption = f"{over}cache: tokens, and times smaller than full"
    return table


def _level_range(levels: tuple[int, ...]) -> str:
    if not levels:
        return ""
    return f" ({levels[0]}x)" if len(levels) == 1 else f" ({levels[0]}x to {levels[-1]}x)"


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
