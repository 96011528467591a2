"""Recorded rollouts, for tests that read ledgers."""

from pathlib import Path

from core_market import Version
from perch.adapters.registry.memory import MemoryRegistry
from perch.adapters.registry.port import Role
from perch.core import Policy
from service_world import FAST, World, register


def recorded(folder: Path, behaviour: Version, policy: Policy = FAST, seed: int = 0) -> Path:
    """Release version 2, which behaves so, and wait for the end; the ledger."""
    folder.mkdir(parents=True, exist_ok=True)
    registry = MemoryRegistry()
    for number in (1, 2):
        register(registry, folder, number)
    registry.assign("ad-clicks", Role.BASELINE, 1)
    with World(registry, folder / ".perch", seed=seed) as world:
        world.behaviour[2] = behaviour
        name = world.release(2, policy)
        world.run_out()
        return world.service.ledger_file(name)
