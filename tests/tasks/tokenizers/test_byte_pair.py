import keras_hub
import pytest
from families import TEXTS as FAMILY_TEXTS
from families import byte_pairs, micro_tokenizer
from hypothesis import example, given, settings
from hypothesis import strategies as st
from odd_texts import ODD, TEXTS
from tokenizers import Tokenizer, models, pre_tokenizers

from tfllm.data.cleaning import TextCleaner
from tfllm.errors import ConfigError
from tfllm.tasks.preprocessing import TextPreprocessor
from tfllm.tasks.tokenizers.byte_pair import LONGEST_WORD, BytePair

SPLITS = st.text(alphabet="aé日s'tredlvm 1٣\n\u3000\xa0!¿😀_", max_size=24).map(str.encode)


@pytest.fixture(scope="module")
def preprocess():
    return TextPreprocessor(
        micro_tokenizer("roberta"),
        max_length=10_000,
        cleaner=TextCleaner(whitespace=False, control_characters=False),
    )


@pytest.fixture(scope="module")
def reference():
    vocabulary, merges = byte_pairs()
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[tuple(merge.split(" ")) for merge in merges]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


def check(preprocess, reference, texts):
    plain = [text.decode("utf-8", "replace").replace("\x00", "") for text in texts]
    expected = [reference.encode(text, add_special_tokens=False).ids for text in plain]
    located = preprocess.locate_tokens(texts)
    assert located.ids.to_list() == expected
    tokens = preprocess(texts)
    packed = zip(tokens["token_ids"].numpy(), tokens["padding_mask"].numpy(), strict=True)
    assert [ids[mask == 1][1:-1].tolist() for ids, mask in packed] == expected
    return located


@settings(max_examples=150, deadline=None)
@given(TEXTS)
@example(ODD)
@example([text.encode() for text in FAMILY_TEXTS])
def test_ids_are_those_of_hugging_face(preprocess, reference, texts):
    check(preprocess, reference, texts)


@settings(max_examples=300, deadline=None)
@given(st.lists(SPLITS, min_size=1, max_size=6))
@example([b"it's 'tis !'s  's\n's 'll'd they'll 'stuff ''s 'r 're"])
def test_words_are_those_of_the_pattern(preprocess, reference, texts):
    check(preprocess, reference, texts)


@settings(max_examples=100, deadline=None)
@given(TEXTS)
@example(ODD)
def test_spans_are_the_tokens(preprocess, reference, texts):
    located = preprocess.locate_tokens(texts)
    for data, *row in zip(texts, *(part.to_list() for part in located), strict=True):
        text = data.decode("utf-8", "replace")
        covered = ""
        at = 0
        for _, start, end, begins_word, begins_by_space in zip(*row, strict=True):
            assert 0 <= start <= end <= len(text) and (begins_word or not begins_by_space)
            assert text[start:end] == text[start:end].strip(" \t\r\n\u3000\u2028\x0b\x85")
            covered += text[max(start, at) : end]
            at = max(at, end)
        assert "".join(covered.split()) == "".join(text.replace("\x00", "").split()) or "\x00" in text


def test_places(preprocess):
    (row,) = (
        list(zip(*parts, strict=True))
        for parts in zip(*(part.to_list() for part in preprocess.locate_tokens(["  good 😀\tfilm, it's"])), strict=True)
    )
    assert [start for _, start, _, _, by_space in row if by_space] == [2, 7, 9, 15]
    assert [start for _, start, _, word, _ in row if word] == [2, 7, 9, 13, 15, 17]


def test_a_long_word_is_cut(preprocess, reference):
    whole = "a" * LONGEST_WORD
    ids = preprocess.locate_tokens([whole * 2 + "a b"]).ids.to_list()[0]
    part, rest = (reference.encode(text, add_special_tokens=False).ids for text in (whole, "a b"))
    assert ids == [*part, *part, *rest]


def test_a_vocabulary_without_all_bytes_is_refused():
    tokenizer = keras_hub.tokenizers.BytePairTokenizer(vocabulary={"a": 0, "b": 1, "ab": 2}, merges=["a b"])
    with pytest.raises(ConfigError, match="256 bytes"):
        BytePair(tokenizer)


def test_a_space_before_each_text_is_refused():
    vocabulary, merges = byte_pairs()
    tokenizer = keras_hub.tokenizers.RobertaTokenizer(vocabulary=vocabulary, merges=merges, add_prefix_space=True)
    with pytest.raises(ConfigError, match="add_prefix_space"):
        BytePair(tokenizer)
