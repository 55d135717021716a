"""Tokenizers that run inside a graph, with the place of every token in the text as it was sent."""
