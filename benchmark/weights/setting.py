"""The setting `weights` of a counter: a name, 'scratch', or the path of a file."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator

from benchmark.utils.errors import UserError, quoted


def weights_setting(download: str) -> Any:
    """The type of a counter's setting `weights`: a name, 'scratch', or the path of a file.

    download: the name for the download; 'scratch' for a counter that has none.
    A path must be that of a file that exists. It becomes a Path; the two words stay text.
    """
    return Annotated[str | Path, _validator(download)]


def _validator(download: str) -> AfterValidator:
    return AfterValidator(partial(_name_or_file, download))


def checked_weights(weights: str | Path, download: str | None) -> str | Path:
    """A setting `weights` in the form of `weights_setting`, for a counter that was built directly.

    download: the name of the download; None allows any, for plugins that do not say.

    Raises:
        UserError: the setting is neither a name nor the path of a file that exists.
    """
    try:
        return _name_or_file(download, weights)
    except ValueError as error:
        raise UserError(f"model.weights = {quoted(str(weights))}: {error}") from None


def _name_or_file(download: str | None, weights: str | Path) -> str | Path:
    """A setting `weights`: text if it is a name, a Path if it is a file. Raises ValueError."""
    if weights in (download, "scratch"):
        return weights
    if _is_file(Path(weights)):
        return Path(weights)
    if download is None:
        return weights
    words = "".join(f"{word!r}, " for word in dict.fromkeys([download, "scratch"]))
    raise ValueError(f"expected {words}or the path of a file that exists")


def _is_file(path: Path) -> bool:
    """Whether a path is that of a file; a name that no file can have is not."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or with a null character
        return False


# Written out, so that `crowdbench show` can read the type without importing this module.
Weights = Annotated[str | Path, _validator("imagenet")]
ClipWeights = Annotated[str | Path, _validator("openai")]
FileWeights = Annotated[str | Path, _validator("scratch")]
