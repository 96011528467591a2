"""All services of a cluster, and the operator that runs them."""

from grafana_foundation_sdk.builders import dashboard

from dashboards.board import Row, board, graded, light, lines, number

_EACH = "{{namespace}}/{{perch_dev_service}}"


def fleet() -> dashboard.Dashboard:
    """Where something is wrong, among many services."""
    return board(
        "perch-fleet",
        "Perch: all services",
        "Where is something wrong, and does the operator keep up? Stands on the recording rules of the chart.",
        [*_now(), *_services(), *_upkeep()],
    )


def _now() -> list[Row]:
    """How all of it stands now."""
    return [
        Row(
            4,
            [
                number("Services", "That an operator runs.", "count(perch:ready) or vector(0)"),
                graded(
                    number(
                        "That do not serve",
                        "Their champion has no pod that is ready.",
                        "sum(perch:ready == bool 0) or vector(0)",
                    ),
                    "green",
                    (1, "red"),
                ),
                number("Rollouts", "In progress.", 'sum(perch:phase{phase=~"shadow|ramp|confirm|guard"}) or vector(0)'),
                light("Operator", "Whether one holds the lease and so may write.", "max(perch_operator_lease_held)"),
            ],
        ),
    ]


def _services() -> list[Row]:
    """Which services are in trouble, or in a rollout."""
    return [
        Row(
            8,
            [
                lines(
                    "Failed",
                    "Share of live requests that failed, of the last 5 minutes.",
                    ("perch:failed:ratio_rate5m > 0", _EACH),
                    unit="percentunit",
                ),
                lines(
                    "Latency p99",
                    "Of live requests that were answered, of the last 5 minutes.",
                    ("histogram_quantile(0.99, perch:latency_bucket:rate5m)", _EACH),
                    unit="s",
                ),
            ],
        ),
        Row(
            8,
            [
                lines(
                    "Evidence",
                    "Odds, to 1, that a canary harms; services with a rollout.",
                    ("perch:evidence != 1", _EACH),
                    least=None,
                ),
                lines(
                    "Canaries' weights",
                    "What the operator wants the gateway to do.",
                    ("perch:canary_weight > 0", _EACH),
                    unit="percentunit",
                ),
            ],
        ),
    ]


def _upkeep() -> list[Row]:
    """Whether the operator keeps up, and where inputs drift."""
    return [
        Row(
            8,
            [
                lines(
                    "Ticks",
                    "Seconds that a tick of a service took; each has one second.",
                    (
                        _ticks(0.99),
                        "p99",
                    ),
                    (
                        _ticks(0.5),
                        "median",
                    ),
                    unit="s",
                ),
                lines(
                    "Inputs that drift",
                    "Of each service, from what training saw.",
                    (
                        "sum by (exported_namespace, namespace, name) (perch_modelservice_drift_active) > 0",
                        "{{name}}",
                    ),
                ),
            ],
        ),
    ]


def _ticks(quantile: float) -> str:
    counted = "sum by (le) (rate(perch_operator_tick_seconds_bucket[$__rate_interval]))"
    return f"histogram_quantile({quantile:g}, {counted})"
