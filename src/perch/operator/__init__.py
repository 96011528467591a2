"""Runs the ModelServices of a cluster: a thin shell over `perch.rollout`."""
