"""The times that an English question names: "at 1:23", "between 30 and 40 seconds", "in the last minute", "halfway".

Times and lengths become tokens first; then the rows of `GRAMMAR` read the text in turn, and what one has read, the next
ones don't see.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from videox2l.oracles.quantities import FIRST, LAST, TO, VIDEO, tokens_in, value, with_tokens

EDGE = 0.1
"""The share of a video that is meant by its beginning, its middle or its end."""
SOON_S = 10.0
"""Seconds that are meant by "just before" or "right after" a time."""


@dataclass(frozen=True)
class QuestionTime:
    """A stretch of time that a question names. It may lie outside of the video, and may end before it starts.

    start_s, end_s: in seconds of the video; a single time lasts one second.
    is_clear: whether its limits are said ("at 1:23"), not hinted at ("around 1:23", "near the end", "after 1:23").
    """

    start_s: float
    end_s: float
    is_clear: bool


Range = tuple[float, float]


@dataclass(frozen=True)
class Found:
    """What a row of the grammar found in a question about a video from `start` to `end`, all in seconds.

    points: where its tokens start and end. share: the share of the video that it names, 0 if none.
    """

    start: float
    end: float
    points: list[Range]
    share: float

    @property
    def a(self) -> float:
        """Its first time, or length."""
        return self.points[0][0]

    @property
    def b(self) -> float:
        """Its second time."""
        return self.points[1][0]

    def part(self, first: float, last: float) -> Range:
        """The part of the video between two shares."""
        return self.start + first * (self.end - self.start), self.start + last * (self.end - self.start)


# Pieces of the rows. TIME is any token, CLOCK a clock time, LENGTH one with a unit, UNIT a minute by its number.
CLOCK, LENGTH, UNIT, TIME = (rf"<[{kinds}]\d[^>]*>" for kinds in ("cf", "a", "u", "cfau"))
VAGUE = r"(?:~|around|about|near|close to|roughly|approximately|approx\.?|circa|some|somewhere|nearly|or so|few|couple)"
EXACT = r"(?:right|exactly|precisely|just|time ?stamp|time ?code|time|t ?=|ts|the|moment|minute|at)"
GO = rf"\b(?:go|jump|skip|seek|forward|back|rewind) to|{VIDEO} (?:hits|reaches|gets to)"
ABOUT = rf"\babout(?= {CLOCK}| (?:the )?{UNIT}| minute)"
AT = rf"(?:\bat|{GO}|@|~|\bby|\baround|\bnear|\bclose to|\bcirca|{ABOUT}|\broughly at)"
AND = r"(?:,? (?:and|or|then|as well as|versus|vs\.?|compared (?:to|with))(?: then)?|,)(?: at)?"
MARK = r"(?: (?:mark|point)s?\b)?"
SOON = r"\b(?:right|just|shortly|immediately|directly)"
START, END = r"(?:start|beginning)\b", r"end\b"
STARTS, ENDS = r"(?:starts|begins|opens)\b", r"(?:ends|finishes|stops)\b"
OF_VIDEO = rf"(?: of {VIDEO})?(?! ?(?:of|line|zone|table|credits?|up|down|across)\b)"
"""Behind the beginning, the middle or the end: of the video, or at least of nothing else."""
TO_THE_END = rf"before (?:the (?:very )?{END}{OF_VIDEO}|{VIDEO} {ENDS})"
TOWARDS = r"\b(?:at|near|towards?|(?:close|compared) to|around|by|before) the (?:very )?"
MOMENTS = rf"(?:few |couple of )?(?:moments|seconds|minutes)\b{OF_VIDEO}"
IN_THE = r"\b(?:in|during|within|over|throughout|of|through) the (?:very )?"
HALFWAY = r"\b(?:half-? ?way|midway)\b(?! (?:up|down|across|to|between|mark|point)\b)"
INTO_OTHER = rf"(?! (?:through|into) (?!{VIDEO})(?:the|an?|his|her|their)\b)"
PART = r"(?P<share>\d+ ?(?:%|percent)|half|third|quarter)"
SHARE = r"(?P<share>\d+(?:\.\d+)? ?(?:%|percent)|[1-3]/[34]|(?:an?|one|two|three) (?:third|quarter)s?)"
NO_PLACE = r"(?! (?:the|an?|his|her|their|its|my|our|your|this|that|total|all|each|every|which|order)\b)"

GRAMMAR: tuple[tuple[str, bool, Callable[[Found], Range | list[Range]]], ...] = (
    # how it is said, whether that is clear, and what it means
    # between 0:30 and 0:40, from 30s to 40s, minutes 3 to 5, 10-20 seconds in
    (rf"\b(?:between|from|during|segment|starting at)(?: the)?(?: time from)? "
     rf"{TIME}{MARK} ?{TO} ?(?:the )?{TIME}{MARK}|"
     rf"(?:\bat )?(?:{CLOCK}|{UNIT}) ?(?:-|to|until|till|through) ?(?:{CLOCK}|{UNIT})|"
     rf"{LENGTH} ?- ?{LENGTH}|{LENGTH} (?:to|or) {LENGTH}(?= in\b)", True, lambda it: (it.a, it.b)),
    # ten seconds after the start, the last ten seconds before the end, ten seconds before the end
    (rf"{LENGTH} (?:after|from|past) the (?:very )?{START}{OF_VIDEO}", True,
     lambda it: (it.start + it.a, it.start + it.a + 1)),
    (rf"\bthe (?:{LAST} )?{LENGTH} {TO_THE_END}", True, lambda it: (it.end - it.a, it.end)),
    (rf"{LENGTH} (?:{TO_THE_END}|from the {END}{OF_VIDEO}|(?:left|to go|remaining) in {VIDEO})", True,
     lambda it: (it.end - it.a, it.end - it.a + 1)),
    # right after 1:30, just before 1:30, after 2 minutes, from 1:30 on, until 1:30
    (rf"{SOON} (?:after|past) (?:the )?{TIME}{MARK}", False, lambda it: (it.a, it.a + SOON_S)),
    (rf"{SOON} before (?:the )?{TIME}{MARK}", False, lambda it: (it.a - SOON_S, it.a)),
    (rf"\b(?:after the {FIRST} {LENGTH}|(?:after|past|since|later than|starting (?:from|at)) (?:the )?{TIME}{MARK}|"
     rf"from (?:the )?{TIME}{MARK}(?: on(?:wards?)?\b| to the (?:very )?end\b|(?= ?$|[,?.!])))", False,
     lambda it: (it.a, it.end)),
    (rf"\b(?:before|until|till|up to|prior to|earlier than) (?:the )?{TIME}{MARK}", False,
     lambda it: (it.start, it.a)),
    # the first ten seconds, the last minute, the first half of the video
    (rf"\b(?:the|in|during|within) {FIRST} {LENGTH}(?: or so\b)?{OF_VIDEO}", True,
     lambda it: (it.start, it.start + it.a)),
    (rf"\b(?:the|in|during|within) {LAST} {LENGTH}(?: or so\b)?{OF_VIDEO}", True, lambda it: (it.end - it.a, it.end)),
    (rf"\b{FIRST} {PART} of {VIDEO}", True, lambda it: it.part(0, it.share)),
    (rf"\b(?:{LAST}|latter|second) {PART} of {VIDEO}", True, lambda it: it.part(1 - it.share, 1)),
    # 67 seconds in, about two minutes into the video
    (rf"(?:{VAGUE} )?(?:at )?{LENGTH} in(?:to (?:it|{VIDEO})|(?= {VIDEO}|\W? in )|\b{NO_PLACE})", True,
     lambda it: it.points),
    # at 1:23, around minute 12, at 1:23 and 2:34, in the third minute, [1:23], 0:01:23
    (rf"(?:\b{VAGUE} )?{AT} ?(?:(?:{EXACT}|{VAGUE}) ?)*{TIME}{MARK}(?:{AND} {TIME})*", True, lambda it: it.points),
    (rf"\b(?:in|during|within|throughout) (?:the )?{UNIT}|<f[^>]*>|"
     rf"(?:^|\[|\(|\btime(?: ?stamp| ?code)? |\bt ?= ?|\bts ){CLOCK}|{CLOCK} -", True, lambda it: it.points),
    # a third of the way through, at 25% of the video, halfway, at the beginning, near the end
    (rf"{SHARE} (?:(?:of the way )?(?:through|in|into)\b|of {VIDEO}|mark\b)", False,
     lambda it: it.part(it.share - EDGE / 2, it.share + EDGE / 2)),
    (rf"{HALFWAY}{INTO_OTHER}|\b(?:in|at|around|near) the middle of {VIDEO}|"
     rf"\b(?:the mid-?point|half-? ?way (?:point|mark)){OF_VIDEO}", False,
     lambda it: it.part(0.5 - EDGE / 2, 0.5 + EDGE / 2)),
    (rf"(?:{TOWARDS}|\bin the (?:very )?){START}{OF_VIDEO}|\b(?:when|as|once) {VIDEO} {STARTS}|\bearly in {VIDEO}|"
     rf"{IN_THE}{FIRST} {MOMENTS}", False, lambda it: it.part(0, EDGE)),
    (rf"{TOWARDS}{END}{OF_VIDEO}|\bin the end of {VIDEO}|\b(?:when|as|before) {VIDEO} {ENDS}|\blate in {VIDEO}|"
     rf"{IN_THE}{LAST} {MOMENTS}", False, lambda it: it.part(1 - EDGE, 1)),
)  # fmt: skip


def question_times(question: str, start_s: float, end_s: float) -> tuple[QuestionTime, ...]:
    """The times that a question names; none where it names none.

    start_s, end_s: where the video, or the part of it that was looked at, starts and ends, in seconds.
    """
    text = with_tokens(question)
    times: list[QuestionTime] = []
    for pattern, is_clear, meaning in GRAMMAR:
        while match := re.search(pattern, text):
            share = _share(match.groupdict().get("share") or "")
            meant = meaning(Found(start_s, end_s, tokens_in(match[0]), share))
            clear = is_clear and not re.search(rf"(?:^| ){VAGUE}(?: |$)", match[0])
            times += [QuestionTime(*span, clear) for span in (meant if isinstance(meant, list) else [meant])]
            text = f"{text[: match.start()]} | {text[match.end() :]}"
    return tuple(times)


def _share(words: str) -> float:
    """ "75%", "2/3", "half" or "two thirds" as a number."""
    if match := re.match(r"([\d.]+)(?:/(\d))?", words):
        return float(match[1]) / float(match[2] or 100)
    *many, part = words.rstrip("s").split() or [""]
    return (value(many[0]) if many else 1.0) * {"half": 1 / 2, "third": 1 / 3, "quarter": 1 / 4}.get(part, 0.0)
