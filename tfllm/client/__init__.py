"""The client of a served model: texts in, results out, without TensorFlow."""
