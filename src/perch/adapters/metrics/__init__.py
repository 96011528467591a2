"""Where the counts of the arms come from: the processes themselves, and a twin in memory."""
