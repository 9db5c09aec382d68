"""Questions about needle videos in plain English, with answers, options and the moments they hang on."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, pairwise
from typing import Literal

from videox2l.synthesis.backgrounds import LIGHTS, PLACES
from videox2l.synthesis.phrasings import PHRASINGS
from videox2l.synthesis.unknown import TRAINED_TEMPLATES, UNKNOWN_ANSWER, scrambled_text, unknown_text
from videox2l.synthesis.world import BLOCK_S, COLOURS, CORNERS, KINDS, SHAPES, Event, VideoScript, visible_events

Task = Literal["attribute", "where", "when", "at", "exist", "order", "count", "global", "pair", "unknown"]
TASKS: tuple[Task, ...] = (
    "attribute",
    "where",
    "when",
    "at",
    "exist",
    "order",
    "count",
    "global",
    "pair",
    "unknown",
)

LAST_TIME_S = 60 * 60
"""Times from this second on are not asked about: m:ss words end before."""
LARGEST_COUNT = 20

SO = "so"
"""Stands between what an answer rests on and the answer itself: "0:42 green star 7 so 7"."""

_PLURALS = {shape: "crosses" if shape == "cross" else f"{shape}s" for shape in SHAPES}


@dataclass(frozen=True)
class Question:
    """A question with its truth.

    options: what a multiple-choice form offers, in an order drawn by chance, the answer among them; up to four.
    needle_times_s: when the needles it hangs on first appear; empty where no moment matters (global, absent needles).
    reasons: what the answer rests on, where it takes more than one look: "0:42 red star 1:13 pink heart first 0:42 red
        star" for the order of two needles.
        Models are trained to say it first (`spoken`); it is no part of the truth.
    """

    task: str
    text: str
    answer: str
    options: tuple[str, ...]
    needle_times_s: tuple[float, ...]
    reasons: str = ""

    @property
    def spoken(self) -> str:
        """The answer behind its reasons, as models are trained to give it: "0:42 green star 7 so 7"."""
        return f"{self.reasons} {SO} {self.answer}" if self.reasons else self.answer


def final_answer(text: str) -> str:
    """What of an answer counts: all of it, or what stands behind the last "so"."""
    return re.split(rf"\b{SO}\b", text, flags=re.IGNORECASE)[-1].strip()


def clock(time_s: float) -> str:
    """Seconds as m:ss, cut to whole seconds: "0:42"."""
    seconds = int(time_s + 1e-3)
    return f"{seconds // 60}:{seconds % 60:02d}"


def questions_for(
    script: VideoScript, rng: random.Random, *, per_task: int = 1, tasks: Sequence[str] = TASKS
) -> list[Question]:
    """Draw per_task questions of every task, fewer where the video holds less to ask about.

    One task asks about different needles as long as there are some; exist is answered yes and no equally often, where
    a needle asked about in vain has a colour and a shape that the video shows, only never together.
    """
    drawn: list[Question] = []
    for task in tasks:
        subjects: set[tuple[str, tuple[float, ...]]] = set()
        mine: list[Question] = []
        for attempt in range(4 * per_task):
            question = ASK[task](script, rng)
            if question is None:
                break
            subject = (question.answer, question.needle_times_s)
            # Repeats are let in late: where a video holds fewer needles than asked for, and where few answers exist.
            if subject not in subjects or task in ("global", "exist", "unknown") or attempt >= 3 * per_task:
                subjects.add(subject)
                mine.append(question)
            if len(mine) == per_task:
                break
        drawn += mine
    return drawn


def _phrase(task: str, rng: random.Random, **words: str) -> str:
    text = rng.choice(PHRASINGS[task]).format(**words)
    return text[0].upper() + text[1:]


def _options(rng: random.Random, answer: str, others: Sequence[str]) -> tuple[str, ...]:
    distractors = sorted(set(others) - {answer})
    options = [answer, *rng.sample(distractors, min(3, len(distractors)))]
    rng.shuffle(options)
    return tuple(options)


def _needle(script: VideoScript, rng: random.Random) -> Event | None:
    candidates = [event for event in script.unique_events if event.start_s < LAST_TIME_S]
    return rng.choice(candidates) if candidates else None


def _attribute(script: VideoScript, rng: random.Random) -> Question | None:
    if (event := _needle(script, rng)) is None:
        return None
    options = _options(rng, str(event.digit), [str(digit) for digit in range(10)])
    return Question(
        "attribute", _phrase("attribute", rng, needle=event.name), str(event.digit), options, (event.start_s,)
    )


def _where(script: VideoScript, rng: random.Random) -> Question | None:
    if (event := _needle(script, rng)) is None:
        return None
    options = _options(rng, event.corner, CORNERS)
    return Question("where", _phrase("where", rng, needle=event.name), event.corner, options, (event.start_s,))


def _when(script: VideoScript, rng: random.Random) -> Question | None:
    if (event := _needle(script, rng)) is None:
        return None
    answer = clock(event.start_s)
    others = {clock(other.start_s) for other in script.events if other.start_s < LAST_TIME_S}
    first, last = (
        int(script.events[0].start_s),
        int(max(script.events[-1].start_s, script.events[0].start_s + 20)),
    )
    while len(others | {answer}) < 4:
        others.add(clock(rng.randint(first, last)))
    options = _options(rng, answer, sorted(others))
    return Question("when", _phrase("when", rng, needle=event.name), answer, options, (event.start_s,))


def _at(script: VideoScript, rng: random.Random) -> Question | None:
    moment = _moment(script, rng)
    if moment is None:
        return None
    event, time_s = moment
    options = _options(rng, event.name, [" ".join(kind) for kind in KINDS])
    text = _phrase("at", rng, corner=event.corner, time=clock(time_s))
    return Question("at", text, event.name, options, (time_s,))


def _moment(script: VideoScript, rng: random.Random) -> tuple[Event, float] | None:
    """An event, and a second at which it is visible."""
    candidates = [event for event in script.events if event.start_s + event.duration_s <= LAST_TIME_S]
    if not candidates:
        return None
    event = rng.choice(candidates)
    return event, event.start_s + rng.randrange(max(1, int(event.duration_s)))


def _exist(script: VideoScript, rng: random.Random) -> Question | None:
    shown = {event.kind for event in script.events}
    times: tuple[float, ...] = ()
    if rng.random() < 0.5:
        event = _needle(script, rng)
        if event is None:
            return None
        name, answer, times = event.name, "yes", (event.start_s,)
    else:
        colours, shapes = {colour for colour, _ in shown}, {shape for _, shape in shown}
        absent = [kind for kind in KINDS if kind not in shown and kind[0] in colours and kind[1] in shapes]
        absent = absent or [kind for kind in KINDS if kind not in shown]
        if not absent:
            return None
        name, answer = " ".join(rng.choice(absent)), "no"
    return Question("exist", _phrase("exist", rng, needle=name), answer, _options(rng, answer, ["yes", "no"]), times)


def _order(script: VideoScript, rng: random.Random) -> Question | None:
    drawn = _two(script.unique_events, rng, lambda event: event.start_s)
    if drawn is None:
        return None
    one, two = drawn
    first = min(drawn, key=lambda event: event.start_s)
    text = _phrase("order", rng, needle=one.name, other=two.name)
    options = _options(rng, first.name, [one.name, two.name])
    both = f"{clock(one.start_s)} {one.name} {clock(two.start_s)} {two.name}"
    reasons = f"{both} first {clock(first.start_s)} {first.name}"
    return Question("order", text, first.name, options, (one.start_s, two.start_s), reasons)


def _two(events: Sequence[Event], rng: random.Random, compared: Callable[[Event], float]) -> tuple[Event, Event] | None:
    """Two events that differ in what is compared; None where eight draws find none."""
    for _ in range(8 if len(events) > 1 else 0):
        one, two = rng.sample(events, 2)
        if compared(one) != compared(two):
            return one, two
    return None


def _group(events: Sequence[Event], rng: random.Random) -> tuple[list[Event], str]:
    """The events of one colour or of one shape, and what these are called: "red shapes", "stars"."""
    if rng.random() < 0.5:
        colour = rng.choice(events).colour
        return [event for event in events if event.colour == colour], f"{colour} shapes"
    shape = rng.choice(SHAPES)
    return [event for event in events if event.shape == shape], _PLURALS[shape]


def _count(script: VideoScript, rng: random.Random) -> Question | None:
    if not script.events:
        return None
    counted, group = _group(script.events, rng)
    if len(counted) > LARGEST_COUNT:
        return None
    near = [str(n) for n in range(max(0, len(counted) - 3), min(len(counted) + 3, LARGEST_COUNT) + 1)]
    times = tuple(event.start_s for event in counted)
    options = _options(rng, str(len(counted)), near)
    reasons = " ".join(f"{event.name} {clock(event.start_s)}" for event in counted)
    return Question("count", _phrase("count", rng, group=group), str(len(counted)), options, times, reasons)


def _global(script: VideoScript, rng: random.Random) -> Question | None:
    if script.place is None or script.light is None:
        return None
    if rng.random() < 0.5:
        return Question("global", _phrase("place", rng), script.place, _options(rng, script.place, PLACES), ())
    return Question("global", _phrase("light", rng), script.light, _options(rng, script.light, LIGHTS), ())


def _pair(script: VideoScript, rng: random.Random) -> Question | None:
    return _next(script, rng) if rng.random() < 0.5 else _larger(script, rng)


def _next(script: VideoScript, rng: random.Random) -> Question | None:
    """What the needle behind another one shows, where one alone is the next to appear."""
    starts = sorted({event.start_s for event in script.events})
    following = dict(pairwise(starts))
    for _ in range(8):
        if (event := _needle(script, rng)) is None or event.start_s not in following:
            continue
        time_s = following[event.start_s]
        found = [other for other in script.events if other.start_s == time_s]
        if len(found) == 1 and time_s < LAST_TIME_S:
            answer = str(found[0].digit)
            options = _options(rng, answer, [str(digit) for digit in range(10)])
            reasons = f"{clock(event.start_s)} {found[0].name} {answer}"
            text = _phrase("next", rng, needle=event.name)
            return Question("pair", text, answer, options, (event.start_s, time_s), reasons)
    return None


def _larger(script: VideoScript, rng: random.Random) -> Question | None:
    """Which of two needles shows the larger number."""
    candidates = [event for event in script.unique_events if event.start_s < LAST_TIME_S]
    drawn = _two(candidates, rng, lambda event: event.digit)
    if drawn is None:
        return None
    one, two = drawn
    larger = max(drawn, key=lambda event: event.digit)
    text = _phrase("larger", rng, needle=one.name, other=two.name)
    options = _options(rng, larger.name, [one.name, two.name])
    reasons = f"{one.digit} {one.name} {two.digit} {two.name} larger {larger.digit} {larger.name}"
    return Question("pair", text, larger.name, options, (one.start_s, two.start_s), reasons)


def _unknown(script: VideoScript, rng: random.Random) -> Question | None:
    options = _options(rng, UNKNOWN_ANSWER, ["yes", "no", *COLOURS])
    return Question("unknown", unknown_text(rng), UNKNOWN_ANSWER, options, ())


def _strange(script: VideoScript, rng: random.Random) -> Question | None:
    text = scrambled_text(rng, _known_words()) if rng.random() < 0.2 else unknown_text(rng, TRAINED_TEMPLATES)
    return Question("strange", text, UNKNOWN_ANSWER, (), ())


def _describe(script: VideoScript, rng: random.Random) -> Question | None:
    if (event := _needle(script, rng)) is None:
        return None
    answer = f"{event.digit} {event.corner} {clock(event.start_s)}"
    return Question("describe", _phrase("describe", rng, needle=event.name), answer, (), (event.start_s,))


def _look(script: VideoScript, rng: random.Random) -> Question | None:
    if (moment := _moment(script, rng)) is None:
        return None
    event, time_s = moment
    text = _phrase("look", rng, corner=event.corner, time=clock(time_s))
    return Question("look", text, f"{event.name} {event.digit}", (), (time_s,))


def _glance(script: VideoScript, rng: random.Random) -> Question | None:
    if (moment := _moment(script, rng)) is None:
        return None
    event, time_s = moment
    if len(visible_events(script.events, time_s)) > 1:
        return None
    answer = f"{event.corner} {event.name} {event.digit}"
    return Question("glance", _phrase("glance", rng, time=clock(time_s)), answer, (), (time_s,))


def _after(script: VideoScript, rng: random.Random) -> Question | None:
    """The next needle of a group, or of all, behind a time: a step of counting and of "pair"."""
    if not script.events:
        return None
    group, called = (list(script.events), "shapes") if rng.random() < 0.4 else _group(script.events, rng)
    starts = sorted({event.start_s for event in group if event.start_s < LAST_TIME_S})
    if not starts:
        return None
    place = rng.randrange(len(starts))
    found = [event for event in group if event.start_s == starts[place]]
    earliest = starts[place - 1] if place else max(0, starts[place] - BLOCK_S)
    if len(found) > 1 or starts[place] <= earliest:
        return None
    event = found[0]
    time_s = earliest if place and rng.random() < 0.5 else rng.randrange(int(earliest), int(starts[place]))
    text = _phrase("after", rng, group=called, time=clock(time_s))
    return Question("after", text, f"{event.name} {event.digit} {clock(event.start_s)}", (), (event.start_s,))


ASK: dict[str, Callable[[VideoScript, random.Random], Question | None]] = {
    "attribute": _attribute,
    "where": _where,
    "when": _when,
    "at": _at,
    "exist": _exist,
    "order": _order,
    "count": _count,
    "global": _global,
    "pair": _pair,
    "unknown": _unknown,
    "strange": _strange,
    "describe": _describe,
    "look": _look,
    "glance": _glance,
    "after": _after,
}
"""By task: draw one question about a script, None where there is nothing to ask.

