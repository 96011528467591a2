"""A small market's log, prepared, with a model and its profile: made once, because it takes a second."""

from functools import cache

from perch.pipeline.features import Prepared, prepare
from perch.pipeline.profile import profile
from perch.pipeline.settings import PipelineSettings
from perch.pipeline.train import fit
from perch.workload.model import Scorer
from perch.workload.profile import Profile
from perch.workload.schema import CLICK_LOG
from perch.world.market import Market

SETTINGS = PipelineSettings()


@cache
def small_market(seed: int = 0) -> tuple[Prepared, Scorer, Profile]:
    prepared = prepare(Market(seed).log(7, 60_000), CLICK_LOG, SETTINGS, data_digest="x", kinds=("lightgbm",))
    scorer = fit(prepared, "lightgbm", SETTINGS)
    return prepared, scorer, profile(scorer, prepared)
