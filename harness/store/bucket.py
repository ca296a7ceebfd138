"""Object stores: what their URIs may say, and how long one that is busy, or away, is asked again.

`s3://[KEY:SECRET@]BUCKET[/FOLDER][?OPTION=VALUE&...]` with the options `endpoint_override` (host:port of another store
than Amazon's; or the variable AWS_ENDPOINT_URL), `scheme` (`http`), `region` (or AWS_REGION) and those in `OPTIONS`.
Without a key, credentials are AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or whatever else the
AWS SDK finds (`~/.aws`, the role of the machine). `gs://` URIs are those of Arrow.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote

from pyarrow import fs

from harness.errors import did_you_mean, one_line
from harness.store.errors import RootInvalid

Result = TypeVar("Result")

OPTIONS = ("region", "scheme", "endpoint_override", "role_arn", "session_name", "external_id", "tls_ca_file_path")
FLAGS = ("anonymous", "force_virtual_addressing")  # true or false
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")

CONNECT_SECONDS, SILENT_SECONDS = 3.0, 6.0  # a PUT waits as long again for leave to send its body
PATIENCE_SECONDS = 15.0  # no question is asked again after so long
GIVEN_UP_SECONDS = 10.0  # the others fail without being asked
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LASTING = (
    (
        "ACCESS_DENIED|INVALID_(ACCESS_KEY|CLIENT_TOKEN|TOKEN)|SIGNATURE_DOES_NOT_MATCH|EXPIRED_TOKEN|ExpiredToken|"
        "MISSING_AUTHENTICATION|PERMISSION_DENIED|UNAUTHENTICATED|HTTP status 40[13]",
        "the store refuses these credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to others",
    ),
    ("TOO_SKEWED", "the clock of this machine is wrong; set it"),
    ("NO_SUCH_BUCKET|[Bb]ucket .* not found|HTTP status 404", "there is no such bucket; make it, or give another"),
    ("HTTP status 30|AuthorizationHeaderMalformed", "the bucket is in another region; name it: ?region=REGION"),
    ("HTTP status (400|405|411|412|416)", ""),
)
"""What no repetition cures, and what would. Everything else is taken for the moment's: to give up would cost work."""
_NETWORK = re.compile(r"AWS Error NETWORK_CONNECTION .*?(?:Details: |$)")


class Patience:
    """How long one process goes on asking an object store.

    The SDK repeats a request once, at once. Here a question is repeated after pauses that double. After one was given
    up, the others are for some seconds, too, without being asked: what has to be cleaned up would take minutes.
    """

    def __init__(self) -> None:
        self._given_up: OSError | None = None
        self._until = 0.0

    def ask(self, question: Callable[[], Result]) -> Result:
        """Return the answer; that there is no such object (`FileNotFoundError`) is one too. Raises `OSError`."""
        begun, pause = time.monotonic(), FIRST_PAUSE
        while True:
            given_up = self._given_up  # by any thread
            if given_up is not None and time.monotonic() < self._until:
                raise OSError(str(given_up)) from given_up
            try:
                answer = question()
            except FileNotFoundError:
                self._given_up = None
                raise
            except OSError as error:
                if _cure(str(error)) is not None:
                    raise OSError(reason(error)) from error
                if time.monotonic() + pause - begun > PATIENCE_SECONDS:
                    self._until = time.monotonic() + GIVEN_UP_SECONDS
                    self._given_up = given_up = OSError(reason(error))
                    raise given_up from error
            else:
                self._given_up = None
                return answer
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


def _cure(text: str) -> str | None:
    """Return what would be right where no repetition cures an error (empty: nobody knows), else None."""
    return next((cure for kind, cure in _LASTING if re.search(kind, text)), None)


def reason(error: OSError) -> str:
    """Return in one line why an object store did not do what it was asked, and what would be right."""
    text = one_line(error)
    network = _NETWORK.search(text)
    if network is None:
        return _cure(text) or text
    return f"{text[network.end() :] or text}; is the store up, and can this machine reach it?"


def in_one_go(write: Callable[[], None]) -> None:
    """Write in a thread of its own, which no signal reaches: Arrow stores what it has of a stream that is broken off.

    Raises what `write` raises.
    """
    errors: list[BaseException] = []

    def work() -> None:
        try:
            write()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


def open_bucket(uri: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of an `s3://` or `gs://` URI, and bucket and folder in it; raise `RootInvalid`."""
    scheme, _, rest = uri.partition("://")
    place, _, query = rest.partition("?")
    authority, slash, folder = place.partition("/")
    user, _, bucket = authority.rpartition("@")
    if not _BUCKET.fullmatch(bucket):
        # Nothing of it is repeated: a part may be a password.
        right = "in front of @, a / is written %2F" if ":" in bucket else "give one, and a folder in it"
        raise RootInvalid(f"root {scheme}:// names no bucket; {right}")
    place = f"{bucket}{slash}{folder}".rstrip("/")
    try:
        if scheme == "gs":
            return _google(uri, query), place
        return _amazon(bucket, user, query), place
    except (OSError, ValueError) as error:
        raise RootInvalid(f"root {scheme}://{place} cannot be opened: {one_line(error)}") from error


def _google(uri: str, query: str) -> fs.FileSystem:
    limit = "" if "retry_limit_seconds" in query else f"{'&' if query else '?'}retry_limit_seconds={PATIENCE_SECONDS:g}"
    return fs.FileSystem.from_uri(uri + limit)[0]


def _amazon(bucket: str, user: str, query: str) -> fs.FileSystem:
    options: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in (*OPTIONS, *FLAGS):
            near = did_you_mean(name, (*OPTIONS, *FLAGS))
            raise RootInvalid(f"a root has no option {name!r}{near}; keys are read from the environment (AWS_...)")
        options[name] = value.lower() in ("true", "1") if name in FLAGS else value
    if user:
        key, _, secret = user.partition(":")
        options |= {"access_key": unquote(key), "secret_key": unquote(secret)}
    named = next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), None)
    if named and "endpoint_override" not in options:
        options["endpoint_override"] = named
    if "region" not in options and "endpoint_override" not in options:
        options["region"] = fs.resolve_s3_region(bucket)
    return fs.S3FileSystem(
        **options,
        connect_timeout=CONNECT_SECONDS,
        request_timeout=SILENT_SECONDS,
        retry_strategy=fs.AwsDefaultS3RetryStrategy(max_attempts=1),
        allow_delayed_open=True,  # an object as large as a commit is then one request, else three
    )
