"""The rollout loop: observe, decide, act, record. It knows ports only, so it is the same on a laptop and a cluster."""
