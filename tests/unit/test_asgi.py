"""Bodies come within bounds, tokens are checked, and a server that does not start says so."""

import asyncio

import pytest

from perch import asgi
from perch.errors import PlatformError, UsageError


def body(*messages, limit_bytes=10, timeout_s=0.1, headers=None):
    incoming = list(messages)

    async def receive():
        if not incoming:
            await asyncio.sleep(60)
        return incoming.pop(0)

    return asyncio.run(asgi.read_body(receive, headers or {}, limit_bytes, timeout_s))


def part(content, more=True):
    return {"type": "http.request", "body": content, "more_body": more}


def test_the_parts_of_a_body_are_joined():
    assert body(part(b"ab"), part(b""), part(b"c", more=False)) == b"abc"


def test_a_body_of_exactly_the_limit_passes_and_one_byte_more_does_not():
    assert len(body(part(b"x" * 10, more=False))) == 10
    with pytest.raises(asgi.Refusal) as caught:
        body(part(b"x" * 10), part(b"x", more=False))
    assert caught.value.status == 413


def test_an_announced_length_is_believed_before_anything_is_read():
    with pytest.raises(asgi.Refusal) as caught:
        body(headers={b"content-length": b"11"})
    assert caught.value.status == 413


def test_a_body_that_does_not_arrive_is_given_up():
    with pytest.raises(asgi.Refusal, match=r"within 0\.1 s") as caught:
        body(part(b"x"))
    assert caught.value.status == 408


def test_a_client_that_leaves_is_told_apart():
    with pytest.raises(asgi.Disconnected):
        body(part(b"x"), {"type": "http.disconnect"})


def test_a_token_file_is_stripped_and_must_hold_something(tmp_path):
    path = tmp_path / "token"
    path.write_text("secret\n")
    assert asgi.read_token(path) == "secret"
    path.write_text("\n")
    with pytest.raises(UsageError, match="is empty"):
        asgi.read_token(path)


def test_a_token_is_made_once_for_its_owner_only(tmp_path):
    path = asgi.keep_token(tmp_path / "folder" / "token")
    token = asgi.read_token(path)
    assert len(token) >= 43  # 256 bits
    assert path.stat().st_mode & 0o777 == 0o600
    assert asgi.read_token(asgi.keep_token(path)) == token


@pytest.mark.parametrize("authorization", [b"", b"secret", b"Basic secret", b"Bearer other", b"Bearer  secret"])
def test_only_the_whole_header_opens(authorization):
    asgi.require_token({b"authorization": b"Bearer secret"}, "secret")
    with pytest.raises(asgi.Refusal, match="Authorization: Bearer TOKEN"):
        asgi.require_token({b"authorization": authorization}, "secret")


def test_an_application_that_fails_to_start_is_an_error():
    async def broken(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no"})

    with pytest.raises(PlatformError, match="The thing did not start"):
        asgi.run(broken, "127.0.0.1", 0, name="The thing")
