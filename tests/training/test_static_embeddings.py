import importlib

import keras
import numpy as np
import pytest

from tfllm.errors import ConfigError, DataError
from tfllm.tasks.masked_lm import MaskedLM
from tfllm.training.static_embeddings import METHODS, StaticEmbeddings, train_static_embeddings

# Animals stand beside animals, and tools beside tools, never the other way round.
CORPUS = ["cat dog cow cat cow dog"] * 60 + ["axe saw nail saw axe nail"] * 60
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "dog", "cow", "axe", "saw", "nail", "never"]
SIZES = {"layers": 1, "width": 8, "heads": 2, "max_length": 16}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return MaskedLM.from_scratch(VOCABULARY, **SIZES)


def train(model, corpus=CORPUS, **settings):
    return train_static_embeddings(
        model, corpus, **{"epochs": 60, "learning_rate": 0.2, "window": 2, "progress": False, **settings}
    )


@pytest.fixture(scope="module", params=METHODS)
def static(request, model):
    return train(model, method=request.param)


def nearness(static, first, second):
    a, b = (static.vectors[VOCABULARY.index(word)] for word in (first, second))
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def table_of(model):
    return keras.ops.convert_to_numpy(model.backbone.token_embedding.embeddings)


def test_tokens_that_stand_together_are_near(static):
    assert nearness(static, "cat", "dog") > nearness(static, "cat", "saw") + 0.5
    assert nearness(static, "axe", "nail") > nearness(static, "axe", "cow") + 0.5


def test_vectors_have_no_mean_and_tokens_that_never_come_have_none(static):
    seen = [VOCABULARY.index(word) for word in ("cat", "dog", "cow", "axe", "saw", "nail")]
    np.testing.assert_allclose(static.vectors[seen].mean(axis=0), 0, atol=1e-6)
    assert not np.delete(static.vectors, seen, axis=0).any()
    assert static.counts.tolist() == [0] * 5 + [120] * 6 + [0]


def test_the_same_seed_gives_the_same_vectors(model, static):
    again = train(model, method="skip_gram")
    other = train(model, method="skip_gram", seed=1)
    np.testing.assert_array_equal(again.vectors, train(model, method="skip_gram").vectors)
    assert not np.array_equal(again.vectors, other.vectors)


def test_a_text_is_the_mean_of_its_known_tokens(static):
    cat, dog = (static.vectors[VOCABULARY.index(word)] for word in ("cat", "dog"))
    vectors = static.encode_text(["cat dog", "never cat", "", "never"])
    np.testing.assert_allclose(vectors, [(cat + dog) / 2, cat, 0 * cat, 0 * cat], rtol=1e-5)
    np.testing.assert_array_equal(static.encode_text("cat"), cat)
    np.testing.assert_array_equal(static.encode_text(["cat"], "query"), [cat])
    with pytest.raises(ConfigError, match="passage"):
        static.encode_text("cat", "passage")
    many = static.encode_text(["never"] * 1_500 + ["cat", "dog"] * 700)
    np.testing.assert_array_equal(many[1_500:1_502], [cat, dog])
    assert not many[:1_500].any() and (many[-2:] == [cat, dog]).all()


def test_a_table_begins_with_them_at_its_own_scale(static):
    model = MaskedLM.from_scratch(VOCABULARY, **SIZES)
    before = table_of(model)
    static.initialize(model)
    after = table_of(model)
    np.testing.assert_array_equal(after[:5], before[:5])
    np.testing.assert_array_equal(after[-1], before[-1])
    lengths = np.linalg.norm(after[5:11], axis=1)
    np.testing.assert_allclose(lengths.mean(), np.linalg.norm(before, axis=1).mean(), rtol=1e-5)
    np.testing.assert_allclose(after[5:11] / after[5, 0], static.vectors[5:11] / static.vectors[5, 0], rtol=1e-4)


def test_they_are_stored_and_read_again(static, model, tmp_path):
    found = StaticEmbeddings.load(static.save(tmp_path / "new" / "words.npz"), model)
    np.testing.assert_array_equal(found.vectors, static.vectors)
    np.testing.assert_array_equal(found.counts, static.counts)
    with pytest.raises(DataError, match="which is not there"):
        StaticEmbeddings.load(tmp_path / "absent.npz", model)


def test_another_vocabulary_or_width_is_refused(static, tmp_path):
    other = MaskedLM.from_scratch([*VOCABULARY, "more"], **SIZES)
    wide = MaskedLM.from_scratch(VOCABULARY, **{**SIZES, "width": 16})
    with pytest.raises(ConfigError, match="a table of 13 x 8"):
        static.initialize(other)
    with pytest.raises(ConfigError, match="a table of 12 x 16"):
        static.initialize(wide)
    with pytest.raises(DataError, match="of another"):
        StaticEmbeddings.load(static.save(tmp_path / "words.npz"), other)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"method": "glove"}, "skip_gram"),
        ({"width": 0}, "width=0"),
        ({"negative": 0}, "negative=0"),
        ({"workers": 0}, "workers=0"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"min_count": 500}, "Expected a token that comes 500 times"),
    ],
)
def test_settings_out_of_range(model, settings, words):
    with pytest.raises(ConfigError, match=words):
        train(model, **settings)


def test_without_gensim_the_error_says_what_to_install(model, monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(f"No module named '{name}'", name="gensim")

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ConfigError, match=r"'gensim', which is not installed. .*tfllm\[static\]"):
        train(model)