With the terse tasks for training, and "strange": questions like those of "unknown", of other templates, to train on."""

WORD_PATTERN = r"<[a-z/]+>|\d+:\d\d|[a-z]+'t|[a-z]+|\d+|[^\sa-z\d]"
"""What one token is, after lower-casing: a marker, a time, a word, a number or a punctuation mark."""


def vocabulary() -> list[str]:
    """Every word that a question or an answer can hold, in a fixed order: words first, then numbers, then times."""
    words = [
        *COLOURS,
        *SHAPES,
        *_PLURALS.values(),
        "top",
        "bottom",
        "left",
        "right",
        *PLACES,
        *LIGHTS,
        "yes",
        "no",
    ]
    for text in (SO, UNKNOWN_ANSWER, *chain.from_iterable(PHRASINGS.values())):
        words += re.findall(WORD_PATTERN, re.sub(r"\{\w+\}", " ", text.lower()))
    words += ["shapes", "an", "what", "it", "was", "did", "has", "its", "on", "with", ",", ".", "!", "?", ":"]
    numbers = [str(number) for number in range(LARGEST_COUNT + 1)]
    times = [clock(second) for second in range(LAST_TIME_S)]
    return list(dict.fromkeys(words + numbers + times))


@cache
def _known_words() -> list[str]:
    """The vocabulary's plain words."""
    return [word for word in vocabulary() if word.isalpha()]
