"""Where predictions and outcomes are kept and joined: one schema, in SQLite or PostgreSQL."""
