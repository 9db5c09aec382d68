"""Questions that a needle video can't answer: about things it never shows, and about the world outside it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from videox2l.synthesis.world import COLOURS, CORNERS, SHAPES

UNKNOWN_ANSWER = "I don't know"

TRAINED_TEMPLATES = (
    "What is the {thing} doing?",
    "Who is the {person}?",
    "Where is the {thing}?",
    "Where does the {person} come from?",
    "How many {thing}s are there?",
    "When does the {person} arrive?",
    "Which {thing} is the fastest?",
    "Is there a {thing}?",
    "Does the {person} carry a {thing}?",
    "What number is on the {thing}?",
    "What digit is on the {odd_colour} {shape}?",
    "Where is the {odd_colour} {shape}?",
    "When does the {colour} {odd_shape} appear?",
    "What number does the {colour} {odd_shape} show?",
    "Is there a {colour} {odd_shape}?",
    "Does a {odd_colour} {odd_shape} appear in the video?",
    "How many {odd_shape}s appear in the video?",
    "Count the {thing}s.",
    "Which appears first, the {thing} or the {person}?",
    "Which is seen earlier, the {colour} {shape} or the {thing}?",
    "What is shown in the {odd_place} at 0:{second}?",
    "At 0:{second}, what does the {person} say?",
    "What is the capital of {name}?",
    "Who wrote {name}?",
    "How old is {name}?",
    "Why is the {thing} {adjective}?",
    "Is the {person} {adjective}?",
    "What colour is the {thing}?",
    "Can you tell me a story about a {thing}?",
    "Describe the {person}.",
    "Please summarise the video.",
    "What happens after the {person} leaves?",
    "What is the weather like in {name}?",
    "Translate the word {thing}.",
    "Hello, how are you?",
    "What is your name?",
    "What is {second} plus {second}?",
    "Thank you.",
)
"""Of the questions that the bundled models are trained on."""

ASKED_TEMPLATES = (
    "What does the {person} hold in his hand?",
    "Why did the {person} open the {thing}?",
    "Which {thing} does the {person} choose?",
    "What digit is printed on the {adjective} {thing}?",
    "Where in the frame is the {odd_colour} {odd_shape} shown?",
    "At what time is the {odd_colour} {shape} first seen?",
    "Which number is printed on the {colour} {odd_shape}?",
    "Does the video show a {thing}?",
    "Was there any {odd_shape} in the video?",
    "What comes first: the {person} or the {colour} {odd_shape}?",
    "What is the number of {thing}s in the video?",
    "How many {person}s walk past the {thing}?",
    "What can be seen in the {odd_place} of the frame at 0:{second}?",
    "Which team wins the game?",
    "In which country is {name}?",
    "When was {name} born?",
    "What language do they speak in {name}?",
    "How much does a {thing} cost?",
    "Give me a recipe for {thing} soup.",
    "Is the {thing} on the left {adjective}?",
    "What song is played at the end?",
    "Tell me a joke.",
    "Can the {person} see the {thing} on the right?",
    "How fast is the {thing}?",
)
"""Of the questions that models are measured by; none of them is trained on."""

FILLERS: dict[str, tuple[str, ...]] = {
    "thing": (
        "car", "dog", "bicycle", "house", "tree", "ball", "table", "bottle", "train", "guitar", "phone", "cake", "boat",
        "horse", "bird", "chair", "camera", "bag", "robot", "window", "cup", "book", "door", "lamp", "truck",
    ),
    "person": (
        "man", "woman", "girl", "boy", "teacher", "driver", "doctor", "singer", "player", "child", "cook", "policeman",
        "dancer", "farmer", "painter",
    ),
    "odd_colour": ("purple", "black", "brown", "grey", "golden", "silver", "turquoise", "violet", "beige", "maroon"),
    "odd_shape": ("hexagon", "moon", "arrow", "pentagon", "spiral", "cube", "diamond", "ring", "leaf", "banana"),
    "odd_place": ("middle", "centre", "background", "sky", "distance"),
    "name": ("France", "Hamlet", "London", "Mozart", "Brazil", "Napoleon", "Tokyo", "Einstein", "Norway", "Picasso"),
    "adjective": ("big", "happy", "old", "wooden", "broken", "tall", "wet", "famous", "hungry", "tired"),
    "colour": tuple(COLOURS),
    "shape": SHAPES,
    "second": tuple(map(str, range(10, 60))),
}  # fmt: skip


@dataclass(frozen=True)
class _Words:
    """Fills a template's places by chance, each anew."""

    rng: random.Random

    def __getitem__(self, name: str) -> str:
        return self.rng.choice(FILLERS[name])


def unknown_text(rng: random.Random, templates: Sequence[str] = ASKED_TEMPLATES) -> str:
    """A question whose answer is UNKNOWN_ANSWER."""
    return rng.choice(templates).format_map(_Words(rng))


def scrambled_text(rng: random.Random, words: Sequence[str]) -> str:
    """Three to nine known words that make no question, a place of the frame or a needle among them at times."""
    chosen = [rng.choice(words) for _ in range(rng.randint(3, 9))]
    if rng.random() < 0.3:
        chosen.insert(rng.randrange(len(chosen)), rng.choice(CORNERS))
    return " ".join(chosen) + "?"
