"""Does a claim hold? Rules that were fixed before the numbers were there.

A comparison is *decided* when its interval excludes the bound and all seeds agree on the side. A
claim is a conjunction of comparisons: it holds when each is decided in its favour, and does not
hold when any is decided against it. Over all claims of a page, decisions are kept where Holm
(1979) keeps them at a family-wise error of 5 %; a claim that was not run counts in the family.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mssim.metrics.hierarchy import Spread

Outcome = Literal["holds", "does not hold", "undecided", "not run"]
ALPHA = 0.05


@dataclass(frozen=True)
class Comparison:
    """A difference that is claimed to lie above or below a bound.

    Attributes:
        spread: Of the difference.
        bound: What is to be excluded: 0, or the margin.
        above: On which side of it the difference is claimed to lie.
        least: Seeds below which nothing is decided.
    """

    spread: Spread
    bound: float
    above: bool
    least: int = 2

    @property
    def outcome(self) -> Outcome:
        """What this comparison says by itself."""
        if self._decided(self.above):
            return "holds"
        return "does not hold" if self._decided(not self.above) else "undecided"

    @property
    def p_for(self) -> float:
        """Two-sided, of the claimed side."""
        return self.spread.p_value(self.bound, self.above)

    @property
    def p_against(self) -> float:
        """Two-sided, of the other side."""
        return self.spread.p_value(self.bound, not self.above)

    def _decided(self, above: bool) -> bool:
        interval, seeds = self.spread.interval(), self.spread.by_seed
        if len(seeds) < self.least:
            return False
        if above:
            return interval.low > self.bound and bool(np.all(seeds > self.bound))
        return interval.high < self.bound and bool(np.all(seeds < self.bound))


def claim_p(comparisons: Sequence[Comparison]) -> tuple[Outcome, float]:
    """What a claim's comparisons say together, and its p-value before Holm.

    All must speak for a claim: the largest p-value (intersection-union test). Any may speak against
    it: the smallest, times their number.
    """
    outcomes = [c.outcome for c in comparisons]
    if not outcomes:
        return "not run", 1.0
    if all(o == "holds" for o in outcomes):
        return "holds", max(c.p_for for c in comparisons)
    against = [c.p_against for c in comparisons if c.outcome == "does not hold"]
    if against:
        return "does not hold", min(1.0, min(against) * len(comparisons))
    return "undecided", 1.0


def verdicts(claims: Sequence[Sequence[Comparison]]) -> list[tuple[Outcome, float]]:
    """Each claim's outcome and p-value after Holm; a claim without comparisons was not run."""
    found = [claim_p(c) for c in claims]
    adjusted = holm([p for _, p in found])
    return [
        (outcome if outcome == "not run" or p <= ALPHA else "undecided", p)
        for (outcome, _), p in zip(found, adjusted, strict=True)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values (Holm 1979): p_(k) (m - k + 1), made to rise, at most 1."""
    order = np.argsort(p_values, kind="stable")
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order.tolist()):
        highest = max(highest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = highest
    return adjusted
