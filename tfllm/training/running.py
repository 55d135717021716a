"""A run from where its folder stands to its end."""

import contextlib
from collections.abc import Sequence

import keras
from rich.console import Console

from tfllm.training.callbacks import RunRecorder, should_stop
from tfllm.training.interruption import CheckpointSaver, Workers
from tfllm.training.loop import TrainingLoop
from tfllm.training.run_folder import RunFolder
from tfllm.training.summaries import TensorBoardLog


def go_on(
    loop: TrainingLoop,
    run: RunFolder,
    listeners: Sequence[keras.callbacks.Callback],
    *,
    patience: int | None = None,
    keep_best: bool = False,
) -> None:
    """Train to the end of the last epoch, and store the run on the way.

    Args:
        loop: the epochs, of a compiled model.
        run: where the run stands; its state is restored first.
        listeners: Keras callbacks to call as well.
        patience: stop after so many epochs without a better one, or None.
        keep_best: store the weights of the best epoch too.

    Raises:
        TrainingError: several workers do not share the run folder.
        NonFiniteLoss: the loss became NaN or infinite.
        Preempted: the process got SIGTERM; the run is stored.
    """
    model, config = loop.model, loop.config
    loop.build()
    position = run.position
    Workers(model.distribute_strategy).require_one_position(position, run.path)
    if position != (0, 0):
        run.checkpoints.restore(position, loop.state())
    recorder = RunRecorder(run, loop.arrays, monitor=model.monitor, patience=patience, keep_best=keep_best)
    with contextlib.ExitStack() as ending:
        ending.callback(recorder.draw)
        savers = []
        if run.lasting:  # SIGTERM is left alone where no state could be stored
            savers.append(_saver(loop, run))
            ending.callback(savers[0].close)
        if position[0] < config.epochs and not should_stop(run.history, model.monitor, patience):
            loop.run([recorder, *savers, *listeners], position)


def _saver(loop: TrainingLoop, run: RunFolder) -> CheckpointSaver:
    return CheckpointSaver(
        run,
        loop.arrays,
        steps=loop.config.checkpoint_steps,
        minutes=loop.config.checkpoint_minutes,
        strategy=loop.model.distribute_strategy,
    )


def run_listeners(run: RunFolder, epochs: int, *, progress: bool) -> list[keras.callbacks.Callback]:
    """Return the callbacks of a run that is stored; say where it goes on.

    Args:
        run: the run.
        epochs: how many it will have.
        progress: whether to say anything.
    """
    done, steps = run.position
    if progress and (done or steps):
        place = f"step {steps} of epoch {done + 1}" if steps else f"epoch {done}"
        Console(stderr=True).print(f"Continuing '{run.path}' after {place} of {epochs}.", soft_wrap=True)
    return [TensorBoardLog(run.path / "tensorboard")] if run.writes else []
