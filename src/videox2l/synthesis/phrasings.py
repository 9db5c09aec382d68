"""How questions about needle videos are worded, by kind; one of them is drawn by chance."""

from __future__ import annotations

PHRASINGS: dict[str, tuple[str, ...]] = {
    "attribute": (
        "What digit is on the {needle}?",
        "Which number is printed on the {needle}?",
        "What number does the {needle} show?",
        "Read the digit on the {needle}.",
        "The {needle} carries which digit?",
    ),
    "where": (
        "Where does the {needle} appear?",
        "In which corner is the {needle}?",
        "Where in the frame is the {needle} shown?",
        "Which corner of the video shows the {needle}?",
        "Where is the {needle}?",
    ),
    "when": (
        "When does the {needle} appear?",
        "At what time is the {needle} first seen?",
        "At which moment does the {needle} show up?",
        "When is the {needle} in the video?",
        "What time does the {needle} first appear?",
    ),
    "at": (
        "What is in the {corner} corner at {time}?",
        "Which shape is shown in the {corner} at {time}?",
        "At {time}, what appears in the {corner} corner?",
        "What can be seen in the {corner} of the frame at {time}?",
    ),
    "exist": (
        "Does a {needle} appear in the video?",
        "Is there a {needle}?",
        "Does the video show a {needle}?",
        "Can a {needle} be seen?",
        "Was there any {needle} in the video?",
    ),
    "order": (
        "Which appears first, the {needle} or the {other}?",
        "What comes first: the {needle} or the {other}?",
        "Which is seen earlier, the {needle} or the {other}?",
    ),
    "count": (
        "How many {group} appear in the video?",
        "How many {group} are there?",
        "Count the {group}.",
        "What is the number of {group} in the video?",
    ),
    "next": (
        "What number does the shape that comes right after the {needle} show?",
        "Which digit is on the shape that appears right after the {needle}?",
        "What digit is on the next shape after the {needle}?",
        "What number is shown right after the {needle}?",
    ),
    "larger": (
        "Which shows the larger number, the {needle} or the {other}?",
        "Which has the larger digit: the {needle} or the {other}?",
        "Is the larger number on the {needle} or on the {other}?",
    ),
    "place": (
        "Where was the video filmed?",
        "What place does the video show?",
        "Which place is in the background?",
        "What kind of scene is it?",
    ),
    "light": (
        "Is it day or night?",
        "Was the video filmed by day or by night?",
        "What time of day does the video show?",
    ),
    # Terse forms with long answers: many facts a question, for training alone.
    "describe": ("{needle}?",),
    "look": ("{corner} {time}?",),
    "glance": ("{time}?",),
    "after": ("{group} after {time}?",),
}
