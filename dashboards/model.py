"""One model: does it still know the world, and what is wrong with what it is sent?"""

from grafana_foundation_sdk.builders import dashboard

from dashboards.board import OF_SERVICE, Row, graded, light, lines, number, of_service

_LIVE = 'arm=~"baseline|stable|canary"'
_ARMS = "{{arm}}, version {{version}}"
_WINDOW = "[1h]"


def model() -> dashboard.Dashboard:
    """Quality by labels that are final, and what arrives at the model."""
    return of_service(
        "perch-model",
        "Perch: a model",
        "Does it still know the world? Labels count once their attribution window is over; estimates say so.",
        [*_now(), *_quality(), *_drift(), *_inspection(), *_upkeep()],
    )


def _now() -> list[Row]:
    """How it stands now."""
    return [
        Row(
            4,
            [
                graded(
                    number(
                        "Inputs that drift",
                        "Inputs, alone or in pairs, that moved from what training saw: see `perch drift`.",
                        f"sum({_of_operator('drift_active')} == 1) or vector(0)",
                    ),
                    "green",
                    (1, "red"),
                ),
                number(
                    "Clicks for each that was predicted",
                    "Of the last day's final labels, over all arms; 1 is calibrated.",
                    f"{_sum('clicks', '', '[1d]')} / {_sum('expected_clicks', '', '[1d]')}",
                ),
                number(
                    "Log loss",
                    "Of the last day's final labels, over all arms, in nats.",
                    f"{_sum('log_loss', '', '[1d]')} / {_sum('requests', '', '[1d]')}",
                ),
                number(
                    "Labels",
                    "Requests a second whose labels became final within the last hour.",
                    f"{_sum('requests', '', _WINDOW)} / 3600",
                    "cps",
                ),
                light(
                    "Clicks come in",
                    "No when many were predicted and not one came.",
                    f"1 - perch:labels_silent{{{OF_SERVICE}}}",
                ),
                graded(
                    number(
                        "Runs of training that failed",
                        "In a row, up to the last one.",
                        f"perch:training_failures{{{OF_SERVICE}}}",
                    ),
                    "green",
                    (1, "orange"),
                    (3, "red"),
                ),
            ],
        ),
    ]


def _quality() -> list[Row]:
    """What labels say of it once they are final, and its scores before that."""
    return [
        Row(
            8,
            [
                lines(
                    "Log loss, by arm",
                    "Of the last hour's final labels; and what the scores come to if they are calibrated.",
                    (f"{_sum('log_loss', 'arm, version')} / {_sum('requests', 'arm, version')}", _ARMS),
                    (f"{_estimated('log_loss')} / {_estimated('requests')}", f"{_ARMS} (estimated)"),
                ),
                lines(
                    "Clicks for each that was predicted",
                    "Of the last hour's final labels. A version shows what it rates high: a good one has less.",
                    (f"{_sum('clicks', 'arm, version')} / {_sum('expected_clicks', 'arm, version')}", _ARMS),
                ),
            ],
        ),
        Row(
            8,
            [
                lines(
                    "Clicks for each that was predicted, by slice",
                    "Of the last day's final labels: where a part is misjudged; unseen: what training had not seen.",
                    (
                        f"{_slices('clicks')} / {_slices('expected_clicks')}",
                        "{{slice}} {{part}}, version {{version}}",
                    ),
                ),
                lines(
                    "Area under the ROC curve",
                    "Of the last day's final labels, by arm: 0.5 is chance.",
                    (_AREA, _ARMS),
                    least=None,
                ),
            ],
        ),
    ]


def _drift() -> list[Row]:
    """What arrives at it, and what it makes of that, beside training."""
    return [
        Row(
            8,
            [
                lines(
                    "Stability index of inputs",
                    "Against training; above its own limit in two windows running, an input drifts.",
                    (f"{_of_operator('drift_psi', OTHER_NONE)}", "{{feature}}"),
                ),
                lines(
                    "Stability index over its limit",
                    "Inputs alone, two together, and canary against champion, whose scores may differ: what is above 1"
                    " is suspected.",
                    (
                        f"{_OVER_LIMIT} > 0.5 unless {_of_operator('drift_psi', SCORES_OF_CANARY)}",
                        "{{feature}} {{other}} ({{against}})",
                    ),
                ),
            ],
        ),
        Row(
            8,
            [
                lines(
                    "What inputs add to scores, over its limit",
                    "How far it is from training; above 1 in two windows running, it drifts.",
                    (
                        f"{_of_operator('attribution_difference')} / {_of_operator('attribution_limit')}",
                        "{{feature}}",
                    ),
                ),
                lines(
                    "How much inputs matter",
                    "Log-odds that each adds to a score, or takes from it, on average.",
                    (_of_operator("attribution_magnitude"), "{{feature}}"),
                ),
            ],
        ),
    ]


