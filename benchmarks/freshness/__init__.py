"""Compares ways to decide when a model is trained anew, in a market whose true click rate is known and moves on."""
