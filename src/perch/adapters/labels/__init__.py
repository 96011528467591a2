"""Where a rollout learns what became of requests: the collector, and a twin in memory."""
