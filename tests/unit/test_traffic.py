"""The market as a client: what it counts as answered, failed, slow and lost, and the clicks that it sends."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from perch.core.policy import Policy
from perch.core.types import Action
from perch.demo import traffic as traffic_module
from perch.demo.declaration import TRAFFIC_RPS, demo_declaration
from perch.demo.scenarios import SCENARIOS
from perch.demo.traffic import Traffic
from perch.signals.names import REQUEST_ID_HEADER, VERSION_HEADER
from perch.world.market import Market
from perch.world.settings import MarketSettings

SLOW_MS = 100.0
RANKING = {"order": [0], "scores": [0.5]}


class Route:
    """A route in the proxy's place that answers each request as `answer` says."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = []
        self.outcomes = []
        self.feedback_status = 200

    async def rank(self, request):
        self.asked.append(request.headers[REQUEST_ID_HEADER])
        await request.read()
        return await self.answer(request)

    async def feedback(self, request):
        self.authorization = request.headers["authorization"]
        if self.feedback_status == 200:
            self.outcomes += await request.json()
        return web.json_response({}, status=self.feedback_status)

    @asynccontextmanager
    async def served(self):
        app = web.Application()
        app.add_routes([web.post("/rank", self.rank), web.post("/feedback", self.feedback)])
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


def market(mean_ctr=0.02):
    market = Market(0, MarketSettings(users=500, ads=50, mean_ctr=mean_ctr, live_click_delay_s=0.05))
    market.log(days=1, impressions=1_000)
    return market


def flow(route, seconds=0.5, mean_ctr=0.02, rps=100, token="a-token"):
    """Let traffic flow for a while; the traffic with all that it counted."""

    async def run():
        async with route.served() as url:
            traffic = Traffic(market(mean_ctr), url, token, rps=rps, slo_latency_ms=SLOW_MS)
            async with traffic.flowing():
                await asyncio.sleep(seconds)
            await traffic.tally.settled()
            return traffic

    return asyncio.run(run())


def answering(version=2, status=200, content=RANKING, delay_s=0.0):
    async def answer(request):
        await asyncio.sleep(delay_s)
        headers = {} if version is None else {VERSION_HEADER: str(version)}
        return web.json_response(content, status=status, headers=headers)

    return answer


async def hang_up(request):
    request.transport.abort()
    return web.Response()


def test_answers_are_counted_by_version_and_all_have_an_id_of_their_own():
    route = Route(answering(version=2))
    traffic = flow(route)
    answers = traffic.tally.versions[2]
    assert answers.requests == len(answers.latency_ms) == traffic.sent == len(set(route.asked)) > 20
    assert (answers.failed, answers.slow, traffic.lost) == (0, 0, 0)


@pytest.mark.parametrize(
    ("answer", "counted"),
    [
        (answering(status=500), "failed"),
        (answering(content={"order": []}), "failed"),
        (answering(content={"nothing": 1}), "failed"),
        (answering(delay_s=SLOW_MS / 1_000 + 0.02), "slow"),
        (answering(version=None, status=503), "lost"),
        (answering(version=None), "lost"),
        (hang_up, "lost"),
    ],
    ids=["an error", "nobody wins", "no ranking", "late", "the proxy's error", "nobody's answer", "no answer"],
)
def test_each_kind_of_bad_answer_is_counted_once_as_what_it_is(answer, counted):
    traffic = flow(Route(answer))
    answers = traffic.tally.versions[2]
    found = {"failed": answers.failed, "slow": answers.slow, "lost": traffic.lost}
    assert found == {"failed": 0, "slow": 0, "lost": 0} | {counted: traffic.sent}
    assert traffic.sent > 20


def test_a_request_without_an_answer_in_time_is_lost(monkeypatch):
    monkeypatch.setattr(traffic_module, "_TIMEOUT_S", 0.1)
    traffic = flow(Route(answering(delay_s=0.3)))
    assert traffic.lost == traffic.sent > 20


