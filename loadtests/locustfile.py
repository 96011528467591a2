"""Load by hand, with Locust's own page: what `perch.load.run` does headless.

    export PERCH_LOAD='{"payloads": "slates.jsonl", "rps": 50, "users": 20}'
    locust --locustfile loadtests/locustfile.py --host http://127.0.0.1:8080

Add `loadtests/shapes/ramp.py` to the files, separated by a comma, to see where it breaks. With `"out": "result.json"`
in the plan the run is judged, and Locust ends with code 9 when the SLO was breached.
"""

from perch.load.locustfile import RankUser

__all__ = ["RankUser"]
