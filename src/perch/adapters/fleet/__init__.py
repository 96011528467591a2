"""Running versions of a model."""
