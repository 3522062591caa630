"""A question looked at once: its sentences, and what stands in it that several signals ask for. All text is folded."""

from __future__ import annotations

import re
from dataclasses import dataclass

from services_node.smart_mcp.patterns import ADDRESS, RUN_ID, any_of

# Up to so many words a question is one piece; a longer one is judged by sentences, so that a number and what is asked
# of it belong together, and a pasted document asks for nothing.
SHORT_WORDS = 30
_SENTENCE = re.compile(r"[.!?:;]\s+|\n+|\s[-–—]\s(?=[a-z])")
_QUOTED = re.compile(r"«[^»]*»|“[^”]*”|\"[^\"]*\"")
_ISO_DATE = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")

# Wants an explanation or a text, and nothing done: at the beginning of a clause.
_LEAD = r"(?:^|[.!?:;,\n])\W{0,8}(?:(?:so|y|and|pues|please|por favor|can you|could you|puedes|me puedes) )?"
_about = any_of(
    rf"{_LEAD}(?:que (?:es|son|significa\w*|quieren? decir)\b(?! hoy)|para que sirve|por que)",
    rf"{_LEAD}(?:no entiendo|es una estafa)",
    rf"{_LEAD}what(?: is|'s|s| are) (?:an? |the (?:difference|meaning|best|point|purpose)|your)",
    rf"{_LEAD}what do(?:es)? .{{1,60}} (?:mean|tell me)",
    rf"{_LEAD}(?:explic\w*|explain|describ\w+|habla(?:me|nos)|tell me about|why\b|i don'?t (?:understand|get)\b)",
    rf"{_LEAD}(?:dame|give me) (?:un |an? )?(?:sinonimo|synonym|ejemplo|example|consejo|tips?|ideas?)",
    rf"{_LEAD}(?:cual es |cuales son )?la diferen\w+",
    rf"{_LEAD}(?:how|como) (?:do|does|can|puedo|se|funciona|lo|la)\b",
    rf"{_LEAD}is this (?:text |sms |message )?(?:real|a scam)",
    rf"{_LEAD}(?:escrib|redact|ponle|recomiend|reescrib|invent|traduc|corrig|resum|contest|suggest|recommend|respond)\w*",
    rf"{_LEAD}(?:write|draft|compose|rewrite|translate|summari[sz]e|reply|correct (?:this|my)|fix the grammar)\b",
    rf"{_LEAD}(?:polite reply|make this (?:sound|more))",
)

_snippet = any_of(
    r"```", r"\bprint\s*\(", r"\bdef \w+\s*\(", r"\bfor \w+ in \w+.*:", r"\bimport \w+", r"\bconsole\.log\b",
    r"\blambda \w+", r"=> ?\{", r"\breturn \w+", r"\w+ ?= ?\[[^\]]*\]",
)  # fmt: skip
_file = any_of(
    r"\b[\w-]+\.(?:csv|tsv|xlsx?|ods|json|parquet|txt|log|py|js|ts|sh|ipynb|png|jpe?g|svg|pdf|zip)\b",
    r"\b(?:csv|xlsx|excel|dataframe|pandas|spreadsheet|hoja de calculo)\b",
)
_given = any_of(
    r"\b(?:adjunt\w+|attach\w+|uploaded|subid[oa]s?)\b",
    r"\b(?:fichero|archivo|file|csv|excel)\b.{0,25}(?:pasad|subi|gave|sent|uploaded)",
)


@dataclass(frozen=True, slots=True)
class Question:
    """bare: the sentences without addresses, run ids and ISO dates, whose digits are no arithmetic. given: a file came
    with it; file: one is spoken of. about: it wants an explanation or a text, and nothing done."""

    text: str
    sentences: tuple[str, ...]
    bare: tuple[str, ...]
    has_run_id: bool
    snippet: bool
    file: bool
    given: bool
    about: bool

    @staticmethod
    def of(text: str) -> Question:
        """text: folded."""
        about = _about(text)
        told = _QUOTED.sub(" ", text) if about else text
        short = len(told.split()) <= SHORT_WORDS
        sentences = (told,) if short else tuple(part for part in _SENTENCE.split(told) if part.strip())
        return Question(
            text=text,
            sentences=sentences,
            bare=tuple(_ISO_DATE.sub(" ", RUN_ID.sub(" ", ADDRESS.sub(" ", part))) for part in sentences),
            has_run_id=RUN_ID.search(text) is not None,
            snippet=_snippet(text),
            file=_file(text),
            given=_given(text),
            about=about,
        )
