"""The names of everything that is counted, shared by those who count and those who read.

One set of names serves the local platform and the cluster. All counters carry the labels of `LABELS` and nothing
that a request can choose, so the number of series is fixed.
"""

from perch.core.types import Grid

LABELS = ("model", "version", "arm")

STARTED = "perch_requests_started"
"""Counter: requests taken on."""

FINISHED = "perch_requests"
"""Counter, further label `outcome`: requests finished, by one of `OUTCOMES`."""

OUTCOMES = ("ok", "error", "invalid", "rejected")
"""Answered; failed by our fault (5xx); refused by the caller's fault (4xx); refused for overload (503)."""

FAILED_OUTCOMES = ("error", "rejected")
"""What counts against an arm."""

DURATION = "perch_request_duration_seconds"
"""Histogram: time from a request's headers to its answer, of the requests that ended `ok`.

In it are the wait for the rest of the body, the wait while the model scores others, and the scoring. Not in it are the
network and the proxy; nor moments in which the process cannot look: while it decodes another request's body, and up to
5 ms (the interpreter's switch interval) where a model never lets go of the interpreter."""

SCORE = "perch_score_logit"
"""Histogram: log-odds of the first row's predicted probability; one value for each request that was answered."""

MISSING = "perch_missing_inputs"
"""Counter, further label `feature`: rows in which a feature had no value."""

UNSEEN = "perch_unseen_categories"
"""Counter, further label `feature`: rows with a category that training had not seen."""

ROWS = "perch_rows"
"""Counter: rows scored."""

INPUTS = "perch_inputs"
"""Counter, further labels `feature`, `other`, `bin`: requests by the bin of their first row. A feature is an input, or
`_score`, the log-odds that were answered. A bin is named by its highest number, by the slot of one category (`#3f`), or
`level0` and so on for the other categories by how often they are clicked, `unseen`, `missing`. With `other`, which is
another input, a bin is a level of each. On `INPUTS_PATH`; an arm without requests is absent."""

INPUTS_TRAINED = "perch_inputs_trained"
"""Gauge, labels as `INPUTS` but for the arm: rows of training in the same bin. On `INPUTS_PATH`."""

INPUTS_NATURAL = "perch_inputs_natural_psi"
"""Gauge, labels as `INPUTS` but for arm and bin: PSI by which a part of training's time differs from all of it, above
chance. On `INPUTS_PATH`."""

ATTRIBUTED = "perch_attributed_requests"
"""Counter: requests of whose first row it is counted what each input added to its score: four a second of a process, at
most. On `INPUTS_PATH`; an arm without them is absent."""

ATTRIBUTION_UP = "perch_attribution_up"
"""Counter, further label `feature`, an input: the sum of what it added to the log-odds of these rows, where that is
above 0. On `INPUTS_PATH`."""

ATTRIBUTION_DOWN = "perch_attribution_down"
"""Counter, the same label: where it is below 0, without the sign. On `INPUTS_PATH`."""

ATTRIBUTION_SQUARED = "perch_attribution_squared"
"""Counter, the same label: the sum of the squares, from which comes how sure the mean is. On `INPUTS_PATH`."""

ATTRIBUTION_TRAINED = "perch_attribution_trained"
"""Gauge, labels as `ATTRIBUTION_UP` but for the arm, and `figure`: `rows` of training that were attributed; of
what an input added to their log-odds the `mean`, the `magnitude` (mean without the signs) and the `square` (mean of the
squares); and `natural_mean` and `natural_magnitude`, by how much these differ in a part of training's time, above
chance. On `INPUTS_PATH`."""

INPUTS_PATH = "/metrics/inputs"
"""Page of a serving process with its inputs."""

INPUTS_ABSENT = "# This package tells nothing of its training's inputs, so they are not counted: train it again."
"""The only line of the page where the package is of an earlier Perch."""

EVENTS_DROPPED = "perch_events_dropped"
"""Counter without labels: prediction events given up because the buffer was full."""

EVENTS_UNATTRIBUTED = "perch_events_unattributed"
"""Counter without labels: prediction events that tell the inputs and not what these added to the score, because too
many waited to be attributed, it took more than a second, or the model failed. A model that never tells counts none."""

OUTCOME_JOINS = "perch_outcomes"
"""Counter, further labels `result` and `source`: outcomes by what became of them: `joined`, `late`, `duplicate`,
`contradictory` (told again, and otherwise), `unknown`; or, with an empty `source`, why they were not taken:
`malformed`, `format` (of a later Perch), `future`, `ancient` or `source` (of which there are too many). But for the
first two the other labels are empty: they belong to no prediction. An outcome is unknown when no prediction has its id
by the end of the attribution window, or none any more: predictions are kept for two windows, or for the retention
where it is longer."""

OUTCOMES_PENDING = "perch_outcomes_pending"
"""Gauge without labels: outcomes that wait for their prediction. With `OUTCOME_JOINS` they are all that came in."""

CLICKS = "perch_clicks"
"""Counter: outcomes that were clicks, by the version and arm that made the prediction."""

