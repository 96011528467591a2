"""Rollouts before the rollout: what a policy does to simulated traffic, many times over."""
