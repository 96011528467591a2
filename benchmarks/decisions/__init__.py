"""Rules that decide on canaries, side by side on the same simulated traffic: who harms whom, how long, how often."""
