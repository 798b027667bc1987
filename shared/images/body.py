"""Reading a response's body under a cap of bytes, compressed or not."""

import zlib

import httpx

from shared.errors import ErrorCode, PermanentJobError, RetryableJobError

_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_INFLATED = frozenset({"gzip", "x-gzip", "deflate"})


def read_body(response: httpx.Response, max_bytes: int) -> bytes:
    """Read a body of at most `max_bytes` bytes, counted as they arrive and again as they are decompressed.

    Decompression is done here, a bounded piece at a time: a client's own would turn one small chunk into gigabytes.
    Raises PermanentJobError `image_too_large`, or `image_unreachable` for an encoding that was not asked for.
    """
    declared = response.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding in _INFLATED:
        return _inflated(response, max_bytes)
    if encoding not in ("", "identity"):
        message = f"The picture's server answers with Content-Encoding {encoding[:40]!r}. Serve the file as it is."
        raise PermanentJobError(ErrorCode.IMAGE_UNREACHABLE, message)
    body = bytearray()
    for chunk in response.iter_raw():
        body += chunk
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(body)


def _inflated(response: httpx.Response, max_bytes: int) -> bytes:
    body, received = bytearray(), 0
    inflater = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        for chunk in response.iter_raw():
            received += len(chunk)
            body += inflater.decompress(chunk, max_bytes + 1 - len(body))
            if max(received, len(body)) > max_bytes:
                raise _too_large(max_bytes)
    except zlib.error as error:
        message = "The picture's server names a compression that its answer does not have. Serve the file as it is."
        raise PermanentJobError(ErrorCode.IMAGE_UNREACHABLE, message) from error
    if not inflater.eof:
        raise RetryableJobError(ErrorCode.IMAGE_UNREACHABLE, "The picture's compressed download ended too early.")
    return bytes(body)


def _too_large(max_bytes: int) -> PermanentJobError:
    message = f"The picture is over {max_bytes / 1e6:g} MB. Give the address of a smaller one."
    return PermanentJobError(ErrorCode.IMAGE_TOO_LARGE, message)
