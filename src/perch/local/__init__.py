"""The whole platform on one machine: Envoy, the model servers, the outcome collector and the rollout loop."""
