import unicodedata

import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tfllm.data.cleaning import TextCleaner
from tfllm.errors import ConfigError
from tfllm.exporting.parity import ODD_TEXTS
from tfllm.presets import load_encoder
from tfllm.tasks.preprocessing import TextPreprocessor
from tfllm.tasks.tokenizers.word_piece import normalize_cased, normalize_uncased

PIECES = st.sampled_from(
    [
        "good",
        "FILM",
        "déjà",
        "e\u0301\u0301",
        "😀",
        "👩‍👩‍👧",
        "❤\ufe0f",
        "日本語",
        "שלום",
        "مَرْحَبًا",
        "ΟΔΟΣ",
        "İ",
        "\u0344",
        "한국",
    ]
    + [
        "\t",
        "\n",
        "\r\n",
        " ",
        "\u3000",
        "\u2028",
        "\x0b",
        "\x85",
        "\x00",
        "\x07",
        "\u200d",
        "\u200b",
        "\ufeff",
        "\u202e",
    ]
    + [".", "'", "##", "[SEP]", "，", "x" * 101, "ﬁ", "½", "क्षि", "\U0001f1e9\U0001f1ea", "\ufffd", "\ue000"]
)
TEXTS = st.lists(
    st.one_of(
        st.lists(st.one_of(PIECES, st.text(max_size=3)), max_size=8).map("".join).map(str.encode),
        st.binary(max_size=12),
    ),
    min_size=1,
    max_size=4,
)


def make_tokenizer(*, lowercase):
    import keras_hub

    vocabulary = load_encoder("micro_bert").tokenizer.get_vocabulary()
    extra = [
        "é",
        "É",
        "##É",
        "日",
        "ש",
        "##ל",
        "ο",
        "δ",
        "##ο",
        "##δ",
        "##σ",
        "##ς",
        "i̇",
        "##́",
        "F",
        "##I",
        "##L",
        "##M",
    ]
    return keras_hub.models.BertTokenizer(vocabulary=[*vocabulary, *extra], lowercase=lowercase)


@pytest.fixture(scope="module", params=[True, False], ids=["uncased", "cased"])
def preprocess(request):
    return TextPreprocessor(make_tokenizer(lowercase=request.param), max_length=10_000)


def spans(preprocess, texts):
    """Tokens of each text: (token, start, end, begins a word, begins a word between white space)."""
    located = preprocess.locate_tokens(tf.constant(texts, tf.string))
    for part in located[1:]:
        assert part.row_splits.numpy().tolist() == located.ids.row_splits.numpy().tolist()
    vocabulary = preprocess.tokenizer.get_vocabulary()
    rows = zip(*(part.to_list() for part in located), strict=True)
    return [[(vocabulary[row[0]], *row[1:]) for row in zip(*parts, strict=True)] for parts in rows]


def test_places_are_code_points_of_the_text_as_sent():
    preprocess = TextPreprocessor(load_encoder("micro_bert").tokenizer)
    ids, starts, ends = preprocess.tokenize_with_offsets(["  The\x00 😀\tFI\u200dLM!", ""])
    assert ids.dtype == starts.dtype == ends.dtype == tf.int32
    the, unknown, film, mark = (preprocess.tokenizer.token_to_id(word) for word in ("the", "[UNK]", "film", "!"))
    assert ids.to_list() == [[the, unknown, film, mark], []]
    assert starts.to_list() == [[2, 7, 9, 14], []]
    assert ends.to_list() == [[5, 8, 14, 15], []]


def test_combining_marks_belong_to_the_character_before():
    preprocess = TextPreprocessor(load_encoder("micro_bert").tokenizer)
    (tokens,) = spans(preprocess, ["fine\u0301\u0302 poor".encode()])
    assert tokens == [("fine", 0, 6, True, True), ("poor", 7, 11, True, True)]


def test_word_starts():
    preprocess = TextPreprocessor(load_encoder("micro_bert").tokenizer)
    (tokens,) = spans(preprocess, ["don't 日本\n(ab)".encode()])
    assert [token[0] for token in tokens if token[3]] == ["d", "'", "t", "[UNK]", "[UNK]", "(", "a", ")"]
    assert [token[0] for token in tokens if token[4]] == ["d", "[UNK]", "("]


@settings(max_examples=150, deadline=None)
@given(TEXTS)
@example([text for text in ODD_TEXTS if len(text) < 1000])
def test_a_span_normalised_is_its_token(preprocess, texts):
    lowercase = preprocess.tokenizer.lowercase
    normalize = normalize_uncased if lowercase else normalize_cased
    for data, tokens in zip(texts, spans(preprocess, texts), strict=True):
        text = data.decode("utf-8", "replace")
        end_before = 0
        for token, start, end, begins_word, begins_by_space in tokens:
            assert 0 <= start < end <= len(text) and start >= end_before - 1
            assert begins_word or not begins_by_space
            assert begins_word == (not token.startswith("##") or token == "##")
            if token != "[UNK]":
                piece = normalize(tf.constant([text[start:end]])).numpy()[0].decode()
                if lowercase or not unicodedata.combining(piece[-1]):
                    assert piece.strip() == token.removeprefix("##" if not begins_word else "")
            end_before = end


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_ids_are_those_without_places(preprocess, texts):
    located = preprocess.locate_tokens(texts).ids.to_list()
    tokens = preprocess(texts)
    packed = zip(tokens["token_ids"].numpy(), tokens["padding_mask"].numpy(), strict=True)
    assert [ids[mask == 1][1:-1].tolist() for ids, mask in packed] == located


def test_white_space_need_not_be_cleaned():
    tokenizer = load_encoder("micro_bert").tokenizer
    preprocess = TextPreprocessor(tokenizer, cleaner=TextCleaner(whitespace=False, control_characters=False))
    (tokens,) = spans(preprocess, [b"  good \x07\t\n film\x0b "])
    assert [token[:3] for token in tokens] == [("good", 2, 6), ("film", 11, 15)]


def test_no_texts_and_no_characters():
    preprocess = TextPreprocessor(load_encoder("micro_bert").tokenizer)
    assert preprocess.locate_tokens(tf.constant([], tf.string)).ids.nrows() == 0
    assert preprocess.locate_tokens(["", "\x00"]).starts.to_list() == [[], []]


@pytest.mark.parametrize(
    "setting", [{"html_tags": True}, {"unicode_form": "NFC"}, {"lowercase": True}, {"max_repeats": 2}, {"urls": True}]
)
def test_a_cleaner_that_moves_text_is_refused(setting):
    preprocess = TextPreprocessor(load_encoder("micro_bert").tokenizer, cleaner=TextCleaner(**setting))
    with pytest.raises(ConfigError, match=f"Received: {next(iter(setting))}"):
        preprocess.require_offsets()
    with pytest.raises(ConfigError, match="followed back"):
        preprocess.tokenize_with_offsets(["good"])
