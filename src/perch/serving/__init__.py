"""The process that answers predictions: one process, one version of one model."""
