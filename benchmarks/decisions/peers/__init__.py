"""The rules of other tools, written from their documentation and source, for comparison. None of their code is here.

Each is a `Peer`: R rollouts at once under one rule. The time starts when the canary gets its first traffic, and what a
rule sees is exact and comes without delay, which flatters every one of them.
"""
