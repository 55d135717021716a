import numpy as np
import pytest
import tensorflow as tf

from tfllm.errors import ConfigError
from tfllm.exporting.parity import ODD_TEXTS
from tfllm.presets import load_encoder
from tfllm.tasks.preprocessing import TextPreprocessor

CLS, SEP = 2, 3


@pytest.fixture(scope="module")
def tokenizer():
    return load_encoder("micro_bert").tokenizer


def rows(tokens):
    return [
        ids[mask == 1].tolist()
        for ids, mask in zip(tokens["token_ids"].numpy(), tokens["padding_mask"].numpy(), strict=True)
    ]


def test_single_texts_are_framed_and_padded_to_the_longest(tokenizer):
    tokens = TextPreprocessor(tokenizer)(["good film", "", "bad"])
    film, good, bad = (tokenizer.token_to_id(word) for word in ("film", "good", "bad"))
    assert rows(tokens) == [[CLS, good, film, SEP], [CLS, SEP], [CLS, bad, SEP]]
    assert tokens["token_ids"].shape == (3, 4)
    assert not tokens["segment_ids"].numpy().any()


def test_a_long_text_loses_its_end(tokenizer):
    tokens = TextPreprocessor(tokenizer, max_length=6)(["good " * 50])
    assert rows(tokens)[0] == [CLS, *[tokenizer.token_to_id("good")] * 4, SEP]


def test_pairs_have_segments(tokenizer):
    tokens = TextPreprocessor(tokenizer)((["good film"], ["bad"]))
    assert rows(tokens)[0][3] == SEP and rows(tokens)[0][-1] == SEP
    assert tokens["segment_ids"].numpy().tolist() == [[0, 0, 0, 0, 1, 1]]


@pytest.mark.parametrize("first, second", [(40, 2), (2, 40), (40, 40), (5, 5), (0, 40), (7, 6)])
def test_of_a_pair_the_longer_loses_first(tokenizer, first, second):
    room = 13
    expected = [first, second]
    while sum(expected) > room:  # one token at a time from the longer one, as Hugging Face's longest_first does
        expected[0 if expected[0] > expected[1] else 1] -= 1
    tokens = TextPreprocessor(tokenizer, max_length=room + 3)((["good " * first], ["bad " * second]))
    ids = rows(tokens)[0]
    good, bad = tokenizer.token_to_id("good"), tokenizer.token_to_id("bad")
    assert [ids.count(good), ids.count(bad)] == expected
    assert len(ids) == sum(expected) + 3


def test_double_separator_for_roberta(tokenizer):
    class RobertaTokenizer(type(tokenizer)):
        pass

    vocabulary = tokenizer.get_vocabulary()
    tokens = TextPreprocessor(RobertaTokenizer(vocabulary=vocabulary, lowercase=True))((["good"], ["bad"]))
    assert rows(tokens)[0].count(SEP) == 3


def test_same_in_eager_function_and_dataset(tokenizer):
    preprocess = TextPreprocessor(tokenizer)
    texts = tf.constant(list(ODD_TEXTS))
    eager = preprocess(texts)
    traced = tf.function(preprocess)(texts)
    mapped = next(iter(tf.data.Dataset.from_tensors(texts).map(preprocess)))
    for name in eager:
        np.testing.assert_array_equal(eager[name], traced[name])
        np.testing.assert_array_equal(eager[name], mapped[name])


def test_empty_batch_has_no_rows(tokenizer):
    assert TextPreprocessor(tokenizer)(tf.constant([], tf.string))["token_ids"].shape[0] == 0


def test_too_short_maximum_is_refused(tokenizer):
    with pytest.raises(ConfigError, match="max_length"):
        TextPreprocessor(tokenizer, max_length=3)


@pytest.mark.slow
def test_token_ids_are_those_of_hugging_face(measuring_data):
    from tokenizers import Tokenizer

    from tfllm import presets

    folder = presets.packaged_folder("all_minilm_l6_v2_en")
    reference = Tokenizer.from_file(str(folder / "tokenizer.json"))
    reference.no_padding()
    reference.enable_truncation(128)
    texts = (measuring_data / "bert_sample_text" / "sample_text.txt").read_text("utf-8").splitlines()
    texts += (measuring_data / "sst2" / "dev.csv").read_text("utf-8").splitlines()
    texts += [text.decode("utf-8") for text in ODD_TEXTS if b"\xff" not in text and b"[SEP]" not in text]
    preprocess = TextPreprocessor(load_encoder("all_minilm_l6_v2_en").tokenizer)
    expected = [encoding.ids for encoding in reference.encode_batch(texts)]
    assert rows(preprocess(texts)) == expected