def test_without_a_route_everything_is_lost_and_the_client_goes_on():
    async def run():
        traffic = Traffic(market(), "http://127.0.0.1:9", "a-token", rps=100, slo_latency_ms=SLOW_MS)
        async with traffic.flowing():
            await asyncio.sleep(0.5)
        return traffic

    traffic = asyncio.run(run())
    assert traffic.lost == traffic.sent > 20


def test_requests_leave_on_schedule_whatever_the_answers_do():
    quick, slow = (flow(Route(answering(delay_s=delay_s)), seconds=1.0).sent for delay_s in (0.0, 0.5))
    assert 60 < slow <= 110
    assert abs(quick - slow) < 40


def test_each_request_is_counted_where_it_was_sent():
    async def run():
        async with Route(answering(delay_s=0.2)).served() as url:
            traffic = Traffic(market(), url, "a-token", rps=100, slo_latency_ms=SLOW_MS)
            async with traffic.flowing():
                first = traffic.tally
                await asyncio.sleep(0.4)
                second = traffic.start_tally()
                await asyncio.sleep(0.3)
                await first.settled()
                counted = first.versions[2].requests
            return traffic, first, second, counted

    traffic, first, second, counted = asyncio.run(run())
    assert counted == first.sent == first.versions[2].requests
    assert second.sent == second.versions[2].requests > 0
    assert traffic.sent == first.sent + second.sent


def test_clicks_come_later_and_join_by_the_requests_id():
    route = Route(answering())
    traffic = flow(route, seconds=1.5, mean_ctr=0.5)
    ids = [outcome["request_id"] for outcome in route.outcomes]
    assert traffic.clicks_sent == len(ids) == len(set(ids)) > 5
    assert set(ids) <= set(route.asked)
    assert {outcome["label"] for outcome in route.outcomes} == {1}
    assert route.authorization == "Bearer a-token"


def test_a_click_names_the_request_as_the_answer_does_for_a_gateway_may_give_ids_of_its_own():
    async def renamed(request):
        headers = {VERSION_HEADER: "1", REQUEST_ID_HEADER: f"of-the-gateway-{request.headers[REQUEST_ID_HEADER]}"}
        return web.json_response(RANKING, headers=headers)

    route = Route(renamed)
    flow(route, mean_ctr=0.5)
    ids = {outcome["request_id"] for outcome in route.outcomes}
    assert ids
    assert ids <= {f"of-the-gateway-{asked}" for asked in route.asked}


def test_clicks_that_are_refused_are_kept_and_not_counted_as_sent():
    route = Route(answering())
    route.feedback_status = 503
    traffic = flow(route, mean_ctr=0.5)
    assert traffic.clicks_sent == 0
    assert len(traffic._clicks) > 0


def test_without_a_token_no_click_is_kept_for_later():
    traffic = flow(Route(answering()), mean_ctr=0.5, token=None)
    assert (traffic.clicks_sent, traffic._clicks) == (0, [])
    assert traffic.tally.versions[2].requests > 20


def test_no_click_follows_an_answer_that_failed():
    route = Route(answering(status=500))
    assert flow(route, mean_ctr=0.5).clicks_sent == 0


# --- what the demonstration releases -------------------------------------------------------------------------------


def test_the_demonstration_shows_every_end_and_each_once():
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)
    ends = Counter(scenario.expected for scenario in SCENARIOS)
    assert ends == {Action.PROMOTE: 1, Action.ROLL_BACK: 5, Action.FALL_BACK: 1}


def test_only_what_is_to_be_promoted_is_healthy_at_first():
    for scenario in SCENARIOS:
        broken = bool(scenario.faults) or scenario.p99_factor > 1
        assert broken == (scenario.expected is Action.ROLL_BACK), scenario.name
        assert bool(scenario.later_faults) == (scenario.expected is Action.FALL_BACK), scenario.name


def test_the_demonstrations_declaration_is_one_and_its_policies_are_allowed():
    spec = demo_declaration(4_321).spec
    assert spec.port == 4_321
    assert spec.policy.bake_s < Policy().bake_s
    assert TRAFFIC_RPS >= 50
    for scenario in SCENARIOS:
        assert set(scenario.policy) <= set(Policy.__slots__)
