"""Recorded rollouts, for tests that read ledgers."""

from pathlib import Path

from core_market import Version
from perch.core import Policy
from service_world import FAST, World, registered


def recorded(folder: Path, behaviour: Version, policy: Policy = FAST, seed: int = 0) -> Path:
    """Release version 2, which behaves so, and wait for the end; the ledger."""
    folder.mkdir(parents=True, exist_ok=True)
    registry = registered(folder, 1, 2)
    with World(registry, folder / ".perch", seed=seed) as world:
        world.behaviour[2] = behaviour
        name = world.release(2, policy)
        world.run_out()
        return world.service.ledger_file(name)