PREDICTIONS_PARKED = "perch_predictions_parked"
"""Counter with the one label `reason`: predictions that the collector did not take, by why: `malformed`, `format`,
`future` or `ancient`."""

QUALITY_LABELS = ("labels", "slice", "part")
"""Further labels of the counters below. `labels` is `final`: of live requests whose attribution window is over, so that
a young one never counts as not clicked; or `estimated`: of all that were answered half a minute ago, with the score in
the label's place, which is what they come to if the scores are calibrated. `slice` and `part` are empty for all
requests; at most 20 parts of a slice are told apart."""

EVIDENTLY_WINDOWS = "perch_evidently_windows"
"""Gauge of the collector, labels `stable` and `canary` (versions): windows, of those that are remembered, in which
Evidently compared what they were given."""

EVIDENTLY_P_VALUE = "perch_evidently_p_value"
"""Gauge, the same labels: p-value of the last window, corrected over columns. Small ones come about by chance, too:
what convicts is the rollout's evidence."""

INPUTS_KEPT = "perch_inputs_kept_timestamp_seconds"
"""Gauge of the collector: when the last request came whose inputs are kept; none is, where it is not there."""

INSPECTED = "perch_inspected_timestamp_seconds"
"""Gauge of the collector, labels `model` and `version`, as of those below: when the version was last inspected."""

INSPECTED_REQUESTS = "perch_inspected_requests"
"""Gauge: requests that were inspected."""

DRIFTING_SHARE = "perch_evidently_drifting_share"
"""Gauge: share of the inspected columns that are, by Evidently, not what they were in training."""

DRIFT_DISTANCE = "perch_evidently_distance"
"""Gauge, further label `feature`: Evidently's Jensen-Shannon distance of a column from what it was in training. Whether
a value is missing is a column of its own."""

DRIFT_THRESHOLD = "perch_evidently_threshold"
"""Gauge, further label `feature`: from which distance on the column drifts."""

SKEW_EQUAL_SHARE = "perch_skew_equal_share"
"""Gauge, further label `feature`, which is a number that the model reads: share of the inspected requests in which
training makes the same of them, to twelve digits. Healthy is 1."""

QUALITY_REQUESTS = "perch_quality_requests"
"""Counter, further labels as `QUALITY_LABELS`: requests that are summed up."""

QUALITY_CLICKS = "perch_quality_clicks"
"""Counter: those that were clicked. Over the sum of their scores it is the calibration."""

QUALITY_EXPECTED = "perch_quality_expected_clicks"
"""Counter: the sum of their scores."""

QUALITY_LOSS = "perch_quality_log_loss"
"""Counter: the sum of their log losses, in nats."""

QUALITY_LOSS_SQUARED = "perch_quality_log_loss_squared"
"""Counter: the sum of the squares of their log losses, from which comes how sure the mean is."""

BIN_REQUESTS = "perch_quality_bin_requests"
"""Counter, further label `bin`: requests by the bin of their score, which goes up to that log-odds; of all requests."""

BIN_CLICKS = "perch_quality_bin_clicks"
"""Counter, further label `bin`: those that were clicked."""

BIN_EXPECTED = "perch_quality_bin_expected_clicks"
"""Counter, further label `bin`: the sum of their scores."""

BIN_CLICKS_ABOVE = "perch_quality_bin_clicks_above"
"""Counter, further label `bin`: clicks of higher bins, and half of its own. The area under the ROC curve is the sum
over the bins of (requests - clicks) x clicks above, over (all requests - all clicks) x all clicks."""

FAIRNESS_GAP = "perch_fairness_gap"
"""Gauge of the collector, labels `version`, `arm` and `measure`: how far the group of people that fares least like all
lies from all, as a share of the latter; measured once a minute over the last day's final labels, or over as much of it
as the latest 100,000 requests fill. Neither group nor attribute is told. `measure` is `calibration`, `recall`,
`selection`, `score`, `click_rate` or `log_loss`. Absent while no attribute has two groups of 50 users."""

FAIRNESS_GAP_PROVEN = "perch_fairness_gap_proven"
"""Gauge, the same labels: what of that gap is proven, 0 or more."""

ARM_HEADER = "x-perch-arm"
"""Request header in which the router says which arm a request was sent to."""

VERSION_HEADER = "x-perch-version"
"""Response header with the version that answered. An answer without it was made by something in between."""

REQUEST_ID_HEADER = "x-request-id"
"""Request header with the id by which an outcome joins its prediction."""

_LATENCY_MS = (
    0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12.5, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 300, 500, 750,
    1_000, 2_000, 5_000, 10_000,
)  # fmt: skip


def grid(slo_latency_ms: float) -> Grid:
    """The histogram edges of a service whose SLO allows `slo_latency_ms` milliseconds: the limit is one of them."""
    return Grid(
        latency_ms=tuple(sorted({*map(float, _LATENCY_MS), float(slo_latency_ms)})),
        score_logit=tuple(i / 8 for i in range(-64, 17)),  # 0.03 % to 88 % in steps of an eighth
    )
