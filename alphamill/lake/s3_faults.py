"""What S3's refusals mean for whoever runs the mill: which setting to change, or to come again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from alphamill.errors import AlphamillError, Misconfigured, RetryLater
from alphamill.lake.files import SETTING

_CREDENTIALS = "AWS_ACCESS_KEY_ID"
_GIVE_CREDENTIALS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
_UNKNOWN = (boto.NoCredentialsError, boto.PartialCredentialsError, boto.ProfileNotFound,
            boto.CredentialRetrievalError)  # fmt: skip

_ABSENT = ("NoSuchKey", "404", "NotFound")
_RACE_LOST = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
_NO_CONDITIONS = ("NotImplemented", "501")
_KEYS = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken",
         "TokenRefreshRequired", "AuthFailure")  # fmt: skip
_REGION = ("PermanentRedirect", "AuthorizationHeaderMalformed", "301",
           "IllegalLocationConstraintException")  # fmt: skip
_FORBIDDEN = ("AccessDenied", "403", "AllAccessDisabled")


class RaceLost(RetryLater):
    """The object is not the one that the condition named."""


class NoConditions(RetryLater):
    """The store does not know conditional requests."""


def code_of(error: boto.ClientError) -> str:
    """The store's name of its error, or the HTTP status where it sent none."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextlib.contextmanager
def faults(bucket: str, what: str) -> Iterator[None]:
    """Botocore's errors as FileNotFoundError, Misconfigured or RetryLater."""
    try:
        yield
    except boto.ClientError as error:
        if code_of(error) in _ABSENT:
            raise FileNotFoundError(f"cannot {what}: there is no such object") from error
        raise _refusal(error, bucket, what) from error
    except _UNKNOWN as error:
        raise Misconfigured(
            _CREDENTIALS, f"no credentials for s3://{bucket}", _GIVE_CREDENTIALS
        ) from error
    except boto.ParamValidationError as error:
        raise Misconfigured(
            SETTING, f"{bucket!r} cannot be a bucket's name", "write s3://bucket/prefix"
        ) from error
    except (ValueError, ResponseParserError) as error:
        raise Misconfigured(
            "AWS_ENDPOINT_URL", f"no S3 there ({error})", "give the store's http(s)://host:port"
        ) from error
    except (boto.BotoCoreError, OSError) as error:
        raise RetryLater(f"cannot {what}: {error}", 5.0) from error


def _refusal(error: boto.ClientError, bucket: str, what: str) -> AlphamillError:
    code = code_of(error)
    refusals: dict[tuple[str, ...], AlphamillError] = {
        _RACE_LOST: RaceLost(f"cannot {what}: {code}", 0.5),
        _NO_CONDITIONS: NoConditions(f"cannot {what}: {code}"),
        ("NoSuchBucket",): Misconfigured(
            SETTING, f"there is no bucket {bucket!r}", "create it, or correct the name"
        ),
        _KEYS: Misconfigured(_CREDENTIALS, f"refused ({code})", _GIVE_CREDENTIALS),
        _REGION: Misconfigured(
            "AWS_REGION", f"bucket {bucket!r} lies elsewhere ({code})", "set the bucket's region"
        ),
        _FORBIDDEN: Misconfigured(
            SETTING,
            f"may not {what}",
            "grant s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket",
        ),
    }
    for codes, refusal in refusals.items():
        if code in codes:
            return refusal
    return RetryLater(f"cannot {what}: {error}", 5.0)
