"""Times and lengths of time in a question, as tokens with their seconds: "at 1:23" becomes "at <c83.0+1>".

Clock times are <c...>, and <f...> where they can be nothing else (0:01:23); lengths with a unit are <a...>; the second
minute, or minute 1, is <u60.0+60.0>. Behind the plus stand the seconds that it lasts.
"""

from __future__ import annotations

import re

ONES = re.findall(
    r"\w+", "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
)
ONES += ["sixteen", "seventeen", "eighteen", "nineteen"]
TENS = re.findall(r"\w+", "twenty thirty forty fifty sixty seventy eighty ninety")
ORDINALS = re.findall(r"\w+", "zeroth first second third fourth fifth sixth seventh eighth ninth tenth")
VALUES = {word: float(value) for value, word in enumerate(ONES)} | {"a": 1.0, "an": 1.0, "half a": 0.5, "half an": 0.5}
VALUES |= {word: 10.0 * value for value, word in enumerate(TENS, 2)}
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}

NUMBER = rf"(?:\d+(?:\.\d+)?|(?:{'|'.join(TENS)})(?:[- ](?:{'|'.join(ONES[1:10])}))?\b|(?:{'|'.join(ONES)})\b)"
MANY = rf"(?:half an?|an?(?! ?s)|{NUMBER}(?: and a half)?)"
SECONDS = rf"(?:{MANY}[- ]?sec(?:ond)?s?\b|\d+(?:\.\d+)? ?s\b)"
MINUTES = rf"(?:{MANY}[- ]?min(?:ute)?s?\b(?: and a half\b)?(?:,? (?:and )?{SECONDS})?|\d+ ?m ?\d+ ?s\b)"
HOURS = rf"(?:{MANY}[- ]?h(?:ou)?rs?\b(?: and a half\b)?(?:,? (?:and )?{MINUTES})?|\d+ ?h ?\d+ ?m(?: ?\d+ ?s)?\b)"
LENGTH = rf"\b(?:{HOURS}|{MINUTES}|{SECONDS})"
LENGTHS = rf"(?:(?<![\d:])\b(?:{NUMBER} (?:and|to|or|until) |\d+ ?- ?(?=\d)))?{LENGTH}"
"""A length, or two of which only the second has a unit."""
CLOCK = r"(?<![\d:$.'])(?:(?:\d{1,2}:)?\d{1,3}:[0-5]\d(?:[.,]\d+)?|\d+'[0-5]\d\"?)(?!:?\d)"
FIRST, LAST = r"(?:first|opening|initial)", r"(?:last|final|closing)"
TO = r"(?:and ending at|and|&|to|until|till|up to|through|-)"
VIDEO = r"(?:the |this |that )?(?:video|clip|recording|movie|film|footage|stream|tape)\b"

NO_TIMES = (
    # what somebody says
    r'(?<=\s)"[^"]*"',
    # a time of day, a sprint's time
    rf"{CLOCK} ?(?:[ap]\.?m\b|o'?clock|in the (?:morning|afternoon|evening)|at night|train|local|ratio)",
    rf"\b(?:lap|race|finish(?:ing)?|winning|record) (?:time )?(?:of |is )?{CLOCK}",
    # the 90s, a woman in her 30s
    r"(?:\b(?:the|their|his|her|early|late|mid|an?)[ -]'?|')\d+s\b",
    # lasts about 5 seconds, for 10 seconds, every 2 minutes
    r"(?:^is it|\b(?:for|last(?:s|ed|ing)|tak(?:es?|en|ing)|took|needs?|spends?|spent|every|each|another|the next|"
    r"the past|waits?|(?:more|less|fewer|longer|shorter) than))"
    rf"(?: (?:about|around|roughly|between|from|up to|near|at least|only|just|exactly))? {LENGTHS}(?! in(?:to|\W*$|,))",
    # ten seconds later, 5 minutes long, after 2 minutes of boiling
    rf"{LENGTHS}[- ](?:ago|later|earlier|long|longer|old|per|each|apart|more|delay|breaks?|intervals?|to midnight|"
    rf"of(?! {VIDEO}))\b",
    # a 5-minute break, a last-minute goal
    rf"\b(?!1\b|one\b|a ){NUMBER}[- ](?:second|minute|hour)\b(?! marks?\b| point\b| and\b)",
    r"\b(?:last|first)-(?:minute|second)\b|\bat the last (?:minute|second)\b",
)
"""What only looks like a time in the video."""


