"""The exponential moving average of the weights, put in the place of the weights for a while, or for good."""

import contextlib
from collections.abc import Iterator

import keras


def use_averages(model: keras.Model) -> None:
    """Give a model the averages that its optimizer kept, if it kept any."""
    for weight, average in _pairs(model):
        weight.assign(keras.ops.convert_to_numpy(average))


@contextlib.contextmanager
def averaged(model: keras.Model) -> Iterator[None]:
    """Let a model have its averages while the block runs, if its optimizer keeps any.

    Reference:
        Polyak and Juditsky, 1992, "Acceleration of stochastic approximation by averaging".
    """
    before = [(weight, keras.ops.convert_to_numpy(weight)) for weight, _ in _pairs(model)]
    use_averages(model)
    try:
        yield
    finally:
        for weight, value in before:
            weight.assign(value)


def _pairs(model: keras.Model) -> list[tuple[keras.Variable, keras.Variable]]:
    optimizer = inner_optimizer(model.optimizer)
    if not optimizer.averages:
        return []
    return list(zip(model.trainable_variables, optimizer.averages, strict=True))


def inner_optimizer(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Return the optimizer that updates: the inner one of a loss-scaling optimizer."""
    return getattr(optimizer, "inner_optimizer", optimizer)
