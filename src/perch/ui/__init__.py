"""What a person sees of a run: live in the terminal, and afterwards as a page."""
