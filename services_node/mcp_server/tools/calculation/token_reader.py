"""Looking along the tokens: what comes next, and which unit is written there."""

from __future__ import annotations

from collections.abc import Sequence

from services_node.mcp_server.tools.calculation import measures
from services_node.mcp_server.tools.calculation.errors import NotUnderstood
from services_node.mcp_server.tools.calculation.functions import CONSTANTS
from services_node.mcp_server.tools.calculation.measures import Powers
from services_node.mcp_server.tools.calculation.reading import Token
from services_node.mcp_server.tools.calculation.vocabulary import SCALES

NO_UNITS = frozenset({"a", "as", "en", "x", "y", "and", "de", "of"})  # words that Pint would take for units
OPERATORS_AS_UNITS = frozenset({"degC", "degF"})


class TokenReader:
    """Stands at one token of many, the last of which is the `end`."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._at = 0

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    @property
    def _second(self) -> Token:
        return self._tokens[min(self._at + 1, len(self._tokens) - 1)]

    def _take(self, *meanings: str) -> bool:
        if self._next.meaning in meanings:
            self._at += 1
            return True
        return False

    def _expect(self, *meanings: str) -> None:
        if not self._take(*meanings):
            what = f"`{self._next.text}`" if self._next.kind != "end" else "the end"
            raise NotUnderstood(f"`{meanings[0]}` is missing before {what}.")

    def _skip_words(self) -> None:
        while self._next.meaning == "" or (self._next.folded == "a" and self._next.kind == "word"):
            self._at += 1

    def _unit_ahead(self) -> bool:
        token = self._next
        if token.meaning in OPERATORS_AS_UNITS:
            return True
        if token.folded == "in":  # inches, unless something to convert to follows
            after = self._second
            if after.meaning in OPERATORS_AS_UNITS or after.meaning == "":
                return False
            return after.kind != "word" or after.meaning is not None or measures.unit_named(after.text) is None
        if token.meaning is not None or token.folded in NO_UNITS or token.folded in CONSTANTS or token.folded in SCALES:
            return False
        if token.function and self._second.kind == "sign" and self._second.meaning == "(":
            return False
        return measures.unit_named(token.text) is not None

    def _unit(self) -> Powers | None:
        """The unit that begins here (`km`, `km/h`, `m^2`, `km por hora`), or None."""
        unit = self._one_unit()
        if unit is None:
            return None
        while True:
            start = self._at
            if self._take("/") or (self._next.folded in ("por", "per") and self._take("*", "/")):
                sign = -1
            elif self._take("*"):
                sign = 1
            else:
                return unit
            self._skip_words()
            following = self._one_unit()
            if following is None:
                self._at = start
                return unit
            unit = measures.joined(unit, following, sign)

    def _one_unit(self) -> Powers | None:
        token = self._next
        if token.kind != "word" or token.folded in NO_UNITS:
            return None
        if token.meaning in OPERATORS_AS_UNITS:
            found = measures.unit_named(token.meaning)
        elif token.function and self._second.meaning == "(":
            return None
        else:
            found = measures.unit_named(token.text)
        if found is None:
            return None
        self._at += 1
        return self._raised_unit(found)

    def _raised_unit(self, unit: Powers) -> Powers:
        if self._next.meaning in ("squared", "cubed"):
            exponent = 2 if self._next.meaning == "squared" else 3
            self._at += 1
            return measures.raised(unit, exponent)
        if self._next.meaning != "^" or self._next.kind != "sign":
            return unit
        negative = self._second.kind == "sign" and self._second.meaning == "-"
        number = self._tokens[min(self._at + (2 if negative else 1), len(self._tokens) - 1)]
        if number.kind != "number" or number.value.denominator != 1 or number.value > measures.MAX_EXPONENT:
            raise NotUnderstood("A unit's exponent is a small whole number.")
        self._at += 3 if negative else 2
        return measures.raised(unit, int(number.value) * (-1 if negative else 1))
