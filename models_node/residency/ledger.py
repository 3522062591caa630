"""The memory ledger: what each model holds of the budget, from the first reservation until it is seen to be gone, and
what others of the node hold beside them.

Reserve the estimate, load, measure, correct; release only when the memory is free again. What was measured is
remembered for the next reservation, so that a wrong estimate is wrong once.
"""

from __future__ import annotations

from collections.abc import Mapping

MARGIN = 1.05  # a measured engine may still grow a little: its next reservation leaves room for it
OUT_OF_MEMORY_FACTOR = 1.25  # after a load that ran out of memory the next one reserves that much more


class Ledger:
    """Bytes, all of them. `estimates`: what each model is thought to need before it was ever measured."""

    def __init__(self, budget_bytes: int, estimates: Mapping[str, int]) -> None:
        self.budget_bytes = budget_bytes
        self.shared_bytes = 0  # pages that all engines share with the process they were forked from, once
        self._expected = dict(estimates)
        self._charged: dict[str, int] = {}
        self._measured: dict[str, int] = {}
        self._holders: dict[str, int] = {}

    @property
    def held_bytes(self) -> int:
        return self.shared_bytes + sum(self._charged.values()) + self.holders_bytes

    @property
    def holders_bytes(self) -> int:
        """What others than engines hold."""
        return sum(self._holders.values())

    @property
    def free_bytes(self) -> int:
        """Negative when something grew beyond its reservation, or a holder had taken its memory already."""
        return self.budget_bytes - self.held_bytes

    def charged(self, model: str) -> int:
        return self._charged.get(model, 0)

    def measured(self, model: str) -> int | None:
        """Its last measurement, also from an earlier load."""
        return self._measured.get(model)

    def expected(self, model: str) -> int:
        """What its next load will reserve."""
        return self._expected[model]

    @property
    def usable_bytes(self) -> int:
        """What engines can ever have of the budget. Holders are not counted: they may leave."""
        return self.budget_bytes - self.shared_bytes

    def reserve(self, model: str, more_bytes: int) -> None:
        """Beyond what it holds already (as a sleeper)."""
        self._charged[model] = self.charged(model) + more_bytes

    def correct(self, model: str, measured_bytes: int) -> None:
        """What it really takes now. Does nothing for a model that holds nothing."""
        if model in self._charged:
            self._measured[model] = measured_bytes
            self._charged[model] = measured_bytes
            self._expected[model] = int(measured_bytes * MARGIN)

    def shrink(self, model: str, left_bytes: int) -> None:
        """It sleeps: so much of it is left in the memory that is budgeted."""
        if model in self._charged:
            self._charged[model] = left_bytes

    def release(self, model: str) -> None:
        """It is seen to be gone."""
        self._charged.pop(model, None)

    def ran_out(self, model: str) -> None:
        """Its load ran out of memory: it needs more than was thought."""
        self._expected[model] = int(self.expected(model) * OUT_OF_MEMORY_FACTOR)

    @property
    def holders(self) -> Mapping[str, int]:
        """Bytes by holder."""
        return dict(self._holders)

    def held_by(self, holder: str) -> int:
        return self._holders.get(holder, 0)

    def hold(self, holder: str, bytes_: int) -> None:
        """So much in all, in the place of what it held."""
        self._holders[holder] = bytes_

    def let_go(self, holder: str) -> None:
        self._holders.pop(holder, None)
