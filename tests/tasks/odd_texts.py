"""Odd texts for tests of tokenizers: emoji, combining marks, many scripts, white space, control and invalid bytes."""

from hypothesis import strategies as st

from tfllm.exporting.parity import ODD_TEXTS

ODD = [text for text in ODD_TEXTS if len(text) < 1000]

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
