import keras

from tfllm.tasks.text_classifier import TextClassifier
from tfllm.training.fine_tuning import fine_tune
from tfllm.training.summaries import size_line


def test_tensorboard_reads_what_a_run_wrote(reviews, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    model = TextClassifier.from_preset("micro_bert", labels=["bad", "good"])
    history = fine_tune(
        model, reviews, validation_data=reviews, epochs=2, batch_size=8, run_dir=tmp_path, progress=False
    )
    for part, name in {"train": "loss", "validation": "val_loss"}.items():
        events = EventAccumulator(str(tmp_path / "tensorboard" / part), size_guidance={"tensors": 0}).Reload()
        tensors = events.Tensors("epoch_loss")
        assert [event.step for event in tensors] == [1, 2]
        written = [float(make_ndarray(event.tensor_proto)) for event in tensors]
        assert [round(value, 5) for value in written] == [round(row[name], 5) for row in history.epochs]


def test_the_size_counts_weights_gradients_and_moments():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(100_000)])
    model.compile(optimizer=keras.optimizers.Adam(name="adam"))
    model.optimizer.build(model.trainable_variables)
    assert size_line(model) == "400,000 weights, 400,000 of them learn; weights, gradients and adam take 6 MB."
