"""From a machine to a cluster with Perch in it: what it takes, whether it is there, and how it gets there.

Reads the checkout's `versions.env` and `deploy/`, which Terraform reads as well, and drives docker, kind, kubectl and
helm as a person would. `perch doctor` and `perch cluster` are thin shells over it.
"""
