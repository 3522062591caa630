"""Which language each sentence of a text is in, when some of them hardly tell. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from wire.language import Language

FUNCTION_WORD = 3  # what a word that only one of the languages has is worth; a spelling is worth one
TOLD = 2  # so much more for one than for the other tells

# Words of both, or that are written in either, tell nothing: a, no, me, he, has, son, sin, come, once, plan, real…
_SPANISH = frozenset(
    "el la los las lo un una unos unas de del que qué y e o al en es por para con se si sí "  # noqa: SIM905
    "su sus tu tus mi mis te le les nos os yo ella ellos ellas usted ustedes este esta esto "
    "estos estas ese esa eso esos esas aquel ya muy más mas pero sino aunque porque pues así asi "
    "aquí ahí allí hoy ayer mañana cómo como cuándo cuando dónde donde quién quien cuál cual "
    "cuánto cuanto cuánta todo todos toda todas cada otro otra otros otras mucho mucha muchos "
    "muchas poco bien mal mejor peor también tambien tampoco siempre nunca desde hasta entre "
    "sobre según segun ante tras hola gracias adiós buenos buenas días tardes noches vale "
    "claro está están estoy estás esta era eran fue fueron ser estar hay haber ha han hemos "
    "tiene tienen tengo tienes tenemos puede puedes pueden puedo podemos hace hacen hacer va van "
    "vamos voy dice dijo quiero quieres necesito debe deben después antes luego entonces ahora "
    "mientras dame dime haz explica calcula traduce escribe resume nada algo alguien nadie cosa "
    "vez veces año años".split()
)
_ENGLISH = frozenset(
    "the an of to and or in is are was were be been being it its it's this that that's these "  # noqa: SIM905
    "those there here she they them their his her him we us our you your i'm i my mine what "
    "which who whom whose when where why how if then than but because so very too also not don't "
    "doesn't didn't isn't can't won't will would shall should can could may might must do does "
    "did done have has had having with without from by for at on into onto about over under "
    "between after before during while until since all any each every some many much more "
    "most other another such only just now today tomorrow yesterday never always often again yes "
    "hello hi hey thanks thank please let's let get got going make made take see say said "
    "know think want need good well better best new one two first".split()
)
_SPANISH_SPELLING = re.compile(
    r"[ñ¿¡]|[áéíóú]|(?:ci[oó]n|ciones|mente|ando|iendo|ad[oa]s?|id[oa]s?|dad|dades|aje|iste|aron|ieron|amos|emos|imos|"
    r"ería|illas?|illos?|ar|ir|os|as)$"
)
_ENGLISH_SPELLING = re.compile(r"w|th|sh|gh|ck|ee|oo|(?:ing|tion|tions|ed|ly|ll|ness|ment|ful|ous|y)$")
_NO_WORDS = re.compile(r"(?:https?://|www\.)\S+|\S*[@/\\_]\S*|\S*\w\.\w\S*|[\"{\[]\w?[\"}\]]")
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
LOOKED_AT_CHARS = 400  # of a sentence


def language_told(text: str) -> Language | None:
    """The language of a sentence; None where its words don't tell."""
    words = _WORD.findall(_NO_WORDS.sub(" ", text[:LOOKED_AT_CHARS].lower()))
    spanish = 2 * ("¿" in text or "¡" in text)
    english = 0
    for word in words:
        of_spanish, of_english = _worth(word)
        spanish += of_spanish
        english += of_english
    if abs(spanish - english) < TOLD:
        return None
    return "es" if spanish > english else "en"


@lru_cache(maxsize=8192)
def _worth(word: str) -> tuple[int, int]:
    """What a word says for Spanish, and for English."""
    long = len(word) > 3
    return (
        FUNCTION_WORD if word in _SPANISH else int(long and _SPANISH_SPELLING.search(word) is not None),
        FUNCTION_WORD if word in _ENGLISH else int(long and _ENGLISH_SPELLING.search(word) is not None),
    )


def languages(sentences: Sequence[str], default: str) -> list[str]:
    """Of each: its own where its words tell; else the one before; at the beginning the first that is told."""
    told = [language_told(sentence) for sentence in sentences]
    current = next((language for language in told if language), default)
    found = []
    for language in told:
        current = language or current
        found.append(current)
    return found
