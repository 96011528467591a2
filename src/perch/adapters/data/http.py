"""Click logs on a web server."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from perch.adapters.data.port import SILENCE_S, Remote, shown
from perch.errors import DataError, PlatformError

_CONNECT_S = 10.0
_TRY_AGAIN = frozenset({httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_EARLY, httpx.codes.TOO_MANY_REQUESTS})
_REDIRECTS = 5


class WebPlace:
    """Implements `Place` for `http://` and `https://`."""

    def __init__(self, silence_s: float = SILENCE_S) -> None:
        """A server that sends nothing for `silence_s` seconds hangs."""
        self._timeout = httpx.Timeout(silence_s, connect=min(_CONNECT_S, silence_s))

    @contextmanager
    def find(self, url: str) -> Iterator[Remote]:
        """See `Place.find`. A GET that is not read, since not every server answers HEAD."""
        with (
            _told(url, self._timeout.read or SILENCE_S),
            httpx.Client(
                timeout=self._timeout,
                follow_redirects=True,
                max_redirects=_REDIRECTS,
                event_hooks={"request": [_Encrypted(url)]},
            ) as client,
            client.stream("GET", url, headers={"accept-encoding": "identity"}) as response,
        ):
            _check(response, url)
            size, headers = response.headers.get("content-length"), response.headers
            yield Remote(
                size_bytes=int(size) if size is not None else None,
                stamp=headers.get("etag") or headers.get("last-modified"),
                chunks=response.iter_raw(),
            )


class _Encrypted:
    """Refuses a redirect that would give up encryption."""

    def __init__(self, url: str) -> None:
        self._url, self._required = url, httpx.URL(url).scheme == "https"

    def __call__(self, request: httpx.Request) -> None:
        if self._required and request.url.scheme == "http":
            raise DataError(
                f"{shown(self._url)} redirects to {shown(str(request.url))}, which is not encrypted: name the address "
                "that is meant"
            )


def _check(response: httpx.Response, url: str) -> None:
    status = response.status_code
    if response.is_success:
        return
    answered = f"{shown(url)} answers {status} {response.reason_phrase}".rstrip()
    if status >= httpx.codes.INTERNAL_SERVER_ERROR or status in _TRY_AGAIN:
        raise PlatformError(f"{answered}: try again when the server can hand the log out")
    raise DataError(f"{answered}: check that the log is there and may be read with this address")


@contextmanager
def _told(url: str, silence_s: float) -> Iterator[None]:
    """Say in a sentence what goes wrong, until the file has been read."""
    try:
        yield
    except (httpx.InvalidURL, UnicodeError) as error:  # the latter: the name of no host
        raise DataError(f"{shown(url)} is no address of a web server ({error}): write https://HOST/PATH") from error
    except httpx.UnsupportedProtocol as error:
        raise DataError(
            f"{shown(url)} redirects to something else than a web server: name the address itself"
        ) from error
    except httpx.TooManyRedirects as error:
        raise DataError(f"{shown(url)} redirects in a circle: name the address of the log itself") from error
    except httpx.TimeoutException as error:
        raise PlatformError(
            f"{shown(url)} hangs: nothing came for {silence_s:g} s. See what keeps the server, then try again"
        ) from error
    except httpx.RemoteProtocolError as error:
        raise PlatformError(f"{shown(url)} was cut off ({error}): try again") from error
    except httpx.HTTPError as error:
        raise PlatformError(
            f"{shown(url)} cannot be fetched ({error or type(error).__name__}): check the address, then try again"
        ) from error
