"""Spanish and English text as comparable stems: folded, cut into words, endings taken off.

The stemming is light and knows no language: both sides of every comparison go through it, so what matters is only that
the forms of one word meet and that different words rarely do.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# Longest first; Spanish and English together. What is left must have LEAST_STEM letters.
_ENDINGS = sorted(
    """
    amientos amiento imientos imiento aciones acion iciones icion ciones cion adoras adores adora ador ando iendo
    adas ados ada ado idas idos ida ido aron ieron amos emos imos aste iste arme ame arlo aria aban aba arlas ar er
    ir an en as es os a e i o s ations ation itions ition ions ion ings ing ments ment ied ies ed ly al
    """.split(),  # noqa: SIM905
    key=len,
    reverse=True,
)
LEAST_STEM = 3
LONGEST_WORD = 40  # longer ones are data; they are kept out of the cache
_WORD = re.compile(r"[a-z0-9_]+")

# Words that tell nothing about a tool.
COMMON = frozenset(
    """
    a al algo and ante are as at be by can como con cual cuando da dame de del dime do does e el ella en entre es
    esa ese eso esta este esto for from ha have hay how i if in is it la las le les lo los mas me mi mis my no nos o
    of on or para pero por porque puedes puedo que quien se ser si sin so sobre su sus te tell that the their then
    this to tu tus un una unas unos use used using was we what when where which who why will with y ya yo you your
    """.split()  # noqa: SIM905
)


def folded(text: str) -> str:
    """Lowercase without accents (ñ is n): `¿Qué día?` is `¿que dia?`."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


@lru_cache(maxsize=8192)
def stem(word: str) -> str:
    """A folded word without its ending; words with digits stay whole."""
    if len(word) <= LEAST_STEM or any(letter.isdigit() for letter in word):
        return word
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= LEAST_STEM:
            return word[: -len(ending)]
    return word


def stems(text: str) -> tuple[str, ...]:
    """The stems of a text, in order, common words left out. Names like `run_python` are taken apart."""
    words = _WORD.findall(folded(text).replace("_", " "))
    return tuple(stem(word) for word in words if word not in COMMON and len(word) <= LONGEST_WORD)
