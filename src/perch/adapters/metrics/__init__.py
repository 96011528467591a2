"""Where the counts of the arms come from."""
