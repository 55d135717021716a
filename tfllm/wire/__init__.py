"""TensorFlow Serving's wire format without TensorFlow."""
