"""The external judge: compares with Evidently what the canary and the champion are given, in a process of its own."""
