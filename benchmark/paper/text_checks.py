"""Checks of claims in the paper's text against its tables: the arithmetic and a verdict of each.

A number in a claim is a percentage.
"""

from collections.abc import Callable, Iterator
from decimal import Decimal

from benchmark.metrics.counting import bands
from benchmark.paper.table_checks import IMAGES, KnownErrors, PaperCheck, PaperCounter, in_images

ADDED = 100  # people added by the target `add`, and removed by `minus`

Counters = dict[str, PaperCounter]  # name -> counter
Derivation = tuple[str, str]  # arithmetic, verdict


def text_checks(counters: list[PaperCounter], known: KnownErrors) -> Iterator[PaperCheck]:
    """A check of each claim of CLAIMS."""
    by_name = {counter.name: counter for counter in counters}
    for key, derive in CLAIMS.items():
        arithmetic, verdict = derive(by_name, known[key]["claim_or_value"])
        yield PaperCheck(key, known[key]["where"], arithmetic, verdict)


def _victims(counters: Counters) -> list[tuple[PaperCounter, PaperCounter]]:
    """Each victim that was fine-tuned, before and after it."""
    return [(counter, counters[f"{counter.name}_ft"]) for counter in counters.values()
            if counter.bands and f"{counter.name}_ft" in counters]


def _percent(share: Decimal) -> str:
    return f"{100 * share:+.1f}%"


def _rounding(counters: Counters, _: str) -> Derivation:
    roundings = []
    for counter in counters.values():
        bands_sum = sum(counter.bands.values())
        for value in dict.fromkeys(counter.asr.values()):
            if in_images(value) == counter.images and value != bands_sum:
                roundings.append(
                    f"{counter.name} {value} is {counter.images}/{IMAGES}="
                    f"{counter.images / IMAGES:.4f}; the printed bands {counter.sum_text} differ "
                    f"from it by {abs(value - bands_sum)}")
    return "; ".join(roundings), "consistent: the same number of images"


def _headline_asr(counters: Counters, claim: str) -> Derivation:
    """Falls of the printed and of the corrected rho_Asr that equal the claimed one."""
    matches = []
    falls = []
    for before, after in _victims(counters):
        falls.append((1 - after.asr[3] / before.asr[3], before.name))
        corrected_fall = before.total - after.total
        for high in dict.fromkeys((before.asr[3], before.total)):
            fall = high - after.asr[3]
            if 100 * fall == Decimal(claim):
                matches.append(
                    f"{before.name}: {high}-{after.asr[3]}={fall}, in points; by the bands "
                    f"{before.total}-{after.total}={corrected_fall}, which is "
                    f"{_percent(-corrected_fall / before.total)}")
    largest, name = max(falls)
    return (f"{'; '.join(matches)}; the largest relative fall in Table 3 is {_percent(-largest)} "
            f"({name})", "points reported as percent, from a wrong value of Table 3")


def _headline_acc(counters: Counters, claim: str) -> Derivation:
    gains = [(after.acc[3] / before.acc[3] - 1, before.name)
             for before, after in _victims(counters)]
    shown = [f"{name} {_percent(gain)}" for gain, name in gains]
    for _, after in _victims(counters):
        if 100 * after.acc[3] == Decimal(claim):
            shown.append(f"{after.name} ends at {after.acc[3]}")
    if any(round(100 * gain, 1) == Decimal(claim) for gain, _ in gains):
        return "; ".join(shown), "a gain of Table 3"
    return "; ".join(shown), f"no gain of Table 3; the largest is {_percent(max(gains)[0])}"


def _acc_rise(counters: Counters, claim: str) -> Derivation:
    matches = []
    for before, after in _victims(counters):
        gain = after.acc[3] / before.acc[3] - 1
        if round(100 * gain) == int(claim):
            matches.append(f"{before.name} {after.acc[3]}/{before.acc[3]}-1={_percent(gain)}")
    return "; ".join(matches), "relative; the abstract gives another number for the same gain"


def _clean_rise(counters: Counters, claim: str) -> Derivation:
    shown = []
    for before, after in _victims(counters):
        gain = after.acc[3] - before.acc[3]
        if 100 * gain == Decimal(claim):
            shown.append(f"{before.name} {after.acc[3]}-{before.acc[3]}={gain}")
    for counter in counters.values():
        if counter.strategy == "clean":
            gain = counters[f"{counter.name}_ft"].acc[3] - counter.acc[3]
            shown.append(f"{counter.name} {100 * gain:+.1f} points")
    return "; ".join(shown), "the gain of a victim, not of a clean model"


