"""Splitting the traffic: Envoy, and its twin in memory."""
