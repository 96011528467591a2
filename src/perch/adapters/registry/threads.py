"""Threads of their own for calls of a registry.

A call holds a thread for as long as the registry hangs. In the pool that everything shares, the calls of a few services
would keep all others from moving traffic.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")

_THREADS: Final = ThreadPoolExecutor(max_workers=4, thread_name_prefix="registry")


async def in_registry_thread(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run what calls a registry, as `asyncio.to_thread` does."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, partial(function, *args, **kwargs))
