"""Tags of words as entities, in TensorFlow: valid BIO, merged spans, offsets, and the words themselves."""

import tensorflow as tf

from tfllm.tasks.words import Words

Outputs = dict[str, tf.Tensor]


def bio_spans(scores: tf.Tensor, words: Words) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Find the entities in words whose tags are O, B-x, I-x, B-y, I-y, ...

    The most probable tag of each word counts. An I- that continues nothing of its type begins an entity, as in the
    evaluation of CoNLL-2000.

    Args:
        scores: probabilities of the tags, float32 `(words, tags)`.
        words: the words.

    Returns:
        For each word the number of its entity, int32 `(words,)`, -1 for none; for each word the type that its tag says,
        int32 `(words,)`; and the probability of being in an entity of that type, float32 `(words,)`.
    """
    tag = tf.argmax(scores, axis=-1, output_type=tf.int32)  # (words,)
    kind = (tag - 1) // 2  # -1 for O
    inside = tag > 0
    row = words.tokens.value_rowids()
    before_kind, before_row = _before(kind, -1), _before(row, -1)
    continues = (tag % 2 == 0) & inside & (before_kind == kind) & (before_row == row)
    begins = inside & ~continues
    entity = tf.where(inside, tf.cumsum(tf.cast(begins, tf.int32)) - 1, -1)
    place = tf.stack([2 * tf.maximum(kind, 0) + 1, 2 * tf.maximum(kind, 0) + 2], axis=-1)
    return entity, kind, tf.reduce_sum(tf.gather(scores, place, axis=1, batch_dims=1), axis=-1)


def _before(values: tf.Tensor, first: int) -> tf.Tensor:
    """Return at each place the value before it, and `first` at the first one."""
    return tf.concat([tf.constant([first], values.dtype), values], axis=0)[:-1]


def answer_of_spans(
    text: tf.Tensor, words: Words, entity: tf.Tensor, kind: tf.Tensor, score: tf.Tensor, names: tuple[str, ...]
) -> Outputs:
    """Return entities as the signature has them.

    Args:
        text: string `(batch,)`, as it was sent.
        words: the words.
        entity: the number of each word's entity, int32 `(words,)`, ascending, -1 for none.
        kind: the type of each word's entity, int32 `(words,)`.
        score: the score of each word, float32 `(words,)`; an entity has the mean of its words.
        names: the names of the types.

    Returns:
        `entity` and `word` string, `start` and `end` int32, `score` float32, all `(batch, spans)`, where spans is the
        largest number in the batch; `count` int32 `(batch,)`.
    """
    total = tf.reduce_max(tf.concat([[-1], entity], axis=0)) + 1
    row = tf.math.unsorted_segment_max(words.tokens.value_rowids(), entity, total)  # (entities,)
    start = tf.math.unsorted_segment_min(words.starts.flat_values, entity, total)
    end = tf.math.unsorted_segment_max(words.ends.flat_values, entity, total)
    name = tf.gather(tf.constant(names), tf.math.unsorted_segment_max(kind, entity, total))
    values = {
        "entity": name,
        "word": substring(tf.gather(text, row), start, end),
        "start": start,
        "end": end,
        "score": tf.math.unsorted_segment_mean(score, entity, total),
    }
    rows = tf.shape(text, tf.int64)[0]
    ragged = {key: tf.RaggedTensor.from_value_rowids(value, row, rows, False) for key, value in values.items()}
    count = tf.cast(ragged["start"].row_lengths(), tf.int32)
    return {**{key: value.to_tensor() for key, value in ragged.items()}, "count": count}


def substring(text: tf.Tensor, start: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
    """Return parts of texts.

    Args:
        text: string `(n,)`; bytes that are not UTF-8 count as U+FFFD.
        start: int32 `(n,)`, code points.
        end: int32 `(n,)`.
    """
    valid = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace", replace_control_characters=False)
    return tf.strings.substr(valid, start, end - start, unit="UTF8_CHAR")
