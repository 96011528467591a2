"""Tells people, wherever they want to hear of it."""
