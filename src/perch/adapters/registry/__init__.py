"""Model registries: MLflow, and its twin in memory."""
