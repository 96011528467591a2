"""Where what is remembered between two starts is kept."""
