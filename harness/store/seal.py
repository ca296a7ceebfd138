"""A digest inside the file that it protects, so that one altered bit anywhere is noticed before any parsing.

A writer leaves a mark with 64 zeros in the metadata at the end of a file; `seal` puts there the sha256 of the
file as it was with the zeros. Parquet and Arrow files stay valid for every other reader.
"""

from __future__ import annotations

import hashlib

from harness.store.schemas import SCHEMA_VERSION

_MARK = b"harness-sha256:"
_ZEROS = b"0" * 64
# What a writer puts into the metadata of a file that it is going to seal.
METADATA: dict[str, str] = {
    "harness.schema_version": str(SCHEMA_VERSION),
    "harness.digest": (_MARK + _ZEROS).decode(),
}


def seal(data: bytes) -> bytes:
    """Return `data` with the zeros of its last mark replaced by the digest."""
    start = data.rindex(_MARK) + len(_MARK)
    digest = hashlib.sha256(data).hexdigest().encode()
    return data[:start] + digest + data[start + len(digest) :]


def is_ours(data: bytes) -> bool:
    """Say whether `data` was sealed once; a single altered bit cannot hide all traces of that."""
    return any(key.encode() in data for key in METADATA)


def is_intact(data: bytes) -> bool:
    """Say whether `data` has a mark, and the digest after its last one is that of the rest of the file."""
    mark = data.rfind(_MARK)
    if mark < 0:
        return False
    start = mark + len(_MARK)
    end = start + len(_ZEROS)
    digest = hashlib.sha256(data[:start])
    digest.update(_ZEROS)
    digest.update(data[end:])
    return data[start:end] == digest.hexdigest().encode()
