"""Search: an index of documents by meaning and by words. Needs no TensorFlow."""
