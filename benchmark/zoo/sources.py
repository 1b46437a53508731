"""Sources: the places that a zoo can be at, each with its way to get one file.

A local folder, an http(s) address, or hf://OWNER/NAME[@REVISION], a repository at Hugging Face.
"""

import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import (HTTPDefaultErrorHandler, HTTPErrorProcessor, HTTPHandler,
                            HTTPRedirectHandler, HTTPSHandler, OpenerDirector, ProxyHandler,
                            Request)

from benchmark.utils.errors import UserError, shown
from benchmark.utils.files import with_home

TIMEOUT = 30  # seconds without an answer
ATTEMPTS = 4  # to get a file that a broken connection cut off
CHUNK = 2**20  # bytes
HUB = "hf://"
Told = Callable[[int], object]  # told the number of bytes that have arrived


class Source(ABC):
    """A place of a zoo. name: as the user gave it."""

    def __init__(self, name: str):
        self.name = name

    @abstractmethod
    def fetch(self, file: str, to: Path, most: int, told: Told) -> None:
        """Write a file of the zoo to a path; what is there already is its beginning.

        file: its path in the zoo, with slashes. most: the number of bytes after which to stop.

        Raises:
            UserError: there is no such file, the place cannot be reached, or it sends more bytes.
        """

    def copy(self, file: str, path: Path, to: Path, most: int, told: Told) -> None:
        """Copy a file of the zoo that is on this machine. Raises UserError if it is too large."""
        if path.stat().st_size > most:
            raise self.too_large(file, most)
        shutil.copyfile(path, to)
        told(to.stat().st_size)

    def missing(self, file: str) -> UserError:
        """The error that a file is not there."""
        return UserError(f"zoo {shown(self.name)}: no file {file}; expected a zoo, a folder that "
                         "`crowdbench zoo push` has written")

    def too_large(self, file: str, most: int) -> UserError:
        """The error that a file has too many bytes."""
        return UserError(f"zoo {shown(self.name)}: {file}: more than {most:,} bytes; nothing of it "
                         "was kept")


def source(place: str) -> Source:
    """The source at a place. Raises UserError if it is none of the three kinds."""
    if place.startswith(HUB):
        return _Hub(place)
    if place.lower().startswith(("http:", "https:")):
        return _Server(place)
    if "://" in place:
        raise UserError(f"zoo {shown(place)}: expected a folder, an address that begins with "
                        f"http:// or https://, or {HUB}OWNER/NAME")
    return _Folder(place)


class _Folder(Source):
    """A folder on this machine."""

    def fetch(self, file: str, to: Path, most: int, told: Told) -> None:
        path = with_home(self.name, "zoo") / file
        if not path.is_file():
            raise self.missing(file)
        self.copy(file, path, to, most, told)


class _Hub(Source):
    """A repository at Hugging Face, which keeps its files in a cache of its own."""

    def __init__(self, name: str):
        super().__init__(name)
        repository, _, revision = name.removeprefix(HUB).partition("@")
        if len(repository.strip("/").split("/")) != 2:
            raise UserError(f"zoo {shown(name)}: expected {HUB}OWNER/NAME or "
                            f"{HUB}OWNER/NAME@REVISION")
        self.repository, self.revision = repository.strip("/"), revision or None

    def fetch(self, file: str, to: Path, most: int, told: Told) -> None:
        try:
            from huggingface_hub import hf_hub_download
        except ImportError:
            raise UserError(f"zoo {shown(self.name)}: expected the package huggingface_hub: pip "
                            "install 'crowdbackdoorbench[hub]'") from None
        try:
            path = Path(hf_hub_download(self.repository, file, revision=self.revision))
        except Exception as error:  # its errors have no common class
            raise UserError(f"zoo {shown(self.name)}: {file}: {type(error).__name__}: "
                            f"{shown(error)}") from None
        self.copy(file, path, to, most, told)


class _Server(Source):
    """A folder on a web server. A file that was cut off is continued where it ended."""

    def __init__(self, name: str):
        super().__init__(name.rstrip("/"))
        try:
            address = urlsplit(name)
            host, _ = address.hostname, address.port  # `port` raises where it is no number
        except ValueError as error:
            raise UserError(f"zoo {shown(name)}: {shown(error)}; expected an address of a server"
                            ) from None
        if not host:
            raise UserError(f"zoo {shown(name)}: expected an address with a host")
        # Without the handlers of file:// and ftp://, to which a server could redirect.
        self.opener = OpenerDirector()
        for handler in (ProxyHandler, HTTPHandler, HTTPSHandler, HTTPRedirectHandler,
                        HTTPErrorProcessor, HTTPDefaultErrorHandler):
            self.opener.add_handler(handler())

    def fetch(self, file: str, to: Path, most: int, told: Told) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._download(file, to, most, told)
            except (OSError, HTTPException, ValueError) as error:  # e.g. no name of a host
                if isinstance(error, HTTPError) and error.code in (403, 404, 410):
                    raise self.missing(file) from None
                if attempt == ATTEMPTS or not isinstance(error, URLError | HTTPException |
                                                         TimeoutError | ConnectionError):
                    reason = error.reason if isinstance(error, URLError) else error
                    raise UserError(f"zoo {shown(self.name)}: {file}: {shown(reason)}; expected a "
                                    "server that can be reached; the same command goes on from "
                                    "here") from None
                time.sleep(attempt)

    def _download(self, file: str, to: Path, most: int, told: Told) -> None:
        begun = to.stat().st_size if to.exists() else 0
        headers = {"Range": f"bytes={begun}-"} if begun else {}
        try:
            answer = self._open(file, headers)
        except HTTPError as error:
            if error.code != 416:  # the server has no bytes after those
                raise
            to.unlink()
            return self._download(file, to, most, told)
        with answer:
            continued = answer.status == 206
            with to.open("ab" if continued else "wb") as output:
                told(output.tell())
                while chunk := answer.read(CHUNK):
                    if output.tell() + len(chunk) > most:
                        output.truncate(0)
                        raise self.too_large(file, most)
                    output.write(chunk)
                    told(output.tell())
        if answer.length:  # bytes that were announced and did not come
            raise ConnectionError(f"the connection ended {answer.length} bytes too early")

    def _open(self, file: str, headers: dict[str, str]) -> HTTPResponse:
        return self.opener.open(Request(f"{self.name}/{quote(file)}", headers=headers),
                                timeout=TIMEOUT)
