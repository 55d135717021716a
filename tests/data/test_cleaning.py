import itertools
import json
import unicodedata

import pytest
import snowballstemmer
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tfllm.data.cleaning import TextCleaner
from tfllm.errors import ConfigError, DataError, UnknownSetting

OFF = {"control_characters": False, "whitespace": False}
EVERYTHING = {
    "html_tags": True,
    "html_entities": True,
    "unicode_form": "NFKC",
    "urls": True,
    "lowercase": True,
    "max_repeats": 2,
    "stop_words": ("the", "über"),
}
ODD = (
    "",
    " ",
    "\0",
    "a\0b",
    "👩‍👩‍👧‍👦 🇩🇪 ❤️",
    "שלום עולם",
    "\u202eright to left\u202c",
    "e\u0301" * 30,
    "日本語テキスト",
    "&" * 200,
    "<" * 200,
    "&#x110000; &#xd800; &#0;",
    "<script>",
    "x" * 10_000,
    "é 😀 " * 2_500,
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def clean(text, **settings):
    return TextCleaner(**{**OFF, **settings}).clean([text])[0]


@pytest.mark.parametrize(
    ("setting", "text", "expected"),
    [
        ({"html_tags": True}, "<p class='x'>a<br/>b</p>", " a b "),
        ({"html_tags": True}, "a<script>x < y</script>b<STYLE a>\n.c{}</style >c<!-- <b>\n-->d", "a b c d"),
        ({"html_tags": True}, "<!DOCTYPE html>1 < 2 and 3 > 2, I <3 U, a<b", " 1 < 2 and 3 > 2, I <3 U, a<b"),
        ({"html_tags": True}, "&lt;b&gt;", "&lt;b&gt;"),
        (
            {"html_tags": True},
            "<B>un</b>believ<a href='x'>able</a><br>x<sub>2</sub><blink>!</blink>",
            "unbelievable x2 ! ",
        ),
        ({"html_tags": True}, "a<body>b<iframe src=x>c<basefont/>d", "a b c d"),
        ({"html_entities": True}, "fish &amp; chips&#33; &lt;b&gt;", "fish & chips! <b>"),
        ({"html_tags": True, "html_entities": True}, "<p>&lt;b&gt;</p>", " <b> "),
        ({"unicode_form": "NFC"}, "e\u0301 ﬁ", "é ﬁ"),
        ({"unicode_form": "NFD"}, "é ﬁ", "e\u0301 ﬁ"),
        ({"unicode_form": "NFKC"}, "e\u0301 ﬁ ①", "é fi 1"),
        ({"unicode_form": "NFKD"}, "é ﬁ", "e\u0301 fi"),
        ({"urls": True}, "see https://example.org/a?b=c#d, (www.example.org). HTTP://X.ORG!", "see  , ( ).  !"),
        ({"urls": True}, "ahttps://x.org www. me@example.org", "ahttps://x.org www. me@example.org"),
        ({"control_characters": True}, "a\0b\x1b\x7f\x9fc\t\n\r\x0b\x0c\x85d", "abc\t\n\r\x0b\x0c\x85d"),
        ({"lowercase": True}, "ÀÉ ΟΔΟΣ ПРИВЕТ Straße", "àé οδος привет straße"),
        ({"max_repeats": 1}, "aabbb  cc", "ab c"),
        ({"max_repeats": 2}, "soooo!!! 😀😀😀 ooo", "soo!! 😀😀 oo"),
        ({"whitespace": True}, " \t a\u00a0\u2003\u3000b\n\x0b\x0c\x85c ", "a b c"),
        ({}, " A\x01&amp;<b>\u00a0\n", " A\x01&amp;<b>\u00a0\n"),
    ],
)
def test_each_setting_alone(setting, text, expected):
    assert clean(text, **setting) == expected


def test_by_default_only_control_characters_and_space_change():
    assert TextCleaner().clean([" A\x00&amp; <b>\n\n\u00a0é "]) == ["A&amp; <b> é"]


@pytest.mark.parametrize(
    "name", ["html_tags", "html_entities", "urls", "lowercase", "unicode_form", "max_repeats", "stop_words", "stem"]
)
def test_a_nul_character_does_not_end_the_text(name):
    value = {"unicode_form": "NFKC", "stop_words": ["the"], "stem": "english", "max_repeats": 9}.get(name, True)
    for text in ("a\0b", "\0a b\0"):
        assert clean(text, **{name: value}) == text.replace("\0", "")


def test_a_form_feed_separates_words():
    assert TextCleaner().clean(["page one\x0cpage two\x0bend"]) == ["page one page two end"]


@pytest.mark.parametrize(
    ("words", "text", "expected"),
    [
        (["the"], "The cat, the dog; THE END", "cat, dog; END"),
        (["the", "of"], "the the of the the cat of the of", "cat"),
        (["the"], "other then breathe", "other then breathe"),
        (["über", "Öl"], "Über das Öl, überall", "das , überall"),
        (["don't", "it"], "I don't, it's it", "I , it's"),
        (["don"], "don't don’t don", "don't don’t"),
        (["a.b", "c++"], "a.b axb c++ c", "axb c"),
        (["of the"], "end of the day of", "end day of"),
        (["и"], "и мир и и дом", "мир дом"),
        (["cafe"], "cafe\u0301 cafe", "cafe\u0301"),
        (["the"], "cafe\u0301the the", "cafe\u0301the"),
        (["क"], "की क कि", "की कि"),
        (["straße"], "Straße STRASSE", "STRASSE"),
    ],
)
def test_stop_words(words, text, expected):
    assert TextCleaner(stop_words=words).clean([text]) == [expected]


def cut_runs(text, most):
    return "".join("".join(itertools.islice(run, most)) for _, run in itertools.groupby(text))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text("ab😀é", max_size=12), max_size=4), st.integers(1, 4))
