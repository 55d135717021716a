"""Rows and text: loading, cleaning and batching labelled text."""
