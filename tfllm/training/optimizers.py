"""Optimizers and learning-rate schedules for fine-tuning encoders."""

import keras


@keras.saving.register_keras_serializable("tfllm")
class LinearWarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises linearly from 0 to its peak, then falls linearly to 0.

    Args:
        peak: the highest learning rate.
        warmup_steps: the steps of the rise.
        total_steps: all steps.

    Reference:
        Devlin et al., 2019, "BERT", appendix A.2.

    Example:
        >>> schedule = LinearWarmupDecay(1.0, warmup_steps=2, total_steps=6)
        >>> [round(float(schedule(step)), 2) for step in (0, 1, 2, 4, 6)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    def __init__(self, peak: float, warmup_steps: int, total_steps: int) -> None:
        super().__init__()
        self.peak, self.warmup_steps, self.total_steps = peak, warmup_steps, total_steps

    def __call__(self, step):
        """Return the learning rate at a step."""
        step = keras.ops.cast(step, "float32")
        rising = step / max(self.warmup_steps, 1)
        falling = (self.total_steps - step) / max(self.total_steps - self.warmup_steps, 1)
        share = keras.ops.where(step < self.warmup_steps, rising, keras.ops.maximum(falling, 0.0))
        return self.peak * share

    def get_config(self) -> dict[str, float]:
        """Return the constructor's arguments."""
        return {"peak": self.peak, "warmup_steps": self.warmup_steps, "total_steps": self.total_steps}


def adamw(
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    *,
    weight_decay: float = 0.01,
    clip_norm: float | None = 1.0,
) -> keras.optimizers.AdamW:
    """Return AdamW as encoders are fine-tuned with: no decay of biases and layer norms, clipped by the global norm.

    Reference:
        Loshchilov and Hutter, 2019, "Decoupled weight decay regularization"; Devlin et al., 2019, released code.
    """
    optimizer = keras.optimizers.AdamW(
        learning_rate, weight_decay=weight_decay, epsilon=1e-8, global_clipnorm=clip_norm, name="adamw"
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "layer_norm", "/gamma", "/beta"])
    return optimizer
