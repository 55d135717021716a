"""Learning-rate schedules: a warm-up, then a fall of some shape."""

import keras

_POWER = 2.0
"""The power of the polynomial."""


@keras.saving.register_keras_serializable("tfllm")
class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises linearly from 0 to its peak, then falls to 0 or stays.

    Args:
        peak: the highest learning rate.
        warmup_steps: the steps of the rise.
        total_steps: all steps.
        shape: of what is left, x from 1 to 0: "linear" x; "cosine" (1 - cos(pi x)) / 2; "polynomial" x squared;
            "constant" 1.

    Reference:
        Devlin et al., 2019, "BERT", appendix A.2 (linear); Loshchilov and Hutter, 2017, "SGDR" (cosine).

    Example:
        >>> schedule = WarmupDecay(1.0, warmup_steps=2, total_steps=6)
        >>> [round(float(schedule(step)), 2) for step in (0, 1, 2, 4, 6)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    def __init__(self, peak: float, warmup_steps: int, total_steps: int, shape: str = "linear") -> None:
        super().__init__()
        self.peak, self.warmup_steps, self.total_steps, self.shape = peak, warmup_steps, total_steps, shape

    def __call__(self, step):
        """Return the learning rate at a step."""
        step = keras.ops.cast(step, "float32")
        rising = step / max(self.warmup_steps, 1)
        left = (self.total_steps - step) / max(self.total_steps - self.warmup_steps, 1)
        falling = self._fall(keras.ops.clip(left, 0.0, 1.0))
        return self.peak * keras.ops.where(step < self.warmup_steps, rising, falling)

    def _fall(self, left):
        if self.shape == "cosine":
            return 0.5 - 0.5 * keras.ops.cos(keras.ops.array(3.141592653589793, "float32") * left)
        if self.shape == "constant":
            return keras.ops.ones_like(left)
        return left**_POWER if self.shape == "polynomial" else left

    def get_config(self) -> dict[str, float | str]:
        """Return the constructor's arguments."""
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
            "shape": self.shape,
        }
