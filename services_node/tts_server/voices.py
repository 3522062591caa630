"""Which voice speaks: an engine's own, OpenAI's and the team's older names for one, a mix, or the language's own. Pure.

A name that stands for no voice in particular (`alloy`, `sofia`) is answered by a voice of its gender that was made in
the language of the text, and the reply says which it was.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from services_node.tts_server import errors
from services_node.tts_server.engines.contract import EngineInfo, Gender, Voice
from wire.errors import ApiError

MOST_PARTS = 8  # of a mix
MOST_CHARS = 300  # of what is sent as a voice

_PART = re.compile(r"(?P<name>[^()+]*?)\s*(?:\((?P<weight>[^()]*)\))?")


@dataclass(frozen=True, slots=True)
class Alias:
    """A name that is no engine's own. language: None for one that speaks any. wanted: voices that answer to it where
    an engine has them and they were made in the language that is spoken, the first one there."""

    gender: Gender | None = None
    language: str | None = None
    wanted: tuple[str, ...] = ()


_FEMALE_ES, _MALE_ES = ("ef_dora",), ("em_alex",)

OPENAI: dict[str, Alias] = {
    "alloy": Alias("female", wanted=("af_alloy", *_FEMALE_ES)),
    "ash": Alias("male", wanted=("am_michael", *_MALE_ES)),
    "ballad": Alias("male", wanted=("bm_george", *_MALE_ES)),
    "cedar": Alias("male", wanted=("am_fenrir", *_MALE_ES)),
    "coral": Alias("female", wanted=("af_bella", *_FEMALE_ES)),
    "echo": Alias("male", wanted=("am_echo", *_MALE_ES)),
    "fable": Alias("male", wanted=("bm_fable", *_MALE_ES)),
    "marin": Alias("female", wanted=("af_heart", *_FEMALE_ES)),
    "nova": Alias("female", wanted=("af_nova", *_FEMALE_ES)),
    "onyx": Alias("male", wanted=("am_onyx", *_MALE_ES)),
    "sage": Alias("female", wanted=("af_sarah", *_FEMALE_ES)),
    "shimmer": Alias("female", wanted=("af_sky", *_FEMALE_ES)),
    "verse": Alias("male", wanted=("am_puck", *_MALE_ES)),
}
TEAMS: dict[str, Alias] = {
    "ana": Alias("female", "es", _FEMALE_ES),
    "carlos": Alias("male", "es", _MALE_ES),
    "kyutai-default": Alias(),
    "kyutai-es-neutral": Alias("female", "es", _FEMALE_ES),
    "kyutai-ljspeech": Alias("female", "en", ("af_heart",)),
    "sofia": Alias("female", "es", _FEMALE_ES),
}
ALIASES = OPENAI | TEAMS | {"default": Alias()}
_DEFAULTS = Alias(wanted=("ef_dora", "af_heart"))  # a language's own voice, where an engine has these


@dataclass(frozen=True, slots=True)
class VoiceChoice:
    """shares: ids of the engine's voices and their parts, which sum to 1, the largest first."""

    shares: tuple[tuple[str, float], ...]

    @property
    def label(self) -> str:
        """As a reply tells it: `ef_dora`, or `af_bella(0.67)+af_sky(0.33)`. Asking for it gives the same voice."""
        if len(self.shares) == 1:
            return self.shares[0][0]
        return "+".join(f"{name}({share:.6g})" for name, share in self.shares)

    @property
    def header(self) -> str:
        """The label where only ASCII may stand."""
        return quote(self.label, safe="()+ ,.:;/@'!*")


def parse_mix(text: str) -> tuple[tuple[str, float], ...]:
    """Names and their weights as they are written; 1 where none is. Raises ApiError naming what is wrong."""
    if len(text) > MOST_CHARS:
        raise errors.malformed_mix(text, f"it is longer than {MOST_CHARS} characters")
    parts = [_part(piece.strip(), text) for piece in text.split("+")]
    if len(parts) > MOST_PARTS:
        raise errors.malformed_mix(text, f"it has {len(parts)} parts, at most {MOST_PARTS} are mixed")
    return tuple(parts)


