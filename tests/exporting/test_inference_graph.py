import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from tfllm.exporting.encoder_weights import read_encoder, read_head
from tfllm.exporting.inference_graph import InferenceGraph
from tfllm.exporting.late_constants import LateConstants
from tfllm.exporting.packed_encoder import PackedEncoder
from tfllm.tasks.heads import Head

SIZES = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16, "max_sequence_length": 24}
BACKBONES = {
    "bert": lambda: keras_hub.models.BertBackbone(vocabulary_size=30, **SIZES),
    "distil_bert": lambda: keras_hub.models.DistilBertBackbone(vocabulary_size=30, **SIZES),
    "roberta": lambda: keras_hub.models.RobertaBackbone(vocabulary_size=30, **SIZES),
    "xlm_roberta": lambda: keras_hub.models.XLMRobertaBackbone(vocabulary_size=30, **SIZES),
    "electra": lambda: keras_hub.models.ElectraBackbone(vocab_size=30, embedding_dim=4, **SIZES),
    "albert": lambda: keras_hub.models.AlbertBackbone(vocabulary_size=30, embedding_dim=4, **SIZES),
}
LENGTHS = (3, 1, 24, 7, 7, 2, 19, 5)


@pytest.fixture(scope="module", params=BACKBONES)
def backbone(request):
    keras.utils.set_random_seed(0)
    made = BACKBONES[request.param]()
    for variable in made.weights:  # biases and norms are zeros and ones: a mistake in them would not show
        variable.assign_add(keras.random.normal(variable.shape, stddev=0.2))
    return made


def tokens_of(backbone, lengths=LENGTHS):
    random = np.random.default_rng(0)
    shape = (len(lengths), max(lengths))
    mask = (np.arange(shape[1]) < np.array(lengths)[:, None]).astype("int32")
    tokens = {"token_ids": random.integers(1, 30, shape).astype("int32") * mask, "padding_mask": mask}
    if "segment_ids" in backbone.input:
        tokens["segment_ids"] = random.integers(0, 2, shape).astype("int32") * mask
    return tokens


def pooled_by_keras(backbone, tokens, pooling, dense):
    output = backbone(tokens)
    sequence = np.asarray(output["sequence_output"] if isinstance(output, dict) else output)
    real = tokens["padding_mask"][:, :, None]
    pooled = {
        "cls": sequence[:, 0],
        "mean": (sequence * real).sum(1) / real.sum(1),
        "max": np.where(real, sequence, -np.inf).max(1),
        "tokens": sequence,
    }[pooling]
    answer = np.asarray(dense(pooled))
    return answer * real if pooling == "tokens" else answer


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "tokens"])
def test_it_is_the_keras_model(backbone, pooling):
    dense = keras.layers.Dense(3, activation="tanh", bias_initializer="normal")
    dense.build((None, 8))
    tokens = tokens_of(backbone)
    graph = InferenceGraph(read_encoder(backbone), Head(pooling, (dense,)), tokens_per_step=32)  # several steps
    want = pooled_by_keras(backbone, tokens, pooling, dense)
    np.testing.assert_allclose(graph(tokens), want, atol=1e-5)


@pytest.mark.parametrize("times", [1, 40])
def test_a_step_has_at_most_so_many_tokens(times):
    """However many texts there are; but for a longer text, which is alone."""

    class Areas(InferenceGraph):
        def _step(self, ids, positions, mask):  # every text is answered by the places of its step, padding included
            return tf.fill([tf.shape(mask)[0], 8], tf.cast(tf.size(mask), tf.float32))

    backbone, lengths = BACKBONES["bert"](), LENGTHS * times
    graph = Areas(read_encoder(backbone), Head("cls", ()), tokens_per_step=20)
    areas = graph(tokens_of(backbone, lengths)).numpy()[:, 0]
    assert all(area <= 20 if length <= 20 else area == length for length, area in zip(lengths, areas, strict=True))
    assert max(areas) == 24 and len(set(areas)) > 2


