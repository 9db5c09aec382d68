"""Questions that name a time in many ways, with the range they mean, and decoys that only look as if they did.

Written before the rules that read them. The development half was looked at while these were written; the other half is
held out, and has phrasings of its own beside the common ones.
"""

# ruff: noqa: E501, RUF001

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Half = Literal["development", "held out"]
Range = tuple[float, float]

EACH = 5
"""Questions drawn from every phrasing for either half; a decoy's template gives as many."""


@dataclass(frozen=True)
class Phrasing:
    """A question about a video from 0 to `video_s` with the ranges in seconds that it names, none for a decoy."""

    text: str
    video_s: float
    ranges: tuple[Range, ...] = ()
    is_clear: bool = True
    template: str = ""
    is_unseen: bool = False


ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
]
ONES += ["seventeen", "eighteen", "nineteen"]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
ORDINALS = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"]


def words(number: int, dash: str = "-") -> str:
    if number < 20:
        return ONES[number]
    ten, one = divmod(number, 10)
    return TENS[ten - 2] + (f"{dash}{ONES[one]}" if one else "")


def ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def number(rng: random.Random, value: int) -> str:
    return rng.choice([str(value), str(value), words(value), words(value, " ")]) if value < 100 else str(value)


def clock(rng: random.Random, time_s: int) -> str:
    minutes, seconds = divmod(time_s, 60)
    hours, rest = divmod(minutes, 60)
    long = [f"{hours}:{rest:02d}:{seconds:02d}", f"{hours:02d}:{rest:02d}:{seconds:02d}"]
    return rng.choice(long if hours else [f"{minutes}:{seconds:02d}"] * 3 + [f"{minutes:02d}:{seconds:02d}", *long])


def spoken(rng: random.Random, time_s: int) -> str:
    """A time with its units."""
    minutes, seconds = divmod(time_s, 60)
    if time_s < 100 and rng.random() < 0.7:
        return f"{number(rng, time_s)} {rng.choice(['seconds', 'seconds', 'secs', 'sec'])}"
    if minutes >= 60:
        hours, rest = divmod(minutes, 60)
        hour = f"{number(rng, hours)} hour{'s' * (hours > 1)}"
        return rng.choice(
            [f"{hour} {number(rng, rest)} minutes {number(rng, seconds)} seconds", f"{hours}h {rest}m {seconds}s"]
        )
    minute = f"{number(rng, minutes)} minute{'s' * (minutes != 1)}"
    forms = [f"{minute} and {number(rng, seconds)} seconds", f"{minute} {number(rng, seconds)} seconds"]
    forms += [f"{minutes}m{seconds:02d}s", f"{minutes} min {seconds} s", f"{minutes} mins {seconds} secs"]
    return rng.choice(forms) if seconds else minute


def any_time(rng: random.Random, time_s: int) -> str:
    return rng.choice([clock, clock, spoken])(rng, time_s)


# Where a time is put in a question. {at} is the phrase with its preposition.

FRAMES = (
    "What is she holding {at}?",
    "What happens {at}?",
    "{at}, what is on the table?",
    "{at}: who is talking?",
    "who enters the room {at}",
    "Which animal can be seen {at}, a dog or a cat?",
    "What colour is the car shown {at}?",
    "How many people are there {at}?",
    "Describe the scene {at}.",
    "Can you tell me what he says {at}?",
    "What is in the top left corner {at}?",
    "{at} something falls down. What is it?",
    "What does the sign {at} say?",
    "Is the second door open {at}?",
    "Why is the first person laughing {at}??",
    "What is the man in the red shirt doing {at} in the video?",
    "Tell me about the thing that appears {at} please",
    "Does the player score {at}?",
    "please describe what you see {at}",
    "Which text is displayed on screen {at}?",
)


def put(rng: random.Random, at: str) -> str:
    text = rng.choice(FRAMES).format(at=at)
    text = text[0].upper() + text[1:] if rng.random() < 0.8 else text
    return rng.choice([text] * 7 + [text.lower(), text.upper(), text.rstrip("?.")])


# What is drawn for one question: the video's length, times in it, and the words for them.


