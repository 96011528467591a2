"""Every client of another service, one file each, beside its local twin."""
