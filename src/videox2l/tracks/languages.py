"""Languages of subtitles by the codes and names that files and containers give them, and the script of a text."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

from videox2l.checks import check_kind
from videox2l.errors import SettingsError

LANGUAGES = {
    # code: English name, other codes and names
    "ar": ("arabic", "ara"),
    "bg": ("bulgarian", "bul"),
    "ca": ("catalan", "cat"),
    "cs": ("czech", "ces cze"),
    "da": ("danish", "dan"),
    "de": ("german", "deu ger deutsch"),
    "el": ("greek", "ell gre"),
    "en": ("english", "eng"),
    "es": ("spanish", "spa español castellano"),
    "et": ("estonian", "est"),
    "fa": ("persian", "fas per farsi"),
    "fi": ("finnish", "fin"),
    "fr": ("french", "fra fre français"),
    "he": ("hebrew", "heb iw"),
    "hi": ("hindi", "hin"),
    "hr": ("croatian", "hrv"),
    "hu": ("hungarian", "hun"),
    "id": ("indonesian", "ind"),
    "it": ("italian", "ita italiano"),
    "ja": ("japanese", "jpn"),
    "ko": ("korean", "kor"),
    "lt": ("lithuanian", "lit"),
    "lv": ("latvian", "lav"),
    "ms": ("malay", "msa may"),
    "nl": ("dutch", "nld dut"),
    "no": ("norwegian", "nor nob nno nb nn"),
    "pl": ("polish", "pol"),
    "pt": ("portuguese", "por português"),
    "ro": ("romanian", "ron rum"),
    "ru": ("russian", "rus"),
    "sk": ("slovak", "slk slo"),
    "sl": ("slovenian", "slv"),
    "sr": ("serbian", "srp"),
    "sv": ("swedish", "swe"),
    "ta": ("tamil", "tam"),
    "th": ("thai", "tha"),
    "tr": ("turkish", "tur"),
    "uk": ("ukrainian", "ukr"),
    "vi": ("vietnamese", "vie"),
    "zh": ("chinese", "zho chi cmn yue"),
}

CODES = {name: code for code, (english, others) in LANGUAGES.items() for name in (code, english, *others.split())}

NO_LANGUAGE = {"und", "mul", "mis", "zxx"}
"""Codes by which containers say that they say nothing."""

ONE_SCRIPT = {"HIRAGANA": "CJK", "KATAKANA": "CJK"}
"""Scripts that are written among the letters of another one."""


def language_code(label: str) -> str | None:
    """A language by any of its codes or names, as "ger", "de-AT" or "German", by the code it has here; else None.

    The code of a language that is not in the table is its own.
    """
    name = label.strip().casefold().replace("_", "-").partition("-")[0]
    return CODES.get(name) or (name if re.fullmatch("[a-z]{2,3}", name) and name not in NO_LANGUAGE else None)


def known_language(label: str) -> str:
    """The code of a language that the user names. Raises: SettingsError if it is none."""
    check_kind(label, str, "subtitle_language", 'a language, as "en"')
    if (code := language_code(label)) is None:
        raise SettingsError(f"{label!r} is not a language: pass its code or English name, as en or German")
    return code


def script(text: str) -> str | None:
    """The script that most of a text's letters belong to, as "LATIN" or "CYRILLIC"; None where it has no letters."""
    names = Counter(unicodedata.name(letter, "").split(" ")[0].split("-")[0] for letter in text if letter.isalpha())
    return ONE_SCRIPT.get(most := names.most_common(1)[0][0], most) if names else None