@dataclass(frozen=True)
class Draw:
    """Numbers for a template, each in several forms."""

    rng: random.Random
    video_s: int

    def point(self) -> int:
        return self.rng.randint(3, self.video_s - 3)

    def pair(self) -> tuple[int, int]:
        first, second = sorted(self.rng.sample(range(2, self.video_s - 1), 2))
        return first, second


POINTS = {
    "at": True, "right at": True, "exactly at": True, "at exactly": True, "precisely at": True, "@": True,
    "at time": True, "at timestamp": True, "at the timestamp": True, "at time stamp": True, "at t =": True,
    "around": False, "at around": False, "at about": False, "at roughly": False, "at approximately": False,
    "near": False, "close to": False, "roughly at": False, "somewhere around": False, "at approx.": False,
}  # fmt: skip
"""What stands before a single time, and whether that leaves it clear."""

CLOCK_ONLY = {
    "in the frame at": True, "in the picture shown at": True, "when the video is at": True, "at timecode": True,
    "at the moment": True, "at minute": True, "about": False, "circa": False, "approximately at": False,
    "right around": False, "just about at": False,
}  # fmt: skip
"""The same for a time as a clock shows it."""

BEHIND = {
    "{time} in": True, "{time} into the video": True, "{time} into it": True, "{time} into the clip": True,
    "{time} into the recording": True, "exactly {time} in": True, "about {time} in": False,
    "roughly {time} into the video": False, "around {time} into the film": False, "some {time} in": False,
    "at {time} into the video": True, "{time} from the start": True, "{time} after the start": True,
    "{time} from the beginning of the video": True, "{time} after the beginning": True,
}  # fmt: skip
"""What stands around a time with its unit."""

RANGES = (
    "between {a} and {b}", "from {a} to {b}", "from {a} until {b}", "from {a} till {b}", "from {a} through {b}",
    "during {a} - {b}", "between {a} to {b}", "in the interval from {a} to {b}", "in the segment {a} to {b}",
    "anywhere between {a} and {b}", "somewhere from {a} to {b}", "starting at {a} and ending at {b}",
    "in the stretch between {a} and {b}", "in the part from {a} up to {b}", "during the time from {a} to {b}",
)  # fmt: skip

CLOCK_RANGES = (
    "{a}-{b}",
    "in {a}-{b}",
    "from {a}-{b}",
    "({a} - {b})",
    "[{a}–{b}]",
    "at {a}-{b}",
    "during {a}–{b}",
    "{a} to {b}",
)

AFTER = ("after {a}", "after the {a} mark", "past {a}", "any time after {a}", "from {a} on", "from {a} onwards", "since {a}", "later than {a}", "from {a} to the end", "starting from {a}")  # fmt: skip
BEFORE = ("before {a}", "until {a}", "up to {a}", "before the {a} mark", "any time before {a}", "earlier than {a}", "prior to {a}", "till {a}", "up until {a}")  # fmt: skip

VIDEO = ("video", "clip", "recording", "movie", "film", "footage")

STARTS = (
    "at the beginning", "at the start", "at the very beginning", "right at the start", "in the beginning of the {video}",
    "at the beginning of the {video}", "at the start of the {video}", "near the beginning", "towards the beginning of the {video}",
    "near the start of the {video}", "when the {video} starts", "when the {video} begins", "in the opening seconds",
    "in the opening moments of the {video}", "in the first few seconds", "early in the {video}", "in the first moments of the {video}",
    "as the {video} opens", "close to the beginning of the {video}", "in the first couple of seconds",
)  # fmt: skip
ENDS = (
    "at the end", "at the very end", "right at the end", "at the end of the {video}", "near the end", "towards the end",
    "toward the end of the {video}", "close to the end", "in the closing seconds", "in the final seconds", "in the last few seconds",
    "in the final moments of the {video}", "when the {video} ends", "by the end of the {video}", "late in the {video}",
    "just before the end", "in the last moments", "shortly before the end of the {video}", "as the {video} ends", "in the last seconds",
)  # fmt: skip
MIDDLES = (
    "halfway", "halfway through", "halfway through the {video}", "in the middle of the {video}", "midway through",
    "midway through the {video}", "half way through the {video}", "at the midpoint", "at the halfway point", "at the half-way mark",
    "at the middle of the {video}", "around the middle of the {video}", "half-way into the {video}", "about halfway in",
)  # fmt: skip


