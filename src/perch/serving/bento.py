"""The BentoML service of a model: its pages, health checks and OpenAPI document, behind our own routes.

`bentoml serve` would put a supervisor and five middlewares around it; here `Service.to_asgi()` is served as it is.
"""

import os

from perch.asgi import App, Refusal
from perch.serving.columns import Inputs, Value
from perch.serving.scoring import Score
from perch.workload.schema import Schema


def bento_app(schema: Schema, score: Score) -> App:
    """The ASGI application of a service with one API, `predict`, which takes and returns what the V1 protocol does."""
    os.environ["BENTOML_DO_NOT_TRACK"] = "true"  # read when BentoML is imported
    import bentoml

    inputs = Inputs(schema)

    @bentoml.service(name="perch", workers=1)
    class Model:
        """Click probabilities for rows, each of which has every column of the model."""

        @bentoml.api  # type: ignore[untyped-decorator]  # BentoML ships no types
        async def predict(self, instances: list[dict[str, Value]]) -> dict[str, list[float]]:
            """One probability for each instance."""
            try:
                columns = inputs.from_rows(instances)
            except Refusal as refusal:
                raise bentoml.exceptions.BadInput(str(refusal)) from None
            return {"predictions": score(columns).probabilities}

    app: App = Model.to_asgi()  # type: ignore[attr-defined]  # the decorator made it a service
    return app
