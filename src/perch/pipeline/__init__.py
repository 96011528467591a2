"""The pipeline: ingest → validate → features → train → evaluate → gate → register, one module a step.

Each step is a plain function, typed in and out, so that a workflow engine can run the same steps one by one.
`perch.pipeline.run` composes them on one machine.
"""
