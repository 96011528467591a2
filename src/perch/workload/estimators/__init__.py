"""The kinds of model, one module each, named after its kind; what each must offer is `perch.workload.model.Estimator`.

`perch.workload.model.estimator` finds them by name, so a further kind is one further file, and a server imports no
other kind than the one that it serves.
"""
