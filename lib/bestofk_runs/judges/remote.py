"""A judge behind an HTTP endpoint: POST {prompt, cot, final_answer} gives {score}.

Requests run side by side, each within a time limit; what may pass by itself (a refused connection, a time-out,
429, 5xx) is tried again with growing pauses. When it does not pass, the run stops with one sentence; finished
shards stay, and the same command goes on from there.
"""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import numpy as np

from . import Verdict, missing, once, pairs

LARGEST_ANSWER = 1_000_000  # bytes
KEPT = "finished shards are kept, run the same command to go on"


class EndpointError(RuntimeError):
    """The endpoint cannot be used; the message is one sentence for the reader."""


class _Passing(Exception):
    """Something that may go away by itself."""


def http(*, url, time_limit=30.0, attempts=5, pause=1.0, concurrent=16, token_variable="", proven=False):
    """Judge by an HTTP endpoint.

    Parameters
    ----------
    url : str
        ``http://`` or ``https://``, without user name or password.
    time_limit : float
        Seconds for one request from the first byte sent to the last byte read.
    attempts : int
        Tries a completion.
    pause : float
        Seconds before the second try; doubles each time, with jitter, up to 60.
    concurrent : int
        Requests at a time.
    token_variable : str
        Name of an environment variable with a bearer token. The token itself is sent and never stored or printed.
    proven : bool
        The endpoint has given readable scores before: an answer without one is a null. Else the first answers must
        hold one at least.
    """
    check(url, token_variable)
    parts = urlsplit(url)
    for name, value in {"http_time_limit": time_limit, "http_attempts": attempts, "http_concurrent": concurrent}.items():
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be > 0, got {value!r}")
    headers = {}
    if token_variable:
        headers["Authorization"] = f"Bearer {os.environ[token_variable]}"
    place = f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"
    readable = [proven]  # one True as soon as the endpoint has given any score

    def distinct(texts):
        import httpx

        with (
            httpx.Client(headers=headers, timeout=httpx.Timeout(time_limit)) as client,
            ThreadPoolExecutor(concurrent) as pool,
        ):
            jobs = [pool.submit(_ask, client, url, place, text, time_limit, attempts, pause) for text in texts]
            try:
                answers = [job.result() for job in jobs]
            except EndpointError:
                pool.shutdown(cancel_futures=True)
                raise
        scores = [_score(a) for a in answers]
        readable[0] |= any(s is not None for s in scores)
        if not readable[0]:
            raise EndpointError(
                f"judge endpoint {place} answers, but not with a JSON object that holds a number 'score'; "
                f"it said {_excerpt(answers[0])}; {KEPT}"
            )
        return [missing("unparsed") if s is None else Verdict(s) for s in scores]

    def judge(items, samples):
        return once([(item.question, s.text, s.answer or "") for item, s in pairs(items, samples)], distinct)

    return judge


def check(url, token_variable=""):
    """Raise ``ValueError`` if the address or the name of the token's variable cannot be used."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(f"http_url must begin with http:// or https:// and name a host, got {url!r}")
    if parts.username or parts.password:
        raise ValueError("http_url must not hold a user name or password: use http_token_variable")
    if token_variable and token_variable not in os.environ:
        raise ValueError(f"http_token_variable names the environment variable {token_variable!r}, which is not set")


def _ask(client, url, place, text, time_limit, attempts, pause):
    """Bytes of the endpoint's answer, after as many tries as it takes."""
    import tenacity

    body = dict(zip(("prompt", "cot", "final_answer"), text))
    retry = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(_Passing),
        stop=tenacity.stop_after_attempt(attempts),
        wait=tenacity.wait_exponential(multiplier=pause, max=60) + tenacity.wait_random(0, pause),
        reraise=True,
    )
    try:
        return retry(_post, client, url, place, body, time_limit)
    except _Passing as problem:
        raise EndpointError(
            f"judge endpoint {place} {problem} {attempts} times; {KEPT}"
        ) from None


def _post(client, url, place, body, time_limit):
    import httpx

    until = time.monotonic() + time_limit
    try:
        with client.stream("POST", url, json=body) as response:
            if response.status_code == 429 or response.status_code >= 500:
                raise _Passing(f"answered {response.status_code}")
            if response.status_code != 200:
                raise EndpointError(
                    f"judge endpoint {place} answered {response.status_code}, so it was not asked again; {KEPT}"
                )
            received = b""
            for piece in response.iter_bytes():
                received += piece
                if len(received) > LARGEST_ANSWER:
                    return received
                if time.monotonic() > until:
                    raise _Passing(f"took longer than {time_limit:g} s")
            return received
    except httpx.TimeoutException:
        raise _Passing(f"took longer than {time_limit:g} s") from None
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as problem:
        raise EndpointError(f"judge endpoint {place} is not a usable address ({problem})") from None
    except httpx.ConnectError:
        raise _Passing("could not be reached") from None
    except httpx.HTTPError as problem:
        raise _Passing(f"broke off or answered in no form of HTTP ({type(problem).__name__})") from None


def _score(answer):
    """The number under ``score``, or None.

    Examples
    --------
    >>> [_score(a) for a in (b'{"score": 7}', b'{"score": "7"}', b'{"score": true}', b'<html>', b'{"score": NaN}')]
    [7.0, None, None, None, None]
    """
    try:
        value = json.loads(answer)["score"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        value = float(value)
    except OverflowError:
        return None
    return value if np.isfinite(value) else None


def _excerpt(answer):
    return repr(answer[:80].decode("utf-8", "replace"))
