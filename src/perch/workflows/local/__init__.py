"""Runs the very workflows that Argo runs, on one machine: the same rendered templates, a process for each step."""
