"""The tokens of a vocabulary as text, and which of them begin a word."""

import keras_hub

from tfllm.tasks.tokenizers.byte_pair import byte_alphabet

_SPACE = "▁"
_BYTE_SPACE = "Ġ"
_WITHIN = "##"


def token_names(tokenizer: keras_hub.tokenizers.Tokenizer) -> list[str]:
    """Return each token as text, in the order of the ids.

    The sign that begins a word (`▁` of SentencePiece, `Ġ` of byte pairs) is left out, bytes are decoded; WordPiece's
    `##` within a word stays. A token that is nothing but such a sign keeps it, so none is empty.

    Example:
        >>> from tfllm.presets import load_encoder
        >>> token_names(load_encoder("micro_bert").tokenizer)[:6]
        ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'a']
    """
    tokens = _tokens(tokenizer)
    if isinstance(tokenizer, keras_hub.tokenizers.BytePairTokenizer):
        byte_of = {character: byte for byte, character in enumerate(byte_alphabet())}
        special = set(tokenizer.special_tokens)
        texts = [
            token
            if token in special
            else bytes(byte_of[character] for character in token).decode("utf-8", "replace").removeprefix(" ")
            for token in tokens
        ]
    elif isinstance(tokenizer, keras_hub.tokenizers.SentencePieceTokenizer):
        texts = [token.removeprefix(_SPACE) for token in tokens]
    else:
        texts = tokens
    return [text or token or "[UNK]" for text, token in zip(texts, tokens, strict=True)]


def word_beginnings(tokenizer: keras_hub.tokenizers.Tokenizer) -> list[bool]:
    """Return for each token id whether the token begins a word; what is no letter or digit is a word of its own.

    Example:
        >>> from tfllm.presets import load_encoder
        >>> tokenizer = load_encoder("micro_bert").tokenizer
        >>> [word_beginnings(tokenizer)[tokenizer.token_to_id(token)] for token in ("film", "##a", "!")]
        [True, False, True]
    """
    tokens = _tokens(tokenizer)
    if isinstance(tokenizer, keras_hub.tokenizers.BytePairTokenizer):
        return [token.startswith(_BYTE_SPACE) or _is_punctuation(token) for token in tokens]
    if isinstance(tokenizer, keras_hub.tokenizers.SentencePieceTokenizer):
        return [token.startswith(_SPACE) or _is_punctuation(token) for token in tokens]
    return [not token.startswith(_WITHIN) for token in tokens]


def _tokens(tokenizer: keras_hub.tokenizers.Tokenizer) -> list[str]:
    return [str(tokenizer.id_to_token(index)) for index in range(tokenizer.vocabulary_size())]


def _is_punctuation(token: str) -> bool:
    return token.isascii() and not any(character.isalnum() for character in token)