@pytest.mark.parametrize("lengths", [(1,), (6,), (7,), (24, 24, 24, 8), (24, 24, 24, 9), (24,) * 12])
def test_few_rows_and_many_go_the_same_way(lengths):
    """Of 7 to 80 tokens and of others, and of fewer and more texts in the last layer."""
    backbone = BACKBONES["bert"]()
    tokens = tokens_of(backbone, lengths)
    graph = InferenceGraph(read_encoder(backbone), Head("cls", ()))
    np.testing.assert_allclose(graph(tokens), backbone(tokens)["sequence_output"][:, 0], atol=1e-5)


def test_both_ways_have_the_same_weights():
    encoder = read_encoder(BACKBONES["bert"]())
    head = read_head(Head("mean", ()))
    spec = tf.TensorSpec([None, 8]), tf.TensorSpec([None, 2], tf.int32), tf.TensorSpec([None, None], tf.int32)

    def operators(dtype):
        run = tf.function(PackedEncoder(encoder, head, dtype, LateConstants(late=False)), input_signature=spec)
        nodes = run.get_concrete_function().graph.as_graph_def().node
        kernels = [
            node.name for node in nodes if node.op == "Const" and len(node.attr["value"].tensor.tensor_shape.dim) == 2
        ]
        return sum(node.op == "MatMul" for node in nodes), len(kernels)

    (products, kernels), (twice, shared) = operators(tf.bfloat16), operators(tf.float32)
    assert products == 2 * 4  # two layers
    assert twice == 2 * products
    assert shared == kernels


def test_an_answer_does_not_depend_on_its_neighbours(backbone):
    graph = InferenceGraph(read_encoder(backbone), Head("mean", ()))
    tokens = tokens_of(backbone)
    together = graph(tokens).numpy()
    order = np.random.default_rng(1).permutation(len(LENGTHS))
    np.testing.assert_allclose(graph({name: rows[order] for name, rows in tokens.items()}), together[order], atol=1e-5)
    for row, length in enumerate(LENGTHS):
        alone = graph({name: rows[row : row + 1, :length] for name, rows in tokens.items()})
        np.testing.assert_allclose(alone[0], together[row], atol=1e-5)


def test_a_batch_without_rows_and_a_row_without_tokens():
    backbone = BACKBONES["bert"]()
    graph = InferenceGraph(read_encoder(backbone), Head("cls", ()))
    assert graph({name: rows[:0] for name, rows in tokens_of(backbone).items()}).shape == (0, 8)
    nothing = {name: np.zeros((2, 5), "int32") for name in backbone.input}
    assert np.isfinite(graph(nothing)).all()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_short_precision_is_near(dtype):
    backbone = BACKBONES["bert"]()
    tokens = tokens_of(backbone)
    head = Head("mean", ())
    exact = InferenceGraph(read_encoder(backbone), head)(tokens)
    near = InferenceGraph(read_encoder(backbone), head, dtype=dtype)(tokens)
    assert 0 < np.abs(near - exact).max() < 0.1


def test_layer_norm_keeps_its_epsilon():
    """TensorFlow's rewriter has a form of layer normalisation that it fuses with an epsilon of its own, 1e-3."""
    backbone = BACKBONES["bert"]()
    backbone.token_embedding.embeddings.assign(backbone.token_embedding.embeddings * 1e-3)
    backbone.position_embedding.position_embeddings.assign(backbone.position_embedding.position_embeddings * 1e-3)
    backbone.segment_embedding.embeddings.assign(backbone.segment_embedding.embeddings * 1e-3)
    tokens = tokens_of(backbone)
    graph = InferenceGraph(read_encoder(backbone), Head("cls", ()))
    np.testing.assert_allclose(graph(tokens), backbone(tokens)["sequence_output"][:, 0], atol=1e-4)


def test_an_unknown_encoder_is_not_read():
    unknown = keras_hub.models.DebertaV3Backbone(vocabulary_size=30, bucket_size=4, **SIZES)
    assert read_encoder(unknown) is None
    assert tf.executing_eagerly()
