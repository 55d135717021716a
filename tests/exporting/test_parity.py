import numpy as np

from tfllm.exporting.parity import _tied_candidates


def outputs(tokens, scores):
    return {"token": np.array([[tokens]], object), "score": np.array([[scores]], "float32")}


def test_candidates_may_change_places_only_where_they_tie():
    want = outputs([b"a", b"b", b"c"], [0.5, 0.499999, 0.1])
    for tokens, same in (((b"b", b"a", b"c"), True), ((b"a", b"c", b"b"), False), ((b"x", b"b", b"c"), False)):
        assert _tied_candidates(want, outputs(tokens, [0.5, 0.499999, 0.1])).tolist() == [same], tokens
    clear = outputs([b"a", b"b", b"c"], [0.6, 0.3, 0.1])
    assert _tied_candidates(clear, outputs([b"a", b"b", b"d"], [0.6, 0.3, 0.1])).tolist() == [True]
    assert _tied_candidates(clear, outputs([b"b", b"a", b"c"], [0.6, 0.3, 0.1])).tolist() == [False]
    assert _tied_candidates({"score": np.zeros(2)}, {"score": np.zeros(2)}).tolist() == [False, False]
