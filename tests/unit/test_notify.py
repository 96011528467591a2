"""Who is told of what happens, in which form, and how often."""

import hashlib
import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from perch.adapters.notify import webhook
from perch.adapters.notify.message import KEY, SIGNATURE, TIMESTAMP, URL, Address, message
from perch.adapters.notify.webhook import Webhook, post
from perch.errors import PlatformError

ABOUT = {"service": "ads", "namespace": "shop"}


@pytest.fixture
def receiver():
    """A webhook that answers as its list says, and 200 thereafter."""
    got = SimpleNamespace(bodies=[], headers=[], answers=[], holds=threading.Event())
    got.holds.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            got.holds.wait()
            status = got.answers.pop(0) if got.answers else 200
            body = self.rfile.read(int(self.headers["content-length"]))
            if status == 200:
                got.bodies.append(body)
                got.headers.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    got.url = f"http://127.0.0.1:{server.server_port}/hook"
    yield got
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def _hurried(monkeypatch):
    monkeypatch.setattr(webhook, "_FIRST_PAUSE_S", 0.01)


def texts(receiver):
    return [json.loads(body)["text"] for body in receiver.bodies]


def await_texts(receiver, number):
    for _ in range(500):
        if len(receiver.bodies) >= number:
            break
        time.sleep(0.01)
    return texts(receiver)


def test_without_a_key_the_body_is_what_slack_takes(receiver):
    post(Address(receiver.url), "Version 4 went home.", ABOUT, 1_800_000_000.0)
    assert json.loads(receiver.bodies[0]) == {"text": "Version 4 went home."}
    assert SIGNATURE not in receiver.headers[0]


def test_with_a_key_it_says_more_and_whoever_has_the_key_can_check_it(receiver):
    post(Address(receiver.url, "key"), "Version 4 went home.", ABOUT, 1_800_000_000.0)
    body, headers = receiver.bodies[0], receiver.headers[0]
    assert json.loads(body) == {"text": "Version 4 went home.", **ABOUT, "time_s": 1_800_000_000.0}
    signed = hmac.new(b"key", headers[TIMESTAMP].encode() + b"." + body, hashlib.sha256).hexdigest()
    assert headers[SIGNATURE] == f"sha256={signed}"


def test_another_key_time_or_body_gives_another_signature():
    def signature(key="key", sentence="x", now_s=1.0):
        return message(Address("", key), sentence, ABOUT, now_s)[1][SIGNATURE]

    assert len({signature(), signature(key="other"), signature(sentence="y"), signature(now_s=2.0)}) == 4


def test_sentences_are_told_in_their_order_by_another_thread(receiver):
    with Webhook(Address(receiver.url)) as told:
        for number in range(5):
            told.tell(f"sentence {number}", ABOUT)
    assert texts(receiver) == [f"sentence {number}" for number in range(5)]


def test_what_was_not_taken_is_told_again(receiver):
    receiver.answers = [503, 500, 429]
    with Webhook(Address(receiver.url)) as told:
        told.tell("once", ABOUT)
        assert await_texts(receiver, 1) == ["once"]


def test_what_comes_true_each_second_is_told_once_in_ten_minutes_of_each_service(receiver):
    clock = SimpleNamespace(now_s=1_000.0)
    with Webhook(Address(receiver.url), lambda: clock.now_s) as told:
        for _ in range(10):
            told.tell("The registry is away.", ABOUT)
        told.tell("The registry is away.", {"service": "news"})
        clock.now_s += 601
        told.tell("The registry is away.", ABOUT)
        assert len(await_texts(receiver, 3)) == 3


def test_who_cannot_be_reached_is_given_up_after_ten_minutes_and_at_the_end(receiver, caplog):
    clock = SimpleNamespace(now_s=1_000.0)
    receiver.answers = [500] * 1_000
    with Webhook(Address(receiver.url), lambda: clock.now_s) as told:
        told.tell("one", ABOUT)
        time.sleep(0.05)
        clock.now_s += 601
        told.tell("two", ABOUT)
    assert "Nobody was told 'one': the webhook answers 500." in caplog.text
    assert "Nobody was told 'two': the webhook answers 500." in caplog.text


def test_who_tells_too_much_never_waits_and_the_log_says_what_is_dropped(receiver, caplog, monkeypatch):
    monkeypatch.setattr(webhook, "_MOST_WAITING", 5)
    receiver.holds.clear()
    with Webhook(Address(receiver.url)) as told:
        for number in range(20):  # nobody takes any, and still each comes back
            told.tell(f"sentence {number}", ABOUT)
        assert "Nobody is told 'sentence 19': 5 notifications wait for the webhook." in caplog.text
        receiver.holds.set()
    assert 5 <= len(receiver.bodies) <= 6
    assert texts(receiver)[0] == "sentence 0"


def test_the_address_is_in_no_sentence(receiver):
    assert "127.0.0.1" not in repr(Address(receiver.url, "key"))
    receiver.answers = [404]
    with pytest.raises(PlatformError) as raised:
        post(Address(receiver.url), "x", ABOUT, 1.0)
    assert "127.0.0.1" not in str(raised.value)


def test_the_environment_names_address_and_key(monkeypatch):
    monkeypatch.delenv(URL, raising=False)
    assert Address.from_environment() is None
    monkeypatch.setenv(URL, "http://hook")
    monkeypatch.setenv(KEY, "")
    assert Address.from_environment() == Address("http://hook")
    monkeypatch.setenv(KEY, "k")
    assert Address.from_environment() == Address("http://hook", "k")