def _inspection() -> list[Row]:
    """What was inspected of samples, and how groups of people fare."""
    return [
        Row(
            8,
            [
                lines(
                    "Features that training makes otherwise",
                    "Share of the inspected requests, by version: training-serving skew. Healthy is 0.",
                    (f"1 - perch_skew_equal_share{{{OF_SERVICE}}}", "{{feature}}, version {{version}}"),
                    unit="percentunit",
                ),
                lines(
                    "Evidently's distance from training, over its threshold",
                    "Of inspected columns, by version; above 1 it says that the column drifts.",
                    (
                        f"perch_evidently_distance{{{OF_SERVICE}}} / perch_evidently_threshold{{{OF_SERVICE}}}",
                        "{{feature}}, version {{version}}",
                    ),
                ),
            ],
        ),
        Row(
            8,
            [
                lines(
                    "Evidently's p-value, canary against champion",
                    "Of the last window, where a policy asks for it. What convicts is the rollout's evidence.",
                    (f"perch_evidently_p_value{{{OF_SERVICE}}}", "version {{canary}} against {{stable}}"),
                ).max(1),
                lines(
                    "Largest gap between groups of people",
                    "How far the group that fares least like all is from all, over a day; and what is proven.",
                    (f"perch_fairness_gap{{{OF_SERVICE}}}", "{{measure}}, {{arm}}, version {{version}}"),
                    (
                        f"perch_fairness_gap_proven{{{OF_SERVICE}}}",
                        "{{measure}}, {{arm}}, version {{version}} (proven)",
                    ),
                    unit="percentunit",
                ),
            ],
        ),
    ]


def _upkeep() -> list[Row]:
    """Its age, and what is amiss with what it is sent."""
    return [
        Row(
            8,
            [
                lines(
                    "Age",
                    "Of the champion, beside the age at which one is trained anew at the latest.",
                    (f"perch:model_age_seconds{{{OF_SERVICE}}}", "age"),
                    (f"perch:model_age_limit_seconds{{{OF_SERVICE}}}", "limit"),
                    unit="s",
                ),
                lines(
                    "Decay",
                    "Evidence that clicks come otherwise than when the champion was new; the alarm rings at 1.",
                    (f"perch:decay_level{{{OF_SERVICE}}}", "evidence"),
                ),
            ],
        ),
        Row(
            8,
            [
                lines(
                    "Inputs without a value",
                    "Share of rows, by input and arm; and of rows with a category that training had not seen.",
                    (f"{_inputs('perch_missing_inputs_total')} > 0", "{{feature}} missing, {{arm}}"),
                    (f"{_inputs('perch_unseen_categories_total')} > 0", "{{feature}} unseen, {{arm}}"),
                    unit="percentunit",
                ),
                lines(
                    "Events that were not taken",
                    "A second, by why: predictions and outcomes that the collector set aside.",
                    (_rate("perch_predictions_parked_total", "reason"), "prediction: {{reason}}"),
                    (_rate("perch_outcomes_total", "result", ', result!="joined"'), "outcome: {{result}}"),
                    unit="cps",
                ),
            ],
        ),
    ]


OTHER_NONE = ', other="", against="training"'
SCORES_OF_CANARY = ', feature="_score", against="champion"'
"""They are meant to differ from the champion's, and are far above any limit."""


def _of_operator(gauge: str, further: str = "") -> str:
    """A gauge that the operator has of each service, which names it otherwise than its pods do."""
    of = f'namespace="$namespace", name="$service"{further}'
    elsewhere = f'exported_namespace="$namespace", name="$service"{further}'
    return f"(perch_modelservice_{gauge}{{{of}}} or perch_modelservice_{gauge}{{{elsewhere}}})"


_OVER_LIMIT = f"{_of_operator('drift_psi')} / {_of_operator('drift_limit')}"


def _sum(field: str, by: str, window: str = _WINDOW, labels: str = "final") -> str:
    of = f'{OF_SERVICE}, {_LIVE}, labels="{labels}", slice=""'
    return f"sum by ({by}) (increase(perch_quality_{field}_total{{{of}}}{window}))"


def _estimated(field: str) -> str:
    return _sum(field, "arm, version", labels="estimated")


def _slices(field: str) -> str:
    of = f'{OF_SERVICE}, {_LIVE}, labels="final", slice!=""'
    return f"sum by (slice, part, version) (increase(perch_quality_{field}_total{{{of}}}[1d]))"


def _bins(field: str) -> str:
    of = f'{OF_SERVICE}, {_LIVE}, labels="final"'
    return f"increase(perch_quality_bin_{field}_total{{{of}}}[1d])"


def _rate(counter: str, by: str, further: str = "") -> str:
    return f"sum by ({by}) (rate({counter}{{{OF_SERVICE}{further}}}[$__rate_interval]))"


def _inputs(counter: str) -> str:
    of = f"{OF_SERVICE}, {_LIVE}"
    rows = f"sum by (arm) (rate(perch_rows_total{{{of}}}[$__rate_interval]))"
    return f"sum by (arm, feature) (rate({counter}{{{of}}}[$__rate_interval])) / on (arm) group_left {rows}"


_AREA = (
    f"sum by (arm, version) (({_bins('requests')} - {_bins('clicks')}) * {_bins('clicks_above')})"
    f" / (sum by (arm, version) ({_bins('requests')} - {_bins('clicks')}) * sum by (arm, version) ({_bins('clicks')}))"
)
