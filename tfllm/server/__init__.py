"""The embedded server: TensorFlow Serving's protocol over the same SavedModels."""
