"""Watches over what a service is asked about, and says when that is not what its model was trained on."""
