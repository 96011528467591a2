"""Step 4 on more machines than one: trees for which no single machine has the memory, by LightGBM's own Dask module.

Every worker reads its share of the log's row groups and makes their features itself, so the training matrix exists
only in parts; the workers then grow one model together, by exchanging histograms. What comes back is the same estimator
that one machine fits: package, gates and serving cannot tell.

Dask's workers run what the scheduler hands them, so whoever reaches either of them runs code there. A cluster that is
started here listens on the loopback address alone; one that is named must be closed to everybody else.
"""
# mypy: allow-untyped-calls
# Dask's own functions carry no types.

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import cycle
from operator import itemgetter

import dask
import lightgbm as lgb
import numpy as np
from dask import array
from dask.delayed import delayed
from distributed import Client, Future, KilledWorker, LocalCluster, wait

from perch.errors import ModelError, PlatformError
from perch.pipeline.features import CHALLENGER_KIND, Bools, Prepared, clicks_in_window
from perch.pipeline.ingest import Ingested
from perch.pipeline.scan import Window, chunks, row_groups, windows
from perch.pipeline.settings import PipelineSettings
from perch.workload.estimators.lightgbm import PARAMETERS, TREES, Model
from perch.workload.features import Floats, Transform
from perch.workload.model import Scorer

_Part = Future[tuple[Floats, Bools]]
_PARTS_PER_WORKER = 4
_PATIENCE_S = 120


def fit_distributed(
    log: Ingested,
    prepared: Prepared,
    settings: PipelineSettings,
    *,
    address: str | None = None,
    workers: int = 2,
    worker_memory_bytes: int = 2**30,
) -> Scorer:
    """Train trees on all rows of the training window that the declared keep rate leaves, wherever they lie.

    Equal data, seed and number of workers sample equal rows. How these are spread over the workers decides the last
    digits of the model, so its digest is not reproducible as that of one machine's is.

    Args:
        log: The ingested log. Its path must lead to the same file on every worker.
        prepared: What `prepare_streaming` made of it; its feature table is used.
        settings: How to train.
        address: A Dask scheduler, such as `tcp://scheduler:8786`; `None` starts one, with workers, on this machine.
        workers: Workers that are started here, or that a named scheduler must have before training begins.
        worker_memory_bytes: Memory at which a worker that was started here is killed. Those of a named scheduler
            bring limits of their own.

    Raises:
        DataError: A window has no clicks, or nothing else.
        ModelError: The log was prepared for other kinds of model.
        PlatformError: The scheduler does not answer, its workers do not come, or they die.
    """
    if CHALLENGER_KIND not in prepared.inputs:
        raise ModelError(f"only {CHALLENGER_KIND} grows on many machines: declare it among the candidates")
    training, transform = windows(log, settings).training, prepared.inputs[CHALLENGER_KIND].transform
    grown = {name: value for name, value in PARAMETERS.items() if name != "num_threads"}  # each worker knows its own
    with _client(address, workers, worker_memory_bytes) as client:
        parts = _read(client, log, training, transform, settings)
        values = [_part(part, 0, (np.nan, len(transform.names)), np.float64) for part in parts]
        clicked = [_part(part, 1, (np.nan,), np.bool_) for part in parts]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Parameter n_jobs will be ignored")  # it is LightGBM that sets it
            fitted = lgb.DaskLGBMClassifier(client=client, n_estimators=TREES, seed=settings.seed, **grown).fit(
                array.concatenate(values, allow_unknown_chunksizes=True),
                array.concatenate(clicked, allow_unknown_chunksizes=True),
                feature_name=transform.names,
            )
        return Scorer(log.schema, transform, Model(fitted.booster_), settings.keep_rate)


def _read(
    client: Client, log: Ingested, training: Window, transform: Transform, settings: PipelineSettings
) -> list[_Part]:
    """Have each worker read an equal share of the row groups; all of it has been read when this returns."""
    hosts, groups = sorted(client.scheduler_info()["workers"]), row_groups(log, training)
    shares = np.array_split(groups, min(len(groups), len(hosts) * _PARTS_PER_WORKER))
    table = client.scatter(transform, broadcast=True)
    parts = [
        client.submit(_rows, log, share.tolist(), training, table, settings, workers=[host])
        for share, host in zip(shares, cycle(hosts), strict=False)
    ]
    wait(parts)
    for part in parts:
        if part.status == "error":  # LightGBM would take the failed part for a model
            part.result()
    return parts


def _rows(
    log: Ingested, groups: list[int], training: Window, transform: Transform, settings: PipelineSettings
) -> tuple[Floats, Bools]:
    """What is learnt from some row groups, made on the worker that will hold it. A part is sampled alike on any."""
    drawing = np.random.default_rng([settings.seed, 1, *groups])
    values, labels = [np.empty((0, len(transform.names)))], [np.empty(0, np.bool_)]
    for frame in chunks(log, from_s=training.from_s, to_s=training.to_s, groups=groups):
        clicked = clicks_in_window(frame, log.schema, settings.attribution_window_s)
        kept = clicked | (drawing.random(len(frame)) < settings.keep_rate)
        values.append(transform.transform_frame(frame[kept]).values)
        labels.append(clicked[kept])
    return np.concatenate(values), np.concatenate(labels)


def _part(part: _Part, index: int, shape: tuple[float, ...], dtype: type[np.generic]) -> array.Array:
    made: array.Array = array.from_delayed(delayed(itemgetter(index))(delayed(part)), shape, dtype)
    return made


@contextmanager
def _client(address: str | None, workers: int, memory_bytes: int) -> Iterator[Client]:
    """A client of a scheduler whose workers have come. A worker that dies ends the training: its rows are lost."""
    where = address or "this machine"
    try:
        with (
            dask.config.set({"distributed.scheduler.allowed-failures": 0}),
            _cluster(workers, memory_bytes) if address is None else nullcontext(address) as scheduler,
            Client(scheduler, timeout=_PATIENCE_S) as client,
        ):
            client.wait_for_workers(workers, timeout=_PATIENCE_S)
            yield client
    except KilledWorker as error:
        raise PlatformError(
            f"a Dask worker on {where} died, most likely for want of memory ({memory_bytes / 2**20:.0f} MiB each where "
            "they run here): add workers, or give each more memory"
        ) from error
    except lgb.basic.LightGBMError as error:
        raise PlatformError(f"the workers on {where} lost each other ({error}): train again") from error
    except (TimeoutError, OSError) as error:
        raise PlatformError(
            f"the Dask scheduler on {where} has no {workers} workers after {_PATIENCE_S} s ({error}): look whether "
            "they run"
        ) from error


def _cluster(workers: int, memory_bytes: int) -> LocalCluster:
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        memory_limit=memory_bytes,
        host="127.0.0.1",
        dashboard_address=None,
    )
