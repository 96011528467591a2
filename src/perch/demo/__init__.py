"""The demonstration: a simulated market, real processes, good and bad releases, and a report."""
