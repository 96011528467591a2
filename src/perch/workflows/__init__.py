"""The workflows that train, release and retrain, defined with Hera. Argo runs them in a cluster, `local` on a machine.

`steps/` wraps the pipeline's functions, one module a step; `train`, `release` and `retrain` only compose them. What
they render to is kept in the chart, and a test compares.
"""
