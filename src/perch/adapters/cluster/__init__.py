"""Objects of a Kubernetes cluster, for the adapters that read and write them."""
