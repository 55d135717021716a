"""Making a model good: fine-tuning, optimizers, callbacks."""
