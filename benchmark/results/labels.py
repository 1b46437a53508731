"""Labels of settings: the words that tell apart two rows of a table."""

from collections.abc import Mapping

from benchmark.results.result import Settings

# The control `retrain` of this benchmark: its clean training images, null for all of them, and its
# extra images of another dataset.
CONTROL, IMAGES, EXTRA = "retrain", "defense.images", "defense.extra"
# What the absence of a setting means, by its last word.
ABSENT = {"version": "1", "entry": "none", "cover_rate": "0"}


def setting_labels(settings: Settings, names: Mapping[str, str]) -> list[str]:
    """Some settings of a row in words. names: the printed name of each of them.

    A null is printed as 'not set'. A setting that the record lacks is printed as 'not recorded',
    except for a version, which is 1, a cover rate, which is 0, and the leaderboard entry, which is
    none.

    >>> setting_labels({"trigger.alpha": "0.2", "training.clip": "null"},
    ...                {"trigger.alpha": "alpha", "training.clip": "clip", "training.lr": "lr"})
    ['alpha 0.2', 'clip not set', 'lr not recorded']
    >>> names = {"defense.images": "images", "defense.extra": "extra"}
    >>> retrain = {"defense": "retrain", "defense.images": "null", "defense.extra": "40"}
    >>> setting_labels(retrain, names)
    ['all clean images + 40 extra']
    >>> setting_labels(retrain | {"defense.images": "40", "defense.extra": "0"}, names)
    ['40 clean images']
    """
    labels, names = [], dict(names)
    if settings.get("defense") == CONTROL:
        own = {key: settings[key] for key in (IMAGES, EXTRA) if key in names and key in settings}
        if own:
            labels.append(_training_images(own))
        names = {key: name for key, name in names.items() if key not in own}
    return labels + [f"{name} {_value(settings, key)}" for key, name in names.items()]


def _value(settings: Settings, key: str) -> str:
    if key not in settings:
        return ABSENT.get(key.rpartition(".")[2], "not recorded")
    return "not set" if settings[key] == "null" else settings[key]


def _training_images(settings: Settings) -> str:
    """The images that `retrain` trains on, as far as the settings say; at least one of the two."""
    labels = []
    if IMAGES in settings:
        number = "all" if settings[IMAGES] == "null" else settings[IMAGES]
        labels.append(f"{number} clean images")
    extra = settings.get(EXTRA)
    if extra is not None and not labels:
        labels.append("no extra images" if extra == "0" else f"{extra} extra images")
    elif extra not in (None, "0"):
        labels.append(f"{extra} extra")
    return " + ".join(labels)
