"""The setting `weights` of a counter: the name of weights, 'scratch', or the path of a file."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator

from benchmark.utils.errors import UserError, quoted
from benchmark.utils.hashing import PinnedFile
from benchmark.weights.published import PUBLISHED, locate

Given = str | Path
Checked = str | Path | PinnedFile


def weights_setting(download: str) -> Any:
    """The type of a counter's setting `weights`: a name, 'scratch', or the path of a file.

    download: the name for the download; 'scratch' for a counter that has none.
    A path must be that of a file that exists. It becomes a Path, and a name of `published` a
    PinnedFile, which need not be on this machine; the other two words stay text.
    """
    return Annotated[Given, _validator(download)]


def _validator(download: str) -> AfterValidator:
    return AfterValidator(partial(_name_or_file, download))


def checked_weights(weights: Checked, download: str | None) -> str | Path:
    """A setting `weights` as what can be loaded: the name of the download, 'scratch', or a path.

    download: the name of the download; None allows any, for plugins that do not say.

    Raises:
        UserError: the setting is neither a name nor the path of a file that exists, or it is the
            name of published weights that are not on this machine.
    """
    try:
        checked = _name_or_file(download, weights)
    except ValueError as error:
        raise UserError(f"model.weights = {quoted(str(weights))}: {error}") from None
    return locate(checked) if isinstance(checked, PinnedFile) else checked


def _name_or_file(download: str | None, weights: Checked) -> Checked:
    """A setting `weights`, as in `weights_setting`. Raises ValueError."""
    if isinstance(weights, PinnedFile) or weights in (download, "scratch"):
        return weights
    if weights in PUBLISHED:
        return PUBLISHED[str(weights)]
    if _is_file(Path(weights)):
        return Path(weights)
    if download is None:
        return weights
    words = "".join(f"{word!r}, " for word in dict.fromkeys([download, "scratch", *PUBLISHED]))
    raise ValueError(f"expected {words}or the path of a file that exists")


def _is_file(path: Path) -> bool:
    """Whether a path is that of a file; a name that no file can have is not."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or with a null character
        return False


# Written out, so that `crowdbench show` can read the type without importing this module.
Weights = Annotated[Given, _validator("imagenet")]
ClipWeights = Annotated[Given, _validator("openai")]
FileWeights = Annotated[Given, _validator("scratch")]
