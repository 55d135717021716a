"""What the steps of an epoch have to do: rows, tokens and padding, for progress bars and speeds."""

from collections.abc import Sequence

import numpy as np

Counts = Sequence[int] | np.ndarray


class EpochWork:
    """The work of an epoch's steps, from where it begins, or goes on after a stop.

    Callbacks find it in their parameters, as `self.params["work"]`.

    Args:
        rows: the rows of each step, int `(steps,)`.
        tokens: their tokens, int `(steps,)`.
        positions: what is computed for them, padding included, int `(steps,)`.
        first_step: the number of the first of these steps in the epoch.
        rows_before: the rows of the steps before it.

    Attributes:
        steps: the steps of the whole epoch.
        all_rows: the rows of the whole epoch.

    Example:
        >>> work = EpochWork([2, 1], [6, 9], [10, 10], first_step=2, rows_before=4)
        >>> work.steps, work.all_rows, work.rows_done(2)
        (4, 7, 6)
    """

    def __init__(
        self, rows: Counts, tokens: Counts, positions: Counts, *, first_step: int = 0, rows_before: int = 0
    ) -> None:
        sums = np.cumsum([rows, tokens, positions], axis=1)
        self._sums = np.pad(sums, ((0, 0), (1, 0)))  # before the first step, and after each
        self.first_step, self.rows_before = first_step, rows_before
        self.steps = first_step + len(rows)
        self.all_rows = rows_before + int(self._sums[0, -1])

    def rows_done(self, step: int) -> int:
        """Return the rows of the epoch that are done after a step; after `first_step - 1`, those before."""
        return self.rows_before + int(self._sums[0, step + 1 - self.first_step])

    def speed(self, step: int, seconds: float) -> dict[str, float]:
        """Return how fast the steps up to this one were.

        Args:
            step: the step's number in the epoch; `first_step - 1` where none was left to do.
            seconds: how long these steps took, those before `first_step` left out.

        Returns:
            `examples_per_second`, `tokens_per_second` (without padding) and `padding`, its share of what was computed.

        Example:
            >>> EpochWork([2, 1], [6, 9], [10, 10]).speed(1, 0.5)
            {'examples_per_second': 6.0, 'tokens_per_second': 30.0, 'padding': 0.25}
        """
        rows, tokens, positions = self._sums[:, step + 1 - self.first_step].tolist()
        return {
            "examples_per_second": round(rows / seconds, 1),
            "tokens_per_second": round(tokens / seconds, 1),
            "padding": round(1 - tokens / positions, 4) if positions else 0.0,
        }
