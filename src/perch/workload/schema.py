"""The columns of a click log: which ones a model reads, which one it predicts, and which ones it is judged by.

A schema travels in the manifest of every model trained with it, so serving knows its inputs without any data.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of the evaluation rows that is judged on its own."""

    column: str
    """Rows are grouped by the value of this column."""

    below: float | None = None
    """With a number, the rows whose value is below it form the one group; `column` is numeric then."""

    name: str = ""
    """What reports call it; empty: the column's name."""

    sensitive: bool = False
    """The groups must be treated alike, so no model may read the column."""


@dataclass(frozen=True, slots=True)
class Schema:
    """Names and roles of a log's columns. Columns that no field names are carried along and not used."""

    numeric: tuple[str, ...]
    """Inputs that are numbers; NaN or null means missing."""

    categorical: tuple[str, ...]
    """Inputs that are strings; null or empty means missing."""

    baseline: tuple[str, ...]
    """The few categorical inputs that the baseline reads: present in every row, and slow to change."""

    crosses: tuple[tuple[str, str], ...] = ()
    """Pairs of categorical inputs whose combination carries signal that neither has alone."""

    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Closed range that the values of a numeric input lie in, where one is known."""

    label: str = "click"
    """1 for a click, 0 for none."""

    time: str = "time"
    """Time of the impression in seconds since the epoch; where a log has none, the number of the row."""

    label_time: str | None = None
    """Time of the click in seconds since the epoch, null without one. `None`: the log's labels are final."""

    explored: str | None = None
    """1 where the ad was picked at random from the candidates. Only such rows look like the candidates that serving
    is asked about; the others were selected."""

    slices: tuple[Slice, ...] = ()
    """How evaluation rows are divided. A slice's column need not be an input; a sensitive one must not be."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns of a request, numeric ones first."""
        return self.numeric + self.categorical

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that the schema needs, inputs first."""
        further = (self.label, self.time, self.label_time, self.explored, *(s.column for s in self.slices))
        return tuple(dict.fromkeys((*self.inputs, *(name for name in further if name is not None))))


CLICK_LOG = Schema(
    numeric=("user_age_days", "user_recent_ctr", "hour", "price", "ad_age_days"),
    categorical=(
        "user_id",
        "user_interest",
        "country",
        "device",
        "site",
        "position",
        "ad_id",
        "advertiser_id",
        "ad_category",
    ),
    baseline=("ad_category", "advertiser_id", "device", "site", "position"),
    crosses=(("user_interest", "ad_category"), ("site", "ad_category")),
    ranges={
        "user_age_days": (0, 36_500),
        "user_recent_ctr": (0, 1),
        "hour": (0, 24),
        "price": (0, 1e6),
        "ad_age_days": (0, 36_500),
    },
    label_time="click_time",
    explored="explored",
    slices=(
        Slice("user_age_days", below=1, name="new_user"),
        Slice("ad_age_days", below=2, name="new_ad"),
        Slice("device"),
        Slice("group", sensitive=True),
    ),
)
"""Perch's own layout: one impression a row, as the simulated market logs it."""

OPEN_BANDIT = Schema(
    numeric=("hour", "affinity"),
    categorical=("campaign", "ad_id", "position", *(f"user_feature_{i}" for i in range(4))),
    baseline=("campaign", "ad_id", "position"),
    ranges={"hour": (0, 24)},
    slices=(Slice("position"), Slice("campaign")),
)
"""Open Bandit Dataset (Saito et al., arXiv 2008.07146). `affinity` is the user's affinity with the ad shown."""

CRITEO = Schema(
    numeric=tuple(f"I{i}" for i in range(1, 14)),
    categorical=tuple(f"C{i}" for i in range(1, 27)),
    baseline=("C6", "C9", "C14", "C17", "C20", "C22", "C23", "C25"),
)
"""Criteo Display Advertising Challenge. The log has no time; its rows are in the order of time."""

AVAZU = Schema(
    numeric=("hour",),
    categorical=(
        "C1",
        "banner_pos",
        *(f"{place}_{what}" for place in ("site", "app") for what in ("id", "domain", "category")),
        *(f"device_{what}" for what in ("id", "ip", "model", "type", "conn_type")),
        *(f"C{i}" for i in range(14, 22)),
    ),
    baseline=("banner_pos", "site_category", "app_category", "device_type", "device_conn_type", "C1"),
    ranges={"hour": (0, 24)},
    slices=(Slice("device_type"),),
)
"""Avazu Click-Through Rate Prediction. `hour` is the hour of the day; `time` has the log's resolution, an hour."""
