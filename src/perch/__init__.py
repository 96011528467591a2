"""Perch: safe releases of machine-learning models, with canaries that come home by themselves."""
