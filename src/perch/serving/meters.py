"""What a serving process counts: plain integers, one set for each arm, in the names of `perch.signals.names`.

The arms are a fixed set and anything else counts as `direct`, so no request can make a new series. Everything runs
in the event loop's thread, so a scrape sees all counts of the same moment.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence

from perch.asgi import Headers
from perch.core.types import Arm, Grid
from perch.serving.question import Identity
from perch.serving.scoring import Scores
from perch.serving.sketches import InputCounts, InputsPage
from perch.signals import exposition, names
from perch.signals.events import SHADOW
from perch.workload.profile import Profile
from perch.workload.schema import Schema

DIRECT = "direct"
"""The arm of requests that no router has stamped."""

ARMS = (*(arm.value for arm in Arm), DIRECT)

_HOST = b"host"
_ARM = names.ARM_HEADER.encode()


def log_odds(probability: float) -> float:
    """Log-odds of a probability, kept within what float64 can tell from 0 and 1 (about ±36)."""
    inside = min(max(probability, 2**-53), 1 - 2**-53)
    return math.log(inside / (1 - inside))


class Meter:
    """The counters of one arm."""

    def __init__(self, arm: str, grid: Grid, schema: Schema, inputs: InputCounts | None) -> None:
        self.arm = arm
        self._edges_s = [edge / 1000 for edge in grid.latency_ms]
        self._score_edges = grid.score_logit
        self.started = 0
        self.finished = dict.fromkeys(names.OUTCOMES, 0)
        self.latency = [0] * (len(grid.latency_ms) + 1)
        self.latency_sum_s = 0.0
        self.scores = [0] * (len(grid.score_logit) + 1)
        self.score_sum = 0.0
        self.rows = 0
        self.missing = dict.fromkeys(schema.inputs, 0)
        self.unseen = dict.fromkeys(schema.categorical, 0)
        self.inputs = inputs

    def finish(self, outcome: str, duration_s: float) -> None:
        """A request ended, `duration_s` seconds after its arrival, with one of `names.OUTCOMES`."""
        self.finished[outcome] += 1
        if outcome == "ok":
            self.latency[bisect_left(self._edges_s, duration_s)] += 1
            self.latency_sum_s += duration_s

    def scored(self, scores: Scores) -> None:
        """Rows were scored."""
        logit = log_odds(scores.probabilities[0])
        self.scores[bisect_left(self._score_edges, logit)] += 1
        self.score_sum += logit
        if self.inputs is not None:
            self.inputs.add(scores.cells, logit)
        self.rows += len(scores.probabilities)
        for name, rows in scores.missing.items():
            self.missing[name] += rows
        for name, rows in scores.unseen.items():
            self.unseen[name] += rows


class Meters:
    """The counters of a process."""

    def __init__(
        self,
        identity: Identity,
        grid: Grid,
        schema: Schema,
        *,
        profile: Profile | None = None,
        mirror_port: int | None = None,
    ) -> None:
        """Make counters that are all 0.

        Args:
            identity: What they are labelled with.
            grid: Edges of the histograms.
            schema: Inputs whose missing values are counted.
            profile: Bins in which inputs are counted; `None`: they are not.
            mirror_port: Port of ours on which every request is a mirrored one.
        """
        self._mirror_port = mirror_port
        inputs = {arm: None if profile is None else InputCounts(profile) for arm in ARMS}
        self._inputs = None if profile is None else InputsPage(profile, identity)
        self._arms = {arm.encode(): Meter(arm, grid, schema, inputs[arm]) for arm in ARMS}
        self._direct, self._shadow = self._arms[DIRECT.encode()], self._arms[SHADOW.encode()]
        self._labels = {arm: exposition.labels(**identity.labels(), arm=arm) for arm in ARMS}
        self._latency_edges = [repr(edge / 1000) for edge in grid.latency_ms]
        self._score_edges = [repr(edge) for edge in grid.score_logit]
        self.events_dropped = 0
        self.events_unattributed = 0

    def of(self, headers: Headers, port: int | None) -> Meter:
        """The counters of the arm that a request was sent to, on one of our ports.

        A mirrored request has the arm header of the original. Envoy adds `-shadow` to its host, and the local route
        gives live requests a host that does not end so, whatever their client's was. A Gateway leaves the host as it
        is; so there copies go to a port of their own.
        """
        if port is not None and port == self._mirror_port:
            return self._shadow
        meter = self._arms.get(headers.get(_ARM, b""), self._direct)
        if meter is not self._direct and headers.get(_HOST, b"").endswith(b"-shadow"):
            return self._shadow
        return meter

    def drop_events(self, count: int) -> None:
        """Prediction events were given up."""
        self.events_dropped += count

    def leave_unattributed(self) -> None:
        """A prediction event tells its inputs, and not what they added."""
        self.events_unattributed += 1

    def render(self) -> bytes:
        """All counters in Prometheus' text format."""
        return exposition.document(self._lines())

    def render_inputs(self) -> bytes:
        """What requests asked about, in the same format; a comment where inputs are not counted."""
        if self._inputs is None:
            return exposition.document([names.INPUTS_ABSENT])
        return self._inputs.render({m.arm: m.inputs for m in self._arms.values() if m.inputs is not None})

    def _lines(self) -> Iterator[str]:
        meters = [(self._labels[meter.arm], meter) for meter in self._arms.values()]
        yield from _counter(names.STARTED, "Requests taken on.", {of: m.started for of, m in meters})
        yield from _counter(
            names.FINISHED, "Requests finished.", {o: n for of, m in meters for o, n in _by(of, "outcome", m.finished)}
        )
        yield from exposition.header(names.DURATION, "histogram", "Seconds from arrival to answer.")
        for of, m in meters:
            yield from exposition.histogram(names.DURATION, of, self._latency_edges, m.latency, m.latency_sum_s)
        yield from exposition.header(names.SCORE, "histogram", "Log-odds of the first row's predicted probability.")
        for of, m in meters:
            yield from exposition.histogram(names.SCORE, of, self._score_edges, m.scores, m.score_sum)
        yield from _counter(names.ROWS, "Rows scored.", {of: m.rows for of, m in meters})
        yield from _counter(
            names.MISSING, "Rows without a value.", {o: n for of, m in meters for o, n in _by(of, "feature", m.missing)}
        )
        yield from _counter(
            names.UNSEEN,
            "Rows with an unseen category.",
            {o: n for of, m in meters for o, n in _by(of, "feature", m.unseen)},
        )
        yield from exposition.header(f"{names.EVENTS_DROPPED}_total", "counter", "Prediction events given up.")
        yield f"{names.EVENTS_DROPPED}_total {self.events_dropped}"
        yield from exposition.header(f"{names.EVENTS_UNATTRIBUTED}_total", "counter", "Events without attributions.")
        yield f"{names.EVENTS_UNATTRIBUTED}_total {self.events_unattributed}"


def _by(labels: str, further: str, counts: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    return ((f"{labels},{exposition.labels(**{further: value})}", count) for value, count in counts.items())


def _counter(name: str, promise: str, samples: Mapping[str, int]) -> Sequence[str]:
    lines = exposition.header(f"{name}_total", "counter", promise)
    return lines + [f"{name}_total{{{labels}}} {count}" for labels, count in samples.items()]
