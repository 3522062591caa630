"""Which tools a question needs: signals and words against descriptors. Pure, and well under a millisecond."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from services_node.smart_mcp.descriptors import Descriptor, Phrase
from services_node.smart_mcp.question import Question
from services_node.smart_mcp.signals import Want, signals
from services_node.smart_mcp.words import folded, stem, stems

# A question is judged by its beginning and its end: between them stands what it is about, a document or a listing.
HEAD_CHARS = 1_200
TAIL_CHARS = 400

# Evidence, calibrated on the development half of data/: a tool is offered from ENOUGH on.
ENOUGH = 1.0
PHRASE = 0.55  # keyword of two words or more
KEYWORD = 0.35  # of one word
NAME = 0.7  # all words of its name
DESCRIPTION = 0.3  # at most, by the share of the question's telling words that stand in it
WORDS = 0.6  # all words together, at most, of a tool that signals know: they alone never make it offered
ABOUT = 0.4  # what words count for in a question that wants an explanation or a text
MEANING = 0.8  # at most, by likeness of embeddings, of a tool that no signal knows (for the others it only adds noise)
UNSIGNALLED = 0.5  # enough for a tool that no signal knows: an external server's
LIKENESS_FROM, LIKENESS_TO = 0.3, 0.6  # cosines that count for nothing and for all of MEANING


def _named(word: str) -> Callable[[Descriptor], bool]:
    return lambda tool: stem(word) in tool.name_stems


_flow = _named("flow")
# Which tools serve what is wanted: told by their parameters and names.
SERVES: Mapping[Want, Callable[[Descriptor], bool]] = {
    "arithmetic": lambda tool: "expression" in tool.parameters,
    "code": lambda tool: "code" in tool.parameters,
    "clock": lambda tool: "time_zone" in tool.parameters,
    "page": lambda tool: "url" in tool.parameters,
    "past": lambda tool: "query" in tool.parameters and stem("conversations") in tool.name_stems,
    "run": lambda tool: "run_id" in tool.parameters and not _flow(tool),
    "flow_start": lambda tool: "flow" in tool.parameters,
    "flow_state": lambda tool: "run_id" in tool.parameters and _flow(tool),
    "speech": lambda tool: {"text", "voice"} <= tool.parameters,
    "models": lambda tool: not tool.parameters and stem("models") in tool.name_stems,
}


Likeness = Callable[[Descriptor], float]


@dataclass(frozen=True, slots=True)
class Chosen:
    tool: Descriptor
    score: float


class Index:
    """The tools of one moment, prepared for comparison. Immutable: a new list makes a new index.

    wants_meaning: whether there is a tool whose choice likeness would help.
    """

    def __init__(self, tools: Sequence[Descriptor]) -> None:
        self.tools = tuple(tools)
        self._served = {tool.name: frozenset(want for want, serves in SERVES.items() if serves(tool)) for tool in tools}
        self.wants_meaning = not all(self._served.values())
        count = Counter(word for tool in tools for word in tool.name_stems | tool.description_stems)
        self._rarity = {word: math.log(1 + len(tools) / seen) for word, seen in count.items()}

    def select(
        self,
        query: str,
        *,
        limit: int,
        allowed: Collection[str] | None = None,
        likeness: Likeness | None = None,
    ) -> list[Chosen]:
        """The tools that the query needs, the surest first, at most `limit`; none for what needs none.

        allowed: names that may be offered; None: all. likeness: cosine of the query to a tool, where it is known.
        """
        text = folded(looked_at(query))
        asked = Question.of(text)
        shown = signals(asked)
        words = stems(text)
        chosen = []
        for tool in self.tools:
            if allowed is not None and tool.name not in allowed:
                continue
            served = self._served[tool.name]
            signal = max((shown.get(want, 0.0) for want in served), default=0.0)
            word = self._words(tool, words) * (ABOUT if asked.about else 1.0)
            if served:
                score, enough = signal + min(word, WORDS), ENOUGH
            else:
                meaning = _meaning(likeness(tool)) if likeness is not None and word else 0.0
                score, enough = word + meaning, UNSIGNALLED
            if score >= enough:
                chosen.append(Chosen(tool, round(score, 3)))
        return sorted(chosen, key=lambda choice: (-choice.score, choice.tool.name))[:limit]

    def _words(self, tool: Descriptor, words: Sequence[str]) -> float:
        known = set(words)
        found = [phrase for phrase in tool.phrases if known.issuperset(phrase) and _stands_in(phrase, words)]
        score = sum(PHRASE if len(phrase) > 1 else KEYWORD for phrase in found)
        if tool.name_stems and known >= tool.name_stems:
            score += NAME
        return score + DESCRIPTION * self._share(tool, known)

    def _share(self, tool: Descriptor, known: Collection[str]) -> float:
        telling = sum(self._rarity.get(word, 0.0) for word in known)
        met = sum(self._rarity.get(word, 0.0) for word in known if word in tool.description_stems)
        return met / telling if telling else 0.0


def looked_at(query: str) -> str:
    if len(query) <= HEAD_CHARS + TAIL_CHARS:
        return query
    return f"{query[:HEAD_CHARS]}\n{query[-TAIL_CHARS:]}"


def _stands_in(phrase: Phrase, words: Sequence[str]) -> bool:
    size = len(phrase)
    return size == 1 or any(tuple(words[at : at + size]) == phrase for at in range(len(words) - size + 1))


def _meaning(cosine: float) -> float:
    return MEANING * min(1.0, max(0.0, (cosine - LIKENESS_FROM) / (LIKENESS_TO - LIKENESS_FROM)))
