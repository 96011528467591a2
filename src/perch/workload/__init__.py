"""The workload: ad click prediction. What a user replaces to bring another model to production.

Five files say everything that is particular to it: `schema` (the columns), `data` (how logs are read), `features`
(what the model sees), `model` (what it learns) and `metrics` (how it is judged). `package` is the folder in which a
trained model travels, and needs no change.
"""
