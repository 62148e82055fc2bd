"""Folders that data are read from: local ones, and those of object stores and other file systems by their URL.

Nothing that is read is executed. URLs go through fsspec, s3:// through pyarrow's own client.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from textgen.common.errors import UserError
from textgen.common.parquet import import_pyarrow


class Storage(Protocol):
    """A folder. Paths within it are names joined by slashes. Its methods can be called from several threads."""

    @property
    def name(self) -> str: ...

    def folders(self, path: str = "") -> list[str]:
        """The names in the folder `path`; none if there is no such folder. Raises `UserError`."""

    def size(self, path: str) -> int | None:
        """The bytes of a file; None if there is none. Raises `UserError`."""

    def read(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        """The bytes `start` to `end` of a file, or fewer where it ends before. Raises `UserError`."""


class LocalFolder:
    """A folder of this machine."""

    def __init__(self, folder: Path):
        self._folder, self.name = folder, str(folder)

    def folders(self, path: str = "") -> list[str]:
        folder = self._folder / path
        try:
            return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
        except OSError as error:
            raise UserError(f"{folder} cannot be read: {error.strerror}") from None

    def size(self, path: str) -> int | None:
        file = self._folder / path
        try:
            return file.stat().st_size if file.is_file() else None
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror}") from None

    def read(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        file = self._folder / path
        try:
            with file.open("rb") as stream:
                stream.seek(start)
                return stream.read(-1 if end is None else end - start)
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror}") from None


class RemoteFolder:
    """The folder `url` of an fsspec file system, on which its path is `root`."""

    def __init__(self, file_system: Any, root: str, url: str):
        self._files, self._root, self.name = file_system, root.rstrip("/"), url.rstrip("/")

    def folders(self, path: str = "") -> list[str]:
        try:
            entries = self._files.ls(self._path(path), detail=False)
        except FileNotFoundError:
            return []
        except Exception as error:
            raise self._unreadable(path, error) from None
        return sorted(str(entry).rstrip("/").rpartition("/")[2] for entry in entries)

    def size(self, path: str) -> int | None:
        try:
            return int(self._files.info(self._path(path))["size"])
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._unreadable(path, error) from None

    def read(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        try:
            return bytes(self._files.cat_file(self._path(path), start=start or None, end=end))
        except Exception as error:
            raise self._unreadable(path, error) from None

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    def _unreadable(self, path: str, error: Exception) -> UserError:
        """Each file system has exceptions of its own."""
        file = f"{self.name}/{path}" if path else self.name
        return UserError(f"{file} cannot be read: {type(error).__name__}: {' '.join(str(error).split())}")


def is_url(path: Path | str) -> bool:
    """Whether a path is the URL of a folder, such as s3://bucket/prefix.

    >>> is_url("s3://bucket/prefix"), is_url("data/shards")
    (True, False)
    """
    return "://" in str(path)


def open_storage(path: Path | str) -> Storage:
    """The folder at a local path or URL. Raises `UserError` for one that cannot be reached."""
    if not is_url(path):
        return LocalFolder(Path(path).expanduser())
    url = str(path)
    try:
        url_to_fs = importlib.import_module("fsspec.core").url_to_fs
    except ImportError:
        raise UserError(f"path={url} needs fsspec: pip install 'foldtext[storage]'") from None
    if url.startswith("s3://"):
        return RemoteFolder(_s3(url), url.removeprefix("s3://"), url)
    try:
        file_system, root = url_to_fs(url)
    except ImportError as error:
        raise UserError(f"path={url} cannot be opened: {' '.join(str(error).split())}") from None
    except Exception as error:
        told = " ".join(str(error).split())
        raise UserError(f"path={url} cannot be opened: {told}; give a folder, or a URL as s3://bucket/prefix") from None
    return RemoteFolder(file_system, str(root), url)


def _s3(url: str) -> Any:
    """Amazon's S3 or a compatible store, with the usual variables: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
    AWS_REGION, AWS_ENDPOINT_URL, …"""
    import_pyarrow(f"path={url}")
    try:
        arrow_files = importlib.import_module("pyarrow.fs")
        wrapper = importlib.import_module("fsspec.implementations.arrow").ArrowFSWrapper
        s3 = arrow_files.S3FileSystem
    except (ImportError, AttributeError) as error:  # a pyarrow that was built without S3
        raise UserError(f"path={url} needs a pyarrow with S3: {' '.join(str(error).split())}") from None
    options: dict[str, Any] = {}
    if region := os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
        options["region"] = region
    if endpoint := os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"):
        parts = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
        if not parts.netloc or parts.scheme not in ("http", "https"):
            raise UserError(f"AWS_ENDPOINT_URL is {endpoint!r}: give a URL as https://host:port")
        options |= {"endpoint_override": parts.netloc + parts.path.rstrip("/"), "scheme": parts.scheme}
        options.setdefault("region", "us-east-1")  # which a store of one's own does not have
    return wrapper(s3(**options))
