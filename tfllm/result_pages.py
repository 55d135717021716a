"""Results as HTML for notebooks: bars of scores, coloured entities, highlighted answers."""

import zlib
from collections.abc import Callable
from html import escape
from typing import Any

from tfllm.results import (
    Answer,
    Classification,
    Embedding,
    Entities,
    Entity,
    FilledMask,
    MultiLabel,
    Ranking,
    Regression,
    Relevance,
)

_HUES = (210, 28, 140, 340, 265, 48, 178, 5, 90, 310)
_SHOWN_VALUES = 64


def render(result: Any) -> str:
    """Return one result as HTML without scripts or outside files, in colours that suit light and dark pages.

    Example:
        >>> from tfllm.results import Regression
        >>> "2.5" in render(Regression(2.5))
        True
    """
    return _RENDERERS[type(result)](result)


def _bar(name: str, score: float) -> str:
    width = max(0.0, min(1.0, score)) * 100
    return (
        '<div style="display:flex;gap:.6em;align-items:center;font-family:sans-serif">'
        f'<b style="min-width:6em">{escape(name)}</b>'
        '<span style="flex:0 0 12em;background:rgba(128,128,128,.25);border-radius:3px">'
        f'<span style="display:block;width:{width:.1f}%;height:.7em;border-radius:3px;background:hsl(210 70% 50%)">'
        f"</span></span><span>{score:.4f}</span></div>"
    )


def _classification(result: Classification) -> str:
    return _bar(result.label, result.score)


def _multi_label(result: MultiLabel) -> str:
    marks = "".join(_mark(label, label) for label in result.labels)
    return f'<div style="font-family:sans-serif">{marks or "<i>no label</i>"}</div>'


def _number(result: Regression | Relevance) -> str:
    value = result.value if isinstance(result, Regression) else result.score
    return f'<b style="font-family:sans-serif">{value:.4f}</b>'


def _ranking(result: Ranking) -> str:
    return _bar(f"#{result.index}", result.score) + f"<div>{escape(result.text)}</div>"


def _entity(result: Entity) -> str:
    return _mark(result.word, result.entity)


def _entities(result: Entities) -> str:
    if result.text is None:
        return " ".join(_mark(found.word, found.entity) for found in result)
    pieces, position = [], 0
    for found in sorted(result, key=lambda found: found.start):
        pieces += [escape(result.text[position : found.start]), _mark(found.word, found.entity)]
        position = max(position, found.end)
    return f'<div style="line-height:2;white-space:pre-wrap">{"".join(pieces)}{escape(result.text[position:])}</div>'


def _answer(result: Answer) -> str:
    if not result.answer:
        return f"<i>no answer</i> ({result.score:.4f})"
    if result.context is None:
        return _mark(result.answer, f"{result.score:.4f}")
    before, after = result.context[: result.start], result.context[result.end :]
    found = _mark(result.answer, f"{result.score:.4f}")
    return f'<div style="line-height:1.7;white-space:pre-wrap">{escape(before)}{found}{escape(after)}</div>'


def _embedding(result: Embedding) -> str:
    values = result.vector[:_SHOWN_VALUES]
    largest = max(abs(float(value)) for value in values) if len(values) else 0.0
    cells = "".join(
        f'<span title="{float(value):.4f}" style="display:inline-block;width:6px;height:16px;'
        f'background:hsla({210 if value > 0 else 5} 70% 50% / {abs(float(value)) / (largest or 1.0):.2f})"></span>'
        for value in values
    )
    more = " ..." if len(result) > _SHOWN_VALUES else ""
    return f'<div style="font-family:sans-serif">{cells}{more} dim={len(result)}</div>'


def _filled_mask(result: FilledMask) -> str:
    return "".join(_bar(token, score) for token, score in zip(result.tokens, result.scores, strict=True))


def _mark(word: str, name: str) -> str:
    hue = _HUES[zlib.crc32(name.encode("utf-8", "replace")) % len(_HUES)]
    title = "" if name == word else f' <small style="opacity:.75">{escape(name)}</small>'
    return (
        f'<mark style="background:hsla({hue} 85% 60% / .35);color:inherit;padding:.15em .35em;border-radius:.35em">'
        f"{escape(word)}{title}</mark> "
    )


_RENDERERS: dict[type, Callable[[Any], str]] = {
    Classification: _classification,
    MultiLabel: _multi_label,
    Regression: _number,
    Relevance: _number,
    Ranking: _ranking,
    Entity: _entity,
    Entities: _entities,
    Answer: _answer,
    Embedding: _embedding,
    FilledMask: _filled_mask,
}
