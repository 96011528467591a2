"""What is counted, how outcomes join predictions, and how counts become an observation."""
