"""The endpoint that takes predictions from serving and outcomes from the world: `python -m perch.collector`."""
