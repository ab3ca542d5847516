"""What to do when S3 does not do what it was asked: try again, or say what is wrong and whose turn it is."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from airtune.environment import Environment
from airtune.errors import AirtuneError, NotPermittedError, Problem, SettingsError, StoreError
from airtune.stores.s3_client import endpoint_of

_LOG = logging.getLogger("airtune.stores")

Result = TypeVar("Result")

FIRST_CONTACT_PATIENCE: Final = 20.0
"""Seconds to try a server that this process has never reached: then the address is more likely wrong."""

_REFUSED: Final = frozenset(
    {
        "403",
        "AccessDenied",
        "AllAccessDisabled",
        "AccountProblem",
        "ExpiredToken",
        "ExpiredTokenException",
        "Forbidden",
        "InvalidAccessKeyId",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    }
)
_WRONG_REGION: Final = frozenset(
    {"301", "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
)
_PASSING: Final = frozenset(
    {"SlowDown", "RequestTimeout", "RequestTimeoutException", "Throttling", "ThrottlingException", "TooManyRequests",
     "ServiceUnavailable", "InternalError", "OperationAborted", "ConditionalRequestConflict", "BandwidthLimitExceeded"}
)  # fmt: skip

_reached: set[str] = set()


def error_code(error: BaseException) -> str:
    """The S3 error code of a botocore ``ClientError`` ("404" for a HEAD), or ""."""
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def status_of(error: BaseException) -> int:
    """The HTTP status of a botocore ``ClientError``, or 0."""
    response = getattr(error, "response", None) or {}
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def persistently(client: Any, bucket: str, what: str, call: Callable[[], Result]) -> Result:
    """``call()``, repeated with growing pauses while the server does not answer.

    Args:
        client: whose server is called.
        bucket: named in messages.
        what: the key or action, for messages.
        call: may be called several times; a ``ClientError`` that is an answer (404, 412 ...) passes through.

    Raises:
        StoreError: no answer for ``AIRTUNE_STORE_PATIENCE`` seconds (20 when this process never had one).
        NotPermittedError: the credentials are missing or refused.
        SettingsError: no such bucket, or in another region.
    """
    from botocore.exceptions import ClientError

    endpoint = endpoint_of(client)
    begun = time.monotonic()
    pause = 0.25
    while True:
        try:
            result = call()
        except AirtuneError:
            raise
        except Exception as error:
            if isinstance(error, ClientError):
                _reached.add(endpoint)
            problem = _final(error, endpoint, bucket, what)
            if problem is not None:
                raise problem from error
            if not _is_passing(error):
                raise
            patience = Environment.read().store_patience
            if endpoint not in _reached:
                patience = min(patience, FIRST_CONTACT_PATIENCE)
            spent = time.monotonic() - begun
            if spent + pause > patience:
                raise _gave_up(error, endpoint, bucket, what, spent) from error
            _LOG.warning(
                "S3 at %s, bucket %s: %s failed (%s), trying again in %.1f s (for %.0f s more)",
                endpoint, bucket, what, _short(error), pause, patience - spent,
            )  # fmt: skip
            time.sleep(pause * random.uniform(0.75, 1.25))  # noqa: S311  spreads clients, no secret
            pause = min(pause * 2, 5.0)
        else:
            _reached.add(endpoint)
            return result


def missing_bucket(endpoint: str, bucket: str) -> SettingsError:
    """The error for a bucket that is not there."""
    return SettingsError(
        Problem(
            f"s3://{bucket}",
            f"the bucket {bucket} does not exist at {endpoint}",
            fix="create it, or check AIRTUNE_STORE and AWS_ENDPOINT_URL_S3",
        )
    )


def _final(error: Exception, endpoint: str, bucket: str, what: str) -> AirtuneError | None:
    """The error to raise at once, when trying again would change nothing."""
    from botocore import exceptions as boto

    where = f"s3://{bucket}/{what}"
    code = error_code(error)
    credentials = (
        boto.NoCredentialsError,
        boto.PartialCredentialsError,
        boto.TokenRetrievalError,
        boto.UnauthorizedSSOTokenError,
    )
    if isinstance(error, credentials):
        return NotPermittedError(
            Problem(where, f"there are no S3 credentials for the bucket {bucket} at {endpoint}",
                    fix="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        )  # fmt: skip
    if isinstance(error, boto.SSLError):
        return StoreError(
            Problem(where, f"no safe connection to {endpoint} (bucket {bucket}): TLS failed",
                    fix="check the address and AWS_CA_BUNDLE")
        )  # fmt: skip
    if not isinstance(error, boto.ClientError):
        if isinstance(error, boto.ParamValidationError | boto.InvalidRegionError | boto.UnknownEndpointError):
            return SettingsError(Problem(where, f"S3 at {endpoint} cannot be asked: {type(error).__name__}"))
        return None
    if code in _REFUSED or status_of(error) == 403:
        return NotPermittedError(
            Problem(where, f"the S3 server at {endpoint} refuses access to the bucket {bucket} ({code})",
                    fix="check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the bucket's policy")
        )  # fmt: skip
    if code == "NoSuchBucket":
        return missing_bucket(endpoint, bucket)
    if code in _WRONG_REGION:
        return SettingsError(
            Problem(where, f"the bucket {bucket} at {endpoint} is in another region", value=code, fix="set AWS_REGION")
        )
    if code in ("InvalidBucketName", "InvalidURI", "KeyTooLongError"):
        return SettingsError(Problem(where, f"the S3 server at {endpoint} does not accept the name", value=code))
    return None


def _is_passing(error: Exception) -> bool:
    """Whether the same call may succeed a little later."""
    from boto3.exceptions import RetriesExceededError, S3TransferFailedError, S3UploadFailedError
    from botocore import exceptions as boto
    from urllib3.exceptions import HTTPError

    if isinstance(error, boto.ClientError):
        return status_of(error) >= 500 or error_code(error) in _PASSING
    if isinstance(error, S3UploadFailedError | S3TransferFailedError):
        return error.__cause__ is None or not isinstance(error.__cause__, Exception) or _is_passing(error.__cause__)
    passing = (
        boto.HTTPClientError,
        boto.ConnectionError,
        boto.ResponseStreamingError,
        boto.IncompleteReadError,
        RetriesExceededError,
    )
    return isinstance(error, (*passing, HTTPError, ConnectionError, TimeoutError))


def _gave_up(error: Exception, endpoint: str, bucket: str, what: str, spent: float) -> StoreError:
    return StoreError(
        Problem(
            f"s3://{bucket}/{what}",
            f"the S3 server at {endpoint} (bucket {bucket}) did not answer for {spent:.0f} s: {_short(error)}",
            fix="check that it runs and that AWS_ENDPOINT_URL_S3 is its address, then run the stage again",
        )
    )


def _short(error: Exception) -> str:
    code = error_code(error)
    return f"{code} {status_of(error)}".strip() if code else type(error).__name__