def at_point(template: str, draw: Draw, form: str) -> tuple[str, Range]:
    time_s = draw.point()
    text = {"clock": clock, "spoken": spoken, "any": any_time}[form](draw.rng, time_s)
    return template.format(time=text), (time_s, time_s + 1)


def whole_unit(template: str, draw: Draw) -> tuple[str, Range]:
    """A whole minute: "in the third minute", "at minute 3"."""
    minutes = draw.rng.randint(1, max(1, min(9, draw.video_s // 60 - 1)))
    if "{nth}" in template:
        nth = draw.rng.choice([ORDINALS[minutes], ordinal(minutes + 1)])
        return template.format(nth=nth), (minutes * 60, minutes * 60 + 60)
    return template.format(n=number(draw.rng, minutes)), (minutes * 60, minutes * 60 + 60)


def positives(draw: Draw) -> dict[str, tuple[str, tuple[Range, ...], bool]]:
    """One question's time from every template: its words, its ranges and whether it is clear."""
    rng, end = draw.rng, float(draw.video_s)
    found: dict[str, tuple[str, tuple[Range, ...], bool]] = {}

    def add(template: str, text: str, span: Range | tuple[Range, ...], is_clear: bool) -> None:
        spans = span if isinstance(span[0], tuple) else (span,)
        found[template] = (text, spans, is_clear)  # type: ignore[assignment]

    for before, is_clear in POINTS.items():
        add(f"{before} {{time}}", *at_point(f"{before} {{time}}", draw, "any"), is_clear)
    for before, is_clear in CLOCK_ONLY.items():
        add(f"{before} {{clock}}", *at_point(f"{before} {{time}}", draw, "clock"), is_clear)
    for template, is_clear in BEHIND.items():
        add(template, *at_point(template, draw, "spoken"), is_clear)
    for template in ("at the {time} mark", "at the {time} point", "by the {time} mark", "around the {time} mark"):
        text, span = at_point(template, draw, "any")
        add(template, text, span, not template.startswith("around"))
    for template in ("[{time}]", "({time})", "{time} -", "time {time}", "timestamp {time}", "t={time}", "ts {time}"):
        add(template, *at_point(template, draw, "clock"), True)

    seconds = draw.point()
    for template in (
        "at second {n}",
        "at {n}s",
        "at {n} s",
        "at the second {n}",
        "{n}s in",
        "in second {n}",
        "at t={n}s",
    ):
        add(template, template.format(n=seconds), (seconds, seconds + 1), True)
    add("around second {n}", f"around second {seconds}", (seconds, seconds + 1), False)
    add(
        "at the {nth} second",
        f"at the {ordinal(min(seconds, 99))} second",
        (min(seconds, 99) - 1, min(seconds, 99)),
        True,
    )
    for template in (
        "at minute {n}",
        "in minute {n}",
        "in the {nth} minute",
        "during the {nth} minute",
        "during minute {n}",
    ):
        add(template, *whole_unit(template, draw), True)
    for template in ("around minute {n}", "about minute {n}", "near minute {n}", "around the {nth} minute"):
        add(template, *whole_unit(template, draw), False)

    minutes = rng.randint(1, max(1, min(9, draw.video_s // 60 - 1)))
    half = minutes * 60 + 30
    many = "s" if minutes > 1 else ""
    add("n and a half minutes in", f"{number(rng, minutes)} and a half minutes in", (half, half + 1), True)
    add("at n and a half minutes", f"at {number(rng, minutes)} and a half minutes", (half, half + 1), True)
    add(
        "n minutes and a half into",
        f"{number(rng, minutes)} minute{many} and a half into the video",
        (half, half + 1),
        True,
    )
    add("at n.5 minutes", f"at {minutes}.5 minutes", (half, half + 1), True)
    add("n.5 min in", f"{minutes}.5 min in", (half, half + 1), True)
    add("a minute in", rng.choice(["a minute in", "one minute in", "a minute into the video"]), (60, 61), True)
    add("half a minute in", rng.choice(["half a minute in", "half a minute into the clip"]), (30, 31), True)
    add("a minute and a half in", "a minute and a half in", (90, 91), True)
    add(
        "at n'ss",
        f"at {minutes}'{seconds % 60:02d}\"",
        (minutes * 60 + seconds % 60, minutes * 60 + seconds % 60 + 1),
        True,
    )
    add(
        "at clock.fraction",
        f"at {minutes}:{seconds % 60:02d}.5",
        (minutes * 60 + seconds % 60, minutes * 60 + seconds % 60 + 1),
        True,
    )

    for template in RANGES:
        first, second = draw.pair()
        write = rng.choice([clock, clock, spoken])
        add(template, template.format(a=write(rng, first), b=write(rng, second)), (first, second), True)
    for template in CLOCK_RANGES:
        first, second = draw.pair()
        add(template, template.format(a=clock(rng, first), b=clock(rng, second)), (first, second), True)
    first, second = sorted(rng.sample(range(3, min(99, draw.video_s)), 2))
    for template in (
        "between {a} and {b} seconds", "from {a} to {b} seconds", "from {a}s to {b}s", "between {a}s and {b}s", "{a}s-{b}s",
        "between seconds {a} and {b}", "from second {a} to second {b}", "seconds {a} to {b}", "{a}-{b} seconds in",
        "between second {a} and {b}", "between the {a} and {b} second marks", "between {a} sec and {b} sec",
    ):  # fmt: skip
        add(template, template.format(a=first, b=second), (first, second), True)
    add("from words to words seconds", f"from {words(first)} to {words(second)} seconds", (first, second), True)
    one, two = sorted(rng.sample(range(1, max(4, min(30, draw.video_s // 60))), 2))
    for template in (
        "between {a} and {b} minutes", "from {a} to {b} minutes", "between minutes {a} and {b}", "from minute {a} to minute {b}",
        "between minute {a} and minute {b}", "minutes {a} to {b}", "from minute {a} to {b}", "between {a} min and {b} min",
    ):  # fmt: skip
        add(template, template.format(a=one, b=two), (one * 60, two * 60), True)

    length = rng.randint(2, min(59, draw.video_s // 2))
    for noun, span in (("first", (0.0, length)), ("last", (end - length, end))):
        for template in (
            "in the {noun} {n} seconds", "during the {noun} {n} seconds of the video", "within the {noun} {n} seconds",
            "over the {noun} {n} secs", "in the {noun} {n}s", "in the {noun} {n} seconds or so", "the {noun} {n} seconds",
        ):  # fmt: skip
            noun_now = {
                "last": rng.choice(["last", "final", "closing"]),
                "first": rng.choice(["first", "opening", "initial"]),
            }
            text = template.format(noun=noun_now[noun], n=length if "{n}s" in template else number(rng, length))
            add(template.replace("{noun}", noun), text, span, "or so" not in template)
    if draw.video_s > 400:
        for noun, start, stop in (("first", 0.0, 1.0), ("last", -1.0, 0.0)):
            for template, minutes_ in (
                ("in the {noun} minute", 1), ("during the {noun} minute of the clip", 1), ("in the {noun} half minute", 0.5),
                ("in the {noun} two minutes", 2), ("within the {noun} 3 mins", 3), ("in the {noun} minute and a half", 1.5),
                ("in the {noun} one and a half minutes", 1.5), ("in the {noun} few minutes", 0), ("in the {noun} two and a half minutes", 2.5),
            ):  # fmt: skip
                zero = end if noun == "last" else 0.0
                tenth = 0.1 * end / 60
                span = (zero + start * 60 * (minutes_ or tenth), zero + stop * 60 * (minutes_ or tenth))
                add(template.replace("{noun}", noun), template.format(noun=noun), span, minutes_ > 0)
    for template, low, high in (
        ("in the first half of the video", 0, 0.5), ("in the second half of the clip", 0.5, 1), ("in the last third of the video", 2 / 3, 1),
        ("in the first quarter of the film", 0, 0.25), ("in the last quarter of the recording", 0.75, 1), ("during the first third of the video", 0, 1 / 3),
        ("in the final third of the video", 2 / 3, 1), ("in the latter half of the video", 0.5, 1), ("in the first 10% of the video", 0, 0.1),
    ):  # fmt: skip
        add(template, template, (low * end, high * end), True)

    for template in AFTER:
        time_s = draw.point()
        add(template, template.format(a=any_time(rng, time_s)), (time_s, end), False)
    for template in BEFORE:
        time_s = draw.point()
        add(template, template.format(a=any_time(rng, time_s)), (0.0, time_s), False)
    add("after n minutes", f"after {number(rng, minutes)} minutes", (minutes * 60, end), False)
    add("after the first n minutes", f"after the first {number(rng, minutes)} minutes", (minutes * 60, end), False)
    add("before minute n", f"before minute {minutes}", (0.0, minutes * 60), False)
    add("after minute n", f"after minute {minutes}", (minutes * 60, end), False)
    back = rng.randint(5, min(59, draw.video_s // 2))
    for template in (
        "{n} seconds before the end",
        "{n} seconds from the end",
        "{n} seconds before the video ends",
        "with {n} seconds left in the video",
    ):
        add(template, template.format(n=number(rng, back)), (end - back, end - back + 1), True)

    for templates, span in ((STARTS, (0.0, 0.1 * end)), (ENDS, (0.9 * end, end)), (MIDDLES, (0.45 * end, 0.55 * end))):
        for template in templates:
            add(template, template.format(video=rng.choice(VIDEO)), span, False)
    for template, share in (
        ("a quarter of the way through", 0.25), ("a third of the way into the video", 1 / 3), ("three quarters of the way through the clip", 0.75),
        ("two thirds of the way through", 2 / 3), ("at 25% of the video", 0.25), ("at the 75% mark", 0.75), ("60% of the way through", 0.6),
        ("one third of the way in", 1 / 3), ("three quarters through the video", 0.75), ("about 40 percent into the video", 0.4),
    ):  # fmt: skip
        add(template, template, ((share - 0.05) * end, (share + 0.05) * end), False)

    first, second = draw.pair()
    for template in (
        "at {a} and at {b}",
        "at {a} and {b}",
        "at {a}, then at {b}",
        "at {a} as well as at {b}",
        "at {a} or {b}",
        "at {a} compared to {b}",
    ):
        text = template.format(a=clock(rng, first), b=clock(rng, second))
        add(template, text, ((first, first + 1), (second, second + 1)), True)
    return found


DECOYS = tuple((Path(__file__).parent / "time_decoys.txt").read_text().splitlines())
"""{n} and {n2} are numbers, {word} is one in words, {year} and {year2} are years, {mm} is from 10 to 59, {d} one digit."""


def decoy(template: str, rng: random.Random) -> str:
    year = rng.randint(1850, 2015)
    one, two = sorted(rng.sample(range(10, 99), 2))
    text = template.format(
        n=one, n2=two, d=rng.randint(1, 9), d2=rng.randint(0, 9), mm=rng.randint(10, 59), year=year, year2=year + rng.randint(1, 30),
        word=words(rng.randint(2, 20)),
    )  # fmt: skip
    return rng.choice([text] * 6 + [text.lower(), text.upper(), text.rstrip("?.")])


def is_unseen(template: str) -> bool:
    """Whether a template is kept for the held-out half alone: one of four."""
    return random.Random(f"unseen {template}").random() < 0.25


def phrasings(half: Half) -> list[Phrasing]:
    """The questions that name a time, of one half."""
    found: dict[str, Phrasing] = {}
    for turn in range(EACH):
        rng = random.Random(f"{half} {turn}")
        draw = Draw(rng, rng.choice([rng.randint(410, 1200), rng.randint(410, 1200), rng.randint(1200, 7000)]))
        for template, (at, ranges, is_clear) in positives(draw).items():
            if half == "held out" or not is_unseen(template):
                text = put(rng, at)
                found[text] = Phrasing(text, draw.video_s, ranges, is_clear, template, is_unseen(template))
    return list(found.values())


def decoys(half: Half) -> list[Phrasing]:
    """The questions that name none, of one half."""
    found: dict[str, Phrasing] = {}
    for turn in range(EACH):
        for template in DECOYS:
            rng = random.Random(f"{half} {turn} {template}")
            if half == "held out" or not is_unseen(template):
                text = decoy(template, rng)
                found[text] = Phrasing(text, rng.randint(60, 4000), template=template, is_unseen=is_unseen(template))
    return list(found.values())
