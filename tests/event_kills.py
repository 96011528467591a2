"""Collector and serving are killed again and again; what joined must be just what the client knows.

A pod answers requests and tells its predictions by the real emitter; a client remembers what was answered, and tells an
outcome for it until that is acknowledged; both processes are killed with SIGKILL at random moments and started again.
By hand: `python tests/event_kills.py --minutes 10`, with `--store URL` for a PostgreSQL.
"""

import argparse
import asyncio
import random
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

TOKEN = "a-token"
RPS = 400
CLICKED = 0.3


class Market:
    """One collector, one pod, one client."""

    def __init__(self, folder: Path, store: str, port: int, seed: int) -> None:
        self.folder, self.store, self.url = folder, store, f"http://127.0.0.1:{port}"
        self.port, self.rng = port, random.Random(seed)
        (folder / "token").write_text(TOKEN)
        self.client = httpx.Client(
            base_url=self.url, headers={"authorization": f"Bearer {TOKEN}"}, timeout=10, trust_env=False
        )
        self.answered: dict[str, int] = {}
        """The client's own record: each request that was answered, and whether it was clicked."""

        self.untold: list[str] = []
        self.asked, self.kills = 0, 0
        self.start_collector()
        self.start_pod()

    def start_collector(self) -> None:
        token = str(self.folder / "token")
        options = ["--port", str(self.port), "--store", self.store, "--attribution-window-s", "3600"]
        tokens = ["--token-file", token, "--feedback-token-file", token]
        self.collector = subprocess.Popen([sys.executable, "-m", "perch.collector", *options, *tokens])

    def start_pod(self) -> None:
        command = [sys.executable, __file__, "--pod", self.url, str(self.folder / "unsent")]
        self.pod = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def go(self, seconds: float) -> None:
        """Ask, tell and kill for so long."""
        end_s, kill_s, begin_s, first = time.monotonic() + seconds, 0.0, time.monotonic(), self.asked
        while (now_s := time.monotonic()) < end_s:
            if now_s > kill_s:
                if kill_s:
                    self.kill()
                kill_s = now_s + self.rng.uniform(0.2, 2.5)
            while self.asked - first < (now_s - begin_s) * RPS and self.ask():
                pass
            self.tell()
            time.sleep(0.01)

    def ask(self) -> bool:
        """One request; it counts as answered when the answer has come."""
        request_id = f"r{self.asked}"
        self.asked += 1
        try:
            self.pod.stdin.write(request_id + "\n")
            self.pod.stdin.flush()
            if self.pod.stdout.readline() != request_id + "\n":
                return False
        except BrokenPipeError:
            return False
        self.answered[request_id] = int(self.rng.random() < CLICKED)
        self.untold.append(request_id)
        return True

    def tell(self) -> None:
        """Outcomes of some of the answers; again later, unless they are acknowledged."""
        some = self.untold[:200]
        told = [{"request_id": one, "label": self.answered[one], "time_s": time.time()} for one in some]
        try:
            if not some or self.client.post("/v1/outcomes", json=told).status_code != 200:
                return
        except httpx.TransportError:
            return
        self.untold = self.untold[len(some) :]

    def kill(self) -> None:
        """One of both, at once, and start it again."""
        self.kills += 1
        if self.rng.random() < 0.5:
            self.collector.kill()
            self.collector.wait()
            self.start_collector()
        else:
            self.pod.kill()
            self.pod.communicate()
            self.start_pod()

    def settle(self) -> dict[str, object]:
        """Let both end their work, and say what was counted."""
        deadline_s = time.monotonic() + 60
        while True:
            self.tell()
            try:
                counted = self.client.get("/v1/summary").json()
            except httpx.TransportError:
                counted = {"pending": 1}
            if (not self.untold and not counted["pending"]) or time.monotonic() > deadline_s:
                return counted
            time.sleep(0.1)

    def close(self) -> None:
        self.pod.stdin.close()
        self.pod.wait(20)
        self.pod.stdout.close()
        self.collector.terminate()
        self.collector.wait(20)
        self.client.close()


def check(market: Market) -> str:
    """Compare what was counted with the client's own record; returns a sentence."""
    counted = market.settle()
    joined = [one for one in counted["tallies"] if one["result"] == "joined"]
    results = {one["result"] for one in counted["tallies"]}
    requests, clicks = sum(one["outcomes"] for one in joined), sum(one["clicks"] for one in joined)
    assert market.kills, "nothing was killed"
    assert (requests, clicks) == (len(market.answered), sum(market.answered.values())), counted
    assert counted["pending"] == 0
    assert results <= {"joined", "duplicate"}, counted
    return f"{requests:,} outcomes joined, {clicks:,} of them clicks, as the client has it, after {market.kills} kills."


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=0.2)
    parser.add_argument("--store")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    from serving_process import free_port

    with TemporaryDirectory(prefix="perch-kills-") as place:
        store = options.store or str(Path(place) / "events.sqlite")
        market = Market(Path(place), store, free_port(), options.seed)
        try:
            market.go(options.minutes * 60)
            print(check(market))  # noqa: T201
        finally:
            market.close()


async def pod(url: str, folder: Path) -> None:
    """Answers each line with itself, and tells a prediction before."""
    from perch.serving.emitter import Emitter
    from perch.serving.journal import Journal
    from perch.signals.events import Prediction

    def lost(events: int) -> None:
        sys.exit(f"{events} events were dropped")

    loop = asyncio.get_running_loop()
    async with Emitter(url, TOKEN, lost, 10**6, Journal(folder)) as emitter:
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            emitter.offer(Prediction(line.strip(), "ads", "1", "stable", time.time(), 0.3, 1, 0))
            print(line, end="", flush=True)  # noqa: T201


if __name__ == "__main__":
    if sys.argv[1] == "--pod":
        asyncio.run(pod(sys.argv[2], Path(sys.argv[3])))
    else:
        main()
