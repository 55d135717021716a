import numpy as np
import pytest
import tensorflow as tf

from tfllm.data.cleaning import TextCleaner
from tfllm.errors import ConfigError
from tfllm.presets import load_encoder
from tfllm.tasks.added_tokens import ENTITY_MARKS, grow_embeddings
from tfllm.tasks.preprocessing import TextPreprocessor


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("micro_bert")


def ids_of(preprocess, text):
    return preprocess(tf.constant([text]))["token_ids"].numpy()[0].tolist()


def test_marks_are_whole_tokens_after_those_of_the_tokenizer(encoder):
    preprocess = TextPreprocessor(encoder.tokenizer)
    plain = ids_of(preprocess, "the film was good")
    size = encoder.tokenizer.vocabulary_size()
    assert preprocess.add_tokens(ENTITY_MARKS) == size + 4
    marked = ids_of(preprocess, "the <e1>film</e1> was<e2> good</e2>")
    assert [token for token in marked if token < size] == plain
    assert [token - size for token in marked if token >= size] == [0, 1, 2, 3]
    assert ids_of(preprocess, "the film was good") == plain


@pytest.mark.parametrize("text", ["<E1>", "< e1>", "<e3>", "e1"])
def test_what_looks_alike_is_no_mark(encoder, text):
    preprocess = TextPreprocessor(encoder.tokenizer)
    preprocess.add_tokens(ENTITY_MARKS)
    assert max(ids_of(preprocess, text)) < encoder.tokenizer.vocabulary_size()


def test_a_cleaner_that_takes_the_marks_away(encoder):
    with pytest.raises(ConfigError, match="html_tags"):
        TextPreprocessor(encoder.tokenizer, cleaner=TextCleaner(html_tags=True)).add_tokens(ENTITY_MARKS)


def test_a_grown_table_keeps_what_it_had(encoder):
    size = encoder.backbone.vocabulary_size
    grown = grow_embeddings(encoder.backbone, size + 4)
    assert grown.vocabulary_size == size + 4
    before, after = (backbone.token_embedding.embeddings.numpy() for backbone in (encoder.backbone, grown))
    np.testing.assert_array_equal(after[:size], before)
    assert np.abs(after[size:] - before.mean(axis=0)).max() < before.std()
    assert grow_embeddings(grown, size) is grown
