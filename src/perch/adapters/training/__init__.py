"""Where a model is trained anew: a workflow of the cluster, a process of this machine, and a twin in memory."""