def _clean_fall(model: str) -> Callable[[Counters, str], Derivation]:
    """A comparison of rho_Acc of a model's victims with that of its clean counter, in Table 1."""
    def derive(counters: Counters, _: str) -> Derivation:
        clean = counters[f"{model} clean"].acc[1]
        victims = [before for before, _ in _victims(counters) if before.model == model]
        shown = [f"{victim.strategy} {victim.acc[1]} is {100 * (victim.acc[1] - clean):+.1f} "
                 f"points, {_percent(victim.acc[1] / clean - 1)}" for victim in victims]
        falls = [victim.strategy for victim in victims if victim.acc[1] < clean]
        return f"clean {clean}; {'; '.join(shown)}", f"falls for {', '.join(falls)}"
    return derive


def _below_chance(counters: Counters, _: str) -> Derivation:
    shown = []
    for victim, _ in _victims(counters):
        misses = 1 - victim.acc[2]
        if victim.total < misses / 2:
            shown.append(f"{victim.name}: {victim.sum_text} is below {misses / 2}, half of the "
                         f"clean misses, 1-{victim.acc[2]}={misses}")
    return "; ".join(shown), ("no backdoor is shown where a counter with equal errors in both "
                              "directions would score more")


def _far_bands(counters: Counters, _: str) -> Derivation:
    shown, risen = [], []
    for before, after in _victims(counters):
        for band in ("0.5-1", ">1"):
            if band not in before.bands:
                continue
            high, low = before.bands[band], after.bands[band]
            shown.append(f"{before.name} {band} {high}->{low}")
            if low > high:
                risen.append(f"{before.name} {band}")
    return "; ".join(shown), f"rises for {', '.join(risen)}" if risen else "true: none rises"


def _unmoved(counters: Counters, _: str) -> Derivation:
    same = [f"{before.name} {before.asr[3]}->{after.asr[3]}"
            for before, after in _victims(counters) if after.asr[3] >= before.asr[3]]
    return "; ".join(same), "the defense does not reduce it"


def _near_band(counters: Counters, _: str) -> Derivation:
    """True counts from which the targets of `add` and `minus` lie in the band next to the truth."""
    people = range(ADDED, 10 * ADDED)
    more = next(count for count in people if bands([count + ADDED], [count]) == 1)
    fewer = next(count for count in people if bands([count - ADDED], [count]) == -1)
    shown = [f"{victim.name} has {victim.bands['0.1-0.3']} of {victim.total} there"
             for victim, _ in _victims(counters) if victim.strategy == "add"]
    limits = (f"1+{ADDED}/c is in (1.1, 1.3] only for c>{more - 1}, "
              f"1-{ADDED}/c in [0.7, 0.9) only for c>{fewer - 1}")
    return "; ".join([limits, *shown]), "the target is not reached"


def _errors_count(counters: Counters, _: str) -> Derivation:
    misses = [1 - counter.acc[2] for counter in counters.values() if counter.bands]
    return (f"1-rho_Acc is {min(misses)} to {max(misses)}",
            "chance alone can give a rho_Asr of up to this value; see the table above")


def _test_images(counters: Counters, _: str) -> Derivation:
    shares = []
    for counter in counters.values():
        values = [*counter.acc.values(), *counter.asr.values(), *counter.bands.values()]
        shares += [(counter.name, value) for value in values if value]
    others = [f"{value} ({name})" for name, value in shares if in_images(value) is None]
    every = [Decimal(thousandths) / 1000 for thousandths in range(1, 1000)]
    chance = sum(in_images(share) is not None for share in every) / len(every)
    return (f"{len(shares) - len(others)}/{len(shares)} shares other than 0 are k/{IMAGES}, "
            f"rounded or cut off, as are {chance:.0%} of all shares with three digits; not: "
            f"{', '.join(others)}", f"the tables are of {IMAGES} images")


CLAIMS = {
    "I10": _rounding, "I11": _headline_asr, "I12": _headline_acc, "I13": _acc_rise,
    "I14": _clean_rise, "I15": _clean_fall("CSRnet"), "I16": _clean_fall("CLIP-EBC"),
    "I17": _below_chance, "I18": _far_bands, "I19": _unmoved, "I23": _near_band,
    "I24": _errors_count, "I26": _test_images}
