"""One service: is it safe, and what is it doing?"""

from grafana_foundation_sdk.builders import common, dashboard
from grafana_foundation_sdk.models.common import LineInterpolation, ScaleDistribution

from dashboards.board import OF_SERVICE, Row, graded, light, lines, name, number, of_service

_ARMS = "{{arm}}, version {{version}}"
_LIVE = 'arm=~"baseline|stable|canary"'


def service() -> dashboard.Dashboard:
    """What a person looks at first."""
    return of_service(
        "perch-service",
        "Perch: a service",
        "Is it safe, and what is it doing? Stands on the recording rules of the chart.",
        [*_now(), *_arms(), *_rollout()],
    )


def _now() -> list[Row]:
    """How it stands now."""
    return [
        Row(
            4,
            [
                light("Serves", "Whether the champion serves.", f"perch:ready{{{OF_SERVICE}}}"),
                name(
                    "Phase",
                    "Of the rollout; serving when there is none.",
                    f"perch:phase{{{OF_SERVICE}}}",
                    "{{phase}}",
                ),
                number(
                    "Failed",
                    "Share of live requests that failed, of the last 5 minutes.",
                    f"perch:failed:ratio_rate5m{{{OF_SERVICE}}}",
                    "percentunit",
                ),
                number(
                    "p99",
                    "Of live requests that were answered, of the last 5 minutes.",
                    f"histogram_quantile(0.99, perch:latency_bucket:rate5m{{{OF_SERVICE}}})",
                    "s",
                ),
                graded(
                    number(
                        "Evidence",
                        "Odds, to 1, that the canary harms; 1 without a rollout.",
                        f"perch:evidence{{{OF_SERVICE}}}",
                    ),
                    "green",
                    (5, "orange"),
                    (100, "red"),
                ),
                light(
                    "Champion in place",
                    "No when the last rollout ended with the baseline in its place.",
                    f"1 - perch:fallen_back{{{OF_SERVICE}}}",
                ),
                number(
                    "Age",
                    "Of the champion: what it does not know.",
                    f"perch:model_age_seconds{{{OF_SERVICE}}}",
                    "s",
                ),
                light("Operator", "Whether one holds the lease and so may write.", "max(perch_operator_lease_held)"),
            ],
        ),
    ]


def _arms() -> list[Row]:
    """What the arms do, and what was promised."""
    return [
        Row(
            8,
            [
                lines(
                    "Requests a second",
                    "By arm and version; copies are the shadow's.",
                    (f"{_rate('perch_requests_started_total', 'arm, version', '')} > 0", _ARMS),
                    unit="reqps",
                ),
                lines(
                    "Canary's weight",
                    "What the operator wants the gateway to do.",
                    (f"perch:canary_weight{{{OF_SERVICE}}}", "weight"),
                    unit="percentunit",
                )
                .max(1)
                .line_interpolation(LineInterpolation.STEP_AFTER),
            ],
        ),
        Row(
            8,
            [
                lines(
                    "Failed, by arm",
                    "Errors and requests refused for overload, beside what was promised.",
                    (f"{_requests(_FAILED)} / {_requests()}", _ARMS),
                    (f"perch:slo_error_rate{{{OF_SERVICE}}}", "promised"),
                    unit="percentunit",
                ),
                lines(
                    "Latency p99, by arm",
                    "Of requests that were answered, beside what was promised.",
                    (_quantile(0.99, "perch_request_duration_seconds"), _ARMS),
                    (_quantile(0.5, "perch_request_duration_seconds"), f"{_ARMS} (median)"),
                    (f"perch:slo_latency_seconds{{{OF_SERVICE}}}", "promised"),
                    unit="s",
                ),
            ],
        ),
    ]


def _rollout() -> list[Row]:
    """Whether a canary is like its champion, and what was turned away."""
    return [
        Row(
            8,
            [
                lines(
                    "Scores, by arm",
                    "Deciles of predicted log-odds. Arms that share their traffic should look alike.",
                    *(
                        (_quantile(decile / 10, "perch_score_logit"), f"{_ARMS} (decile {decile})")
                        for decile in (1, 5, 9)
                    ),
                    least=None,
                ),
                lines(
                    "Evidence",
                    "Odds, to 1, that the canary harms. At 100 it is taken back, with the usual alpha of 1 %.",
                    (f"perch:evidence{{{OF_SERVICE}}}", "evidence"),
                    least=None,
                ).scale_distribution(common.ScaleDistributionConfig().type(ScaleDistribution.LOG).log(10)),
            ],
        ),
        Row(
            8,
            [
                lines(
                    "Refused",
                    "Requests a second that were turned away: for overload, or since they could not be read.",
                    (f"{_rate('perch_requests_total', 'arm, outcome', _REFUSED)} > 0", "{{outcome}}, {{arm}}"),
                    unit="reqps",
                ),
                lines(
                    "Outcomes a second",
                    "What became of the outcomes that applications told, and prediction events that were given up.",
                    (_of_service("perch_outcomes_total", "result"), "{{result}}"),
                    (
                        f"sum(rate(perch_events_dropped_total{{{OF_SERVICE}}}[$__rate_interval]))",
                        "predictions dropped",
                    ),
                    unit="cps",
                ),
            ],
        ),
    ]


_FAILED = ', outcome=~"error|rejected"'
_REFUSED = ', outcome=~"rejected|invalid"'


def _rate(counter: str, by: str, further: str) -> str:
    return f'sum by ({by}) (rate({counter}{{{OF_SERVICE}, arm!="direct"{further}}}[$__rate_interval]))'


def _requests(further: str = "") -> str:
    return _rate("perch_requests_total", "arm, version", further)


def _of_service(counter: str, by: str) -> str:
    return f"sum by ({by}) (rate({counter}{{{OF_SERVICE}}}[$__rate_interval]))"


def _quantile(quantile: float, histogram: str) -> str:
    return f"histogram_quantile({quantile:g}, {_rate(f'{histogram}_bucket', 'arm, version, le', '')})"
