import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfllm.server.request_log_masking import mask, mask_part


@pytest.mark.parametrize(
    "text, masked",
    [
        ("write to Ada.Love+x@mail.example.co.uk!", "write to xxx.xxxx+x@xxxx.xxxxxxx.xx.xx!"),
        ("jürgen@exämple.de", "xжxxxx@xxжxxxx.xx"),
        ("+44 20 7946 0958", "+00 00 0000 0000"),
        ("call (030) 123-456-78 now", "call (000) 000-000-00 now"),
        ("4111 1111 1111 1111", "0000 0000 0000 0000"),
        ("4111111111111111", "0000000000000000"),
        ("IBAN DE89 3704 0044 0532 0130 00.", "IBAN xx00 0000 0000 0000 0000 00."),
        ("GB82WEST12345698765432", "xx00xxxx00000000000000"),
        ("gb82 west 1234 5698 7654 32", "xx00 xxxx 0000 0000 0000 00"),
        ("DE89370400440532013000 then pay", "xx00000000000000000000 then pay"),
        ("DE89 3704 0044 0532 0130 00 then pay", "xx00 0000 0000 0000 0000 00 then pay"),
        ("from 192.168.0.17 and 2001:db8::ff00:42:8329", "from 000.000.0.00 and 0000:xx0::xx00:00:0000"),
        ("born 1985-03-17", "born 0000-00-00"),
        ("https://ada:secret@example.com/x", "https://xxx:xxxxxx@xxxxxxx.xxx/x"),
        ("key sk-abcdefghijklmnop1234", "key xx-xxxxxxxxxxxxxxxx0000"),
    ],
)
def test_what_is_masked(text, masked):
    assert mask(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Where is my parcel? I ordered 2 of them on 17 May for 49.90.",
        "meet me @ five: it's 10:30 or 11:45:10",
        "version 1.2.3, chapter 12-14, C++::vector, a::b, ::",
        "order 123456",
        "The IBAN goes here, AB12 plus some words",
        "naïve café 東京 🙂",
    ],
)
def test_what_is_not(text):
    assert mask(text) == text


TEXTS = st.text(st.sampled_from("ab@.+- ()0123456789:/äß東😀DEGB٣\n"), max_size=60)


@given(TEXTS)
def test_a_masked_text_is_as_long_and_stays_as_it_is(text):
    masked = mask(text)
    assert len(masked) == len(text)
    assert len(masked.encode()) == len(text.encode())
    assert mask(masked) == masked
    assert [letter for letter in masked if not letter.isalnum()] == [letter for letter in text if not letter.isalnum()]


@given(TEXTS, st.data())
def test_no_part_shows_what_is_masked_in_its_text(text, data):
    start = data.draw(st.integers(0, len(text)))
    part = text[start : data.draw(st.integers(start, len(text)))]
    masked = mask(text)
    shown = mask_part(part, [(text, masked)])
    for place, letter in enumerate(masked[start : start + len(part)]):
        if letter != part[place]:
            assert shown[place] != part[place]


def test_parts_that_are_labels_stay():
    text = "card 4111 1111 1111 1111"
    texts = [(text, mask(text)), ("other", "other")]
    for part, shown in (("billing", "billing"), ("", ""), ("card", "card"), ("11 11", "00 00")):
        assert mask_part(part, texts) == shown
