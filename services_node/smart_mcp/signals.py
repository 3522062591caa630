"""What a question shows that it needs: arithmetic, code to run, the clock, a page, what was said before, this
installation's runs, flows and models, a voice. Which tools serve a want is told by `selection`; no tool is named here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from services_node.smart_mcp import patterns as p
from services_node.smart_mcp.question import Question

Want = Literal["arithmetic", "code", "clock", "page", "past", "run", "flow_start", "flow_state", "models", "speech"]

SURE = 1.0  # enough alone
LIKELY = 0.6  # with some word of the tool's own
FAINT = 0.3
PROBLEM_WORDS = 60  # longer texts with figures are documents or stories


def signals(q: Question) -> Mapping[Want, float]:
    """How surely each want is shown; wants that are not shown are left out, so small talk gives nothing."""
    start, state = _flow(q)
    weights: dict[Want, float] = {
        "arithmetic": _arithmetic(q),
        "code": 0.0 if start == SURE else _code(q),
        "clock": _clock(q),
        "page": _page(q),
        "past": _past(q),
        "run": _run(q),
        "flow_start": start,
        "flow_state": state,
        "models": _models(q),
        "speech": _speech(q),
    }
    return {want: weight for want, weight in weights.items() if weight > 0}


def _arithmetic(q: Question) -> float:
    if any(p.span(part) and _dates_apart(part) for part in q.sentences):
        return SURE
    if q.snippet or q.file or q.given:
        return 0.0
    return max((_reckoned(part, q.about) for part in q.bare), default=0.0) or _problem(q)


def _problem(q: Question) -> float:
    """A word problem, or a decision that hangs on sums: several figures in a few sentences, and a question."""
    text = " ".join(q.bare)
    if q.about or len(text.split()) > PROBLEM_WORDS or len(p.NUMBER.findall(text)) < 2:
        return 0.0
    figures = p.money(text) or p.percent(text) or p.rate(text)
    return SURE if p.weighed(text) and (figures or p.quantity(text)) else 0.0


def _dates_apart(text: str) -> bool:
    """Two dates, or one and so many days from it."""
    dates = len(p.DATE.findall(text))
    return dates >= 2 or (dates == 1 and p.days_from(text))


def _reckoned(text: str, about: bool) -> float:
    numbers = len(p.NUMBER.findall(text))
    if not numbers:
        return 0.0
    if p.operation(text) and not (about and numbers < 2):
        return LIKELY if about else SURE
    if about:
        return LIKELY if p.percent(text) and numbers > 1 else 0.0
    if p.reckoning_words(text) or (p.measure(text) and p.to_unit(text)):
        return SURE
    if p.percent(text) or p.quantity(text) or p.money_matters(text):
        if numbers > 1 and (p.percent(text) or p.quantity(text) or p.wants_result(text)):
            return SURE
        return LIKELY if p.percent(text) or p.money(text) else 0.0
    return 0.0


def _code(q: Question) -> float:
    runs, noun, plot = p.run_verb(q.text), p.code_noun(q.text), p.plot(q.text)
    if q.snippet and (runs or p.outcome(q.text) or (noun and not q.about)):
        return SURE
    if q.given and p.data_work(q.text):
        return SURE
    if q.about:
        return LIKELY if q.snippet else 0.0
    if (runs and noun) or (q.file and p.data_work(q.text)) or p.heavy(q.text):
        return SURE
    if plot:
        return SURE if q.file or p.NUMBER.search(q.text) else LIKELY
    return LIKELY if q.snippet else 0.0


def _clock(q: Question) -> float:
    if any(p.clock(part) for part in q.sentences):
        return SURE
    return FAINT if not q.about and any(p.clock_perhaps(part) for part in q.sentences) else 0.0


def _page(q: Question) -> float:
    if p.ADDRESS.search(q.text):
        return LIKELY if q.snippet else SURE
    found = p.BARE_ADDRESS.search(q.text)
    if found is None or q.snippet:
        return 0.0
    return SURE if p.page_words(q.text) or "/" in found[0] else LIKELY


def _past(q: Question) -> float:
    if any(p.said_before(part) for part in q.sentences):
        return SURE
    return LIKELY if any(p.said_perhaps(part) for part in q.sentences) and not q.about else 0.0


def _run(q: Question) -> float:
    if q.has_run_id:
        return 0.0 if p.flow_noun(q.text) else SURE
    return SURE if any(p.run_noun(part) and p.run_ask(part) for part in q.sentences) else 0.0


def _flow(q: Question) -> tuple[float, float]:
    """(start one, ask how one stands)"""
    told = next((part for part in q.sentences if p.flow_noun(part)), None)
    if told is None or (q.about and not q.has_run_id):
        return 0.0, 0.0
    if p.flow_state(told):
        return 0.0, SURE
    if p.flow_verb(told):
        return SURE, 0.0
    return (0.0, SURE) if q.has_run_id else (LIKELY, LIKELY)


def _models(q: Question) -> float:
    if q.has_run_id:
        return 0.0
    found = any(p.models_noun(part) and p.models_ask(part) and not p.other_models(part) for part in q.sentences)
    return SURE if found else 0.0


def _speech(q: Question) -> float:
    if not any(p.aloud(part) for part in q.sentences):
        return 0.0
    return LIKELY if q.about else SURE
