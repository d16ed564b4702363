"""Remote: files in stores that FFmpeg does not know, such as s3://bucket/film.mp4, and facts about files behind URLs. All by fsspec."""

from __future__ import annotations

import importlib.util
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ..errors import SinkError, SourceError

STORES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hdfs")  # schemes of stores, as fsspec calls them
PIP = "pip install 'streamsr[cluster]'"


def is_store(url: str) -> bool:
    """Whether a URL names a file in a store."""
    return url.partition("://")[0].lower() in STORES and "://" in url


def find_store(url: str, error: type[SourceError] | type[SinkError]) -> tuple[Any, str]:
    """(fsspec's file system, the path in it). Raises `error`, with the pip command where a package is missing."""
    if importlib.util.find_spec("fsspec") is None:
        raise error(f"{hide_secrets(url)}: fsspec is not installed.", hint=PIP)
    from fsspec.core import url_to_fs

    try:
        return url_to_fs(url)
    except ImportError as missing:  # fsspec names the package of this store
        raise error(f"{hide_secrets(url)}: {missing}.", hint=PIP) from missing
    except (OSError, ValueError) as fault:
        raise error(f"{hide_secrets(url)}: {fault}.") from fault


def open_file(url: str, *, ahead: bool = True) -> Any:
    """A binary file to read and seek in. ahead: for reading on; False: for pieces here and there. Raises SourceError."""
    store, path = find_store(url, SourceError)
    try:
        return store.open(path, "rb") if ahead else store.open(path, "rb", cache_type="none")
    except Exception as error:  # each store raises what its client raises
        raise SourceError(f"{hide_secrets(url)}: {_reason(error)}.") from error


def read_facts(url: str) -> tuple[int, str] | None:
    """(bytes, an identifier that changes with the content, or "") of a file; None if that is unknown."""
    try:
        store, path = find_store(url, SourceError)
        found = store.info(path)
    except Exception:  # what cannot be told is no fault yet: who reads the file says so
        return None
    version = next((str(found[name]) for name in ("ETag", "etag", "LastModified", "mtime", "created") if found.get(name)), "")
    return (int(found["size"]), version) if found.get("size") and found.get("partial", True) else None


def hide_secrets(url: str) -> str:
    """The URL without user, password and query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")) if "://" in url else url


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return f"{getattr(error, 'strerror', None) or error or type(error).__name__}".rstrip(".")