def with_tokens(question: str) -> str:
    """A question in small letters, its times and lengths as tokens, what only looks like one taken out."""
    text = re.sub(r"\n\s*\(?[A-Z][.)].*", "|", question)  # the options of multiple choice
    text = re.sub("[\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}]", "-", re.sub("[<>]", " ", text.lower()))
    text = " ".join(text.translate({0x2019: "'", 0x201C: '"', 0x201D: '"'}).split())
    for pattern in NO_TIMES:
        text = re.sub(pattern, "|", text)
    singular = rf"(\b(?:in|during|within|over|throughout|after) the (?:{FIRST}|{LAST}) )(half )?(minute|hour|second)\b"
    text = re.sub(singular, lambda match: f"{match[1]}{'half a' if match[2] else 'one'} {match[3]}", text)
    short = rf"({MANY} ?min(?:ute)?s?) ?([0-5]\d|(?=t|f){NUMBER})(?= in\b|\W*$|[,?.!])"
    text = re.sub(short, r"\1 \2 seconds", text)  # one minute thirty
    text = re.sub(CLOCK, _clock, text)
    text = re.sub(rf"({LENGTHS})", _lengths, text)
    text = re.sub(rf"\b({'|'.join(ORDINALS)}|\d+(?:st|nd|rd|th)) (minute|second)\b", _nth, text)
    text = re.sub(rf"\b(minute)s? ({NUMBER})(?: ?({TO}) ?(?:minute )?({NUMBER}))?", _numbered, text)
    return re.sub(rf"\b(second)s? (\d+)\b(?: ?({TO}) ?(?:second )?(\d+)\b)?", _numbered, text)


def tokens_in(text: str) -> list[tuple[float, float]]:
    """Start and end, in seconds, of every token in a text."""
    found = re.findall(r"<[cfau]([\d.]+)\+([\d.]+)>", text)
    return [(float(start), float(start) + float(length)) for start, length in found]


def value(number: str) -> float:
    """A number in digits or words, as "twenty-two" or "2 and a half"."""
    number, half, _ = number.partition(" and a half")
    parts = [number] if number in VALUES else re.split("[- ]", number)
    return sum(VALUES[part] if part in VALUES else float(part) for part in parts) + 0.5 * bool(half)


def _clock(match: re.Match[str]) -> str:
    """1:23, 0:01:23, 1:23.5, or minutes and seconds with the marks of feet and inches."""
    parts = re.split("[:']", match[0].strip('"').replace(",", "."))
    seconds = sum(float(part) * 60**place for place, part in enumerate(reversed(parts)))
    is_sure = len(parts) == 3 or set(parts[0]) == {"0"}
    return f"<{'f' if is_sure else 'c'}{seconds}+1>"


def _lengths(match: re.Match[str]) -> str:
    """67 seconds, two and a half minutes, 1m23s, 30 to 40 seconds."""
    length = re.search(rf"{LENGTH}$", match[0])
    assert length is not None
    pieces = re.findall(rf"({MANY})[- ]?([hms])[a-z]*( and a half\b(?! ?[a-z]))?", length[0])
    token = f"<a{sum((value(number) + 0.5 * bool(half)) * UNITS[unit] for number, unit, half in pieces)}+1>"
    if not (before := match[0][: length.start()]):
        return token
    number, joint = re.fullmatch(rf"({NUMBER})(.*)", before).groups()  # type: ignore[union-attr]
    return f"<a{value(number) * UNITS[pieces[0][1]]}+1>{joint}{token}"


def _nth(match: re.Match[str]) -> str:
    """The third minute, the 45th second."""
    number = ORDINALS.index(match[1]) if match[1] in ORDINALS else int(match[1][:-2])
    return _unit(number - 1, match[2])


def _numbered(match: re.Match[str]) -> str:
    """Minute 12, minutes 3 to 5."""
    unit, first, joint, second = match.groups()
    return _unit(value(first), unit) + (f" {joint} {_unit(value(second), unit)}" if second else "")


def _unit(number: float, unit: str) -> str:
    return f"<u{max(number, 0) * UNITS[unit[0]]}+{UNITS[unit[0]]}>"