def _part(piece: str, text: str) -> tuple[str, float]:
    found = _PART.fullmatch(piece)
    if found is None:
        raise errors.malformed_mix(text, f"{piece!r} is neither a name nor a name with a weight")
    name, written = found["name"].strip(), found["weight"]
    if not name:
        raise errors.malformed_mix(text, "a part has no name")
    if written is None:
        return name, 1.0
    try:
        weight = float(written)
    except ValueError:
        weight = math.nan
    if not (0 < weight < 1e6):  # NaN neither
        raise errors.malformed_mix(text, f"the weight {written!r} is no number above 0")
    return name, weight


def choose_voice(asked: str | None, engine: EngineInfo, language: str) -> VoiceChoice:
    """The voice that reads a text, all of it, whose sentences are mostly in `language`.

    Raises ApiError: 400 for a voice that the engine has not, a mix that is malformed, or one that it cannot mix.
    """
    asked = (asked or "").strip()
    if not asked:
        return VoiceChoice(((_default_voice(engine, language), 1.0),))
    if _own(asked, engine.voices) is not None:  # one whose own name looks like a mix
        parts: tuple[tuple[str, float], ...] = ((asked, 1.0),)
    else:
        parts = parse_mix(asked)
    weights: Counter[str] = Counter()
    for name, weight in parts:
        weights[_resolve(name, engine, language)] += weight  # type: ignore[assignment]
    if len(weights) > 1 and not engine.mixes:
        raise errors.voices_not_mixed(engine.name)
    whole = sum(weights.values())
    shares = sorted(((name, weight / whole) for name, weight in weights.items()), key=lambda one: (-one[1], one[0]))
    return VoiceChoice(tuple(shares))


def language_of_voice(asked: str | None, voices: Iterable[Voice]) -> str | None:
    """The language a voice was made in, where one is named that has one: what sentences are in that tell nothing."""
    if not asked:
        return None
    try:
        name = max(parse_mix(asked), key=lambda part: part[1])[0]
    except ApiError:
        return None  # told where the voice is chosen
    own = _own(name, voices)
    if own is not None:
        return base_language(own.language)
    alias = ALIASES.get(name.lower())
    return alias.language if alias else None


def base_language(tag: str) -> str:
    """`es` of `es-419`."""
    return tag.replace("_", "-").partition("-")[0].lower()


def openai_names(engine: EngineInfo) -> dict[str, dict[str, str]]:
    """OpenAI's and the team's names, and by which voice each is answered in each language."""
    if not engine.voices:
        return {}
    languages = [tag for tag in engine.languages if any(base_language(v.language) == tag for v in engine.voices)]
    return {
        name: {tag: _of_alias(alias, engine, alias.language or tag) for tag in languages or engine.languages}
        for name, alias in ALIASES.items()
    }


def default_languages(voice: Voice, engine: EngineInfo) -> list[str]:
    """Those whose own voice this one is."""
    return [tag for tag in engine.languages if _default_voice(engine, tag) == voice.id]


def _resolve(name: str, engine: EngineInfo, language: str) -> str:
    own = _own(name, engine.voices)
    if own is not None:
        return own.id
    alias = ALIASES.get(name.lower())
    if alias is None or not engine.voices:
        raise errors.unknown_voice(name, engine.name, [voice.id for voice in engine.voices])
    return _of_alias(alias, engine, alias.language or language)


def _own(name: str, voices: Iterable[Voice]) -> Voice | None:
    known = list(voices)
    exact = next((voice for voice in known if voice.id == name), None)
    return exact or next((voice for voice in known if voice.id.lower() == name.lower()), None)


def _default_voice(engine: EngineInfo, language: str) -> str:
    if not engine.voices:
        raise errors.unknown_voice("default", engine.name, [])
    return _of_alias(_DEFAULTS, engine, language)


def _of_alias(alias: Alias, engine: EngineInfo, language: str) -> str:
    """The nearest of an engine's voices: of the language before of the gender, the wanted before the first."""

    def rank(voice: Voice) -> tuple[bool, bool, int]:
        wanted = alias.wanted.index(voice.id) if voice.id in alias.wanted else len(alias.wanted)
        other_gender = alias.gender is not None and voice.gender != alias.gender
        return base_language(voice.language) != language, other_gender, wanted

    return min(engine.voices, key=rank).id


def majority(languages: Sequence[tuple[str, int]]) -> str:
    """The language with the most characters; the earlier one of two with as many."""
    chars: Counter[str] = Counter()
    for language, length in languages:
        chars[language] += length
    return chars.most_common(1)[0][0]