@example(["aaa", "aaa", "", "a"], 2)
def test_max_repeats_is_what_python_says(texts, most):
    assert TextCleaner(**OFF, max_repeats=most).clean(texts) == [cut_runs(text, most) for text in texts]


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
@settings(max_examples=25, deadline=None)
@given(text=st.text(st.characters(min_codepoint=1, max_codepoint=0x2FFF, exclude_categories=["Cs", "Cn"]), max_size=20))
def test_unicode_forms_are_what_python_says(form, text):
    assert clean(text, unicode_form=form) == unicodedata.normalize(form, text)


@settings(max_examples=50, deadline=None)
@given(TEXTS)
def test_whitespace_is_what_python_says(text):
    printable = "".join(c for c in text if c.isspace() or unicodedata.category(c) != "Cc")
    separators = str.maketrans("", "", "\x1c\x1d\x1e\x1f")  # control characters that Python takes for space
    assert TextCleaner().clean([text]) == [" ".join(printable.translate(separators).split())]


@pytest.mark.parametrize("settings", [{}, OFF, EVERYTHING], ids=["default", "off", "everything"])
def test_one_result_eager_in_a_function_and_in_a_pipeline(settings):
    cleaner = TextCleaner(**settings)
    texts = tf.constant([*ODD, "The <b>Über</b> cat &amp; https://x.org soooo", b"\xff\xfe \xc3"])
    eager = cleaner(texts).numpy().tolist()
    compiled = tf.function(cleaner, input_signature=[tf.TensorSpec([None], tf.string)])
    assert compiled(texts).numpy().tolist() == eager
    for size in (1, 5):
        rows = tf.data.Dataset.from_tensor_slices(texts).batch(size).map(cleaner).unbatch()
        assert list(rows.as_numpy_iterator()) == eager


@pytest.mark.parametrize("settings", [{}, EVERYTHING, {"stem": "english"}], ids=["default", "everything", "stem"])
@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
def test_odd_texts_do_not_raise(settings, text):
    (cleaned,) = TextCleaner(**settings).clean([text])
    assert TextCleaner(**settings).clean(["before", text, "after"])[1] == cleaned


@settings(max_examples=5, deadline=None)
@given(st.lists(st.binary(max_size=20), min_size=20, max_size=40))
def test_any_bytes_give_valid_text(texts):
    assert len(TextCleaner(**EVERYTHING).clean(texts)) == len(texts)


def test_what_is_not_utf8_becomes_the_replacement_character():
    assert clean(b"a\xffb") == "a\ufffdb"
    assert "\ufffd" in clean("a\ud83db")


@pytest.mark.parametrize("settings", [{}, EVERYTHING, {"stem": "english"}], ids=["default", "everything", "stem"])
def test_an_empty_batch(settings):
    assert TextCleaner(**settings).clean([]) == []
    result = tf.function(TextCleaner(**settings))(tf.constant([], tf.string))
    assert (result.shape, result.dtype) == ((0,), tf.string)


def test_one_text_instead_of_a_list():
    with pytest.raises(DataError, match="Expected a list of texts. Received: one text, 'hello'"):
        TextCleaner().clean("hello")


def test_stemming_is_what_snowball_says():
    words = "the runners were running quickly through happier generations don't".split()
    stemmer = snowballstemmer.stemmer("english")
    cleaner = TextCleaner(stem="english")
    assert cleaner.clean([" ".join(words)]) == [" ".join(stemmer.stemWords(words))]
    assert cleaner.clean(["running, (jumps) flies!"]) == ["run, (jump) fli!"]
    assert TextCleaner(stem="german").clean(["häuser"]) == snowballstemmer.stemmer("german").stemWords(["häuser"])


def test_stemming_works_in_a_pipeline_but_cannot_be_exported():
    cleaner = TextCleaner(stem="english")
    assert not cleaner.exportable
    assert TextCleaner(**EVERYTHING).exportable
    rows = tf.data.Dataset.from_tensors(["runs\0", "jumped"]).map(cleaner)
    assert rows.element_spec == tf.TensorSpec([2], tf.string)
    assert next(iter(rows)).numpy().tolist() == [b"run", b"jump"]


def test_the_settings_survive_as_plain_data():
    cleaner = TextCleaner(**EVERYTHING, stem="english")
    assert TextCleaner.from_config(json.loads(json.dumps(cleaner.get_config()))) == cleaner
    assert TextCleaner.from_config({}) == TextCleaner()
    assert TextCleaner(stop_words=["B", "a", "b"]) == TextCleaner(stop_words={"a", "b"})


def test_an_unknown_setting_names_the_close_match():
    with pytest.raises(UnknownSetting, match=r"Received: lower_case. Did you mean 'lowercase'\?"):
        TextCleaner.from_config({"lower_case": True})


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"unicode_form": "NFX"}, "Received: unicode_form='NFX'. Did you mean 'NFKD'|Did you mean"),
        ({"max_repeats": 0}, "Received: max_repeats=0"),
        ({"stem": "englisch"}, "Received: stem='englisch'. Did you mean 'english'"),
        ({"stop_words": "the"}, "Expected stop_words to be a list of words"),
        ({"stop_words": ["a", " "]}, "Expected stop_words to be a list of words"),
    ],
)
def test_wrong_settings(setting, message):
    with pytest.raises(ConfigError, match=message):
        TextCleaner(**setting)
