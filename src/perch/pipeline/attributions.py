"""Step 5, too: what each input adds to the scores of a model, so that serving can tell when it adds otherwise."""

from math import sqrt
from statistics import NormalDist

import numpy as np

from perch.workload.attribution import Attributor
from perch.workload.features import Floats
from perch.workload.model import Additive, Scorer
from perch.workload.profile import Attribution

_ROWS = 4_000
"""Two seconds of trees. The error of a mean is then a sixtieth of the deviation."""

_PARTS = 20
_LEVEL = 0.05


def attributions(scorer: Scorer, values: Floats) -> tuple[Attribution, ...]:
    """Attribute up to 4,000 rows, evenly spread, to the inputs; nothing where the model cannot tell.

    Args:
        scorer: The model.
        values: The transform's matrix, of shape (rows, features), in the order of time.
    """
    if not isinstance(scorer.estimator, Additive):
        return ()
    chosen = np.linspace(0, len(values), min(len(values), _ROWS), endpoint=False).astype(np.intp)
    attributor = Attributor(scorer)
    added = attributor.inputs_of(attributor.features_of(values[chosen]))
    return tuple(_attribution(name, added[:, i]) for i, name in enumerate(attributor.inputs))


def _attribution(name: str, added: Floats) -> Attribution:
    sizes = np.abs(added)
    square = float((added**2).mean())
    return Attribution(
        name, len(added), float(added.mean()), float(sizes.mean()), square, _natural(added), _natural(sizes)
    )


def _natural(values: Floats) -> float:
    """The largest difference of a part's mean to that of all, above what parts of such a size have by chance."""
    parts = np.array_split(values, min(_PARTS, len(values)))
    furthest = max(abs(float(part.mean() - values.mean())) for part in parts)
    chance = NormalDist().inv_cdf(1 - _LEVEL / 2 / len(parts)) * float(values.std()) / sqrt(len(parts[0]))
    return max(0.0, furthest - chance)
