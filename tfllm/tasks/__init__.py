"""Tasks: one class for each, for every encoder of the BERT family."""
