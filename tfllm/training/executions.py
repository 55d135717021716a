"""Which steps run in one call of a compiled graph: `plan_executions`."""

from collections.abc import Sequence


def plan_executions(
    passes: Sequence[int], most: int, *, first_step: int = 0, ends_every: int | None = None
) -> list[range]:
    """Group the steps of an epoch.

    A step of several passes is alone.

    Args:
        passes: how many passes each step has.
        most: the most steps of a group.
        first_step: the number of the first of these steps in the epoch.
        ends_every: a group ends at each step whose number, counted from 1, is a multiple of this, or None.

    Returns:
        The numbers of the steps of each group.

    Example:
        >>> plan_executions([1, 1, 1, 2, 1], 2)
        [range(0, 2), range(2, 3), range(3, 4), range(4, 5)]
        >>> plan_executions([1, 1, 1, 1], 3, first_step=1, ends_every=3)
        [range(1, 3), range(3, 5)]
    """
    groups: list[range] = []
    for step, count in enumerate(passes, start=first_step):
        ended = not groups or len(groups[-1]) == most or (ends_every is not None and step % ends_every == 0)
        if ended or count > 1 or passes[groups[-1].start - first_step] > 1:
            groups.append(range(step, step + 1))
        else:
            groups[-1] = range(groups[-1].start, step + 1)
    return groups
