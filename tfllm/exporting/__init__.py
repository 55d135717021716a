"""Shipping a model: the SavedModel that takes raw text and returns final answers."""
