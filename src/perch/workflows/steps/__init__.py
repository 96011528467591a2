"""The steps, one module each: a pipeline's function between the artifacts that it reads and those that it writes."""
