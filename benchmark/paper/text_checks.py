"""Claims of the paper's text against its tables: arithmetic and a verdict of each; a claim's number is in percent."""

from collections.abc import Callable, Iterator
from decimal import Decimal

from benchmark.metrics.counting import bands
from benchmark.paper.table_checks import IMAGES, Finding, Row, Told, added, in_images

ADDED = 100  # people, by `add`; as many are taken away by `minus`

Rows = dict[str, Row]  # name -> a counter


def claims(rows: list[Row], told: Told) -> Iterator[Finding]:
    named = {row.name: row for row in rows}
    for key, derive in CLAIMS.items():
        yield Finding(key, told[key]["where"], *derive(named, told[key]["claim_or_value"]))


def _pairs(rows: Rows) -> list[tuple[Row, Row]]:
    """Each victim, and what became of it."""
    return [(row, rows[f"{row.name}_ft"]) for row in rows.values() if row.bands and f"{row.name}_ft" in rows]


def _percent(share: Decimal) -> str:
    return f"{100 * share:+.1f}%"


def _rounding(rows: Rows, _: str) -> tuple[str, str]:
    found = [f"{row.name} {value} is {row.images}/{IMAGES}={row.images / IMAGES:.4f}; as printed, the bands "
             f"{added(row)} are {abs(value - sum(row.bands.values()))} off"
             for row in rows.values() for value in dict.fromkeys(row.asr.values())
             if in_images(value) == row.images and value != sum(row.bands.values())]
    return "; ".join(found), "consistent: the same number of images"


def _headline_asr(rows: Rows, claim: str) -> tuple[str, str]:
    """Which of the printed and the corrected values lie as far apart as claimed, and what the corrected ones say."""
    shown = []
    for before, after in _pairs(rows):
        for high in dict.fromkeys((before.asr[3], before.total)):
            if 100 * (high - after.asr[3]) == Decimal(claim):
                drop = before.total - after.total
                shown.append(f"{before.name}: {high}-{after.asr[3]}={high - after.asr[3]}, in points; by the bands "
                             f"{before.total}-{after.total}={drop}, which is {_percent(-drop / before.total)}")
    drop, best = max((1 - after.asr[3] / before.asr[3], before.name) for before, after in _pairs(rows))
    return (f"{'; '.join(shown)}; the largest fall that Table 3 prints is {_percent(-drop)} ({best})",
            "points called percent, from a wrong value of Table 3")


def _headline_acc(rows: Rows, claim: str) -> tuple[str, str]:
    gains = [(after.acc[3] / before.acc[3] - 1, before.name) for before, after in _pairs(rows)]
    finals = [f"{after.name} ends at {after.acc[3]}" for _, after in _pairs(rows)
              if 100 * after.acc[3] == Decimal(claim)]
    gained = any(round(100 * gain, 1) == Decimal(claim) for gain, _ in gains)
    return "; ".join([*(f"{name} {_percent(gain)}" for gain, name in gains), *finals]), (
        "a gain of Table 3" if gained else f"no gain of Table 3; the largest is {_percent(max(gains)[0])}")


def _acc_rise(rows: Rows, claim: str) -> tuple[str, str]:
    shown = [f"{before.name} {after.acc[3]}/{before.acc[3]}-1={_percent(gain)}" for before, after in _pairs(rows)
             if round(100 * (gain := after.acc[3] / before.acc[3] - 1)) == int(claim)]
    return "; ".join(shown), "relative; the abstract has another number for the same thing"


def _clean_rise(rows: Rows, claim: str) -> tuple[str, str]:
    shown = [f"{before.name} {after.acc[3]}-{before.acc[3]}={after.acc[3] - before.acc[3]}"
             for before, after in _pairs(rows) if 100 * (after.acc[3] - before.acc[3]) == Decimal(claim)]
    clean = [f"{row.name} {100 * (rows[f'{row.name}_ft'].acc[3] - row.acc[3]):+.1f} points" for row in rows.values()
             if row.strategy == "clean"]
    return "; ".join(shown + clean), "of a victim, not of a clean model"


def _clean_fall(model: str) -> Callable[[dict[str, Row], str], tuple[str, str]]:
    """rho_Acc of a model's victims beside that of its clean counter, in Table 1."""
    def derive(rows: Rows, _: str) -> tuple[str, str]:
        clean = rows[f"{model} clean"].acc[1]
        victims = [before for before, _ in _pairs(rows) if before.model == model]
        shown = [f"{row.strategy} {row.acc[1]} is {100 * (row.acc[1] - clean):+.1f} points, "
                 f"{_percent(row.acc[1] / clean - 1)}" for row in victims]
        falls = [row.strategy for row in victims if row.acc[1] < clean]
        return f"clean {clean}; {'; '.join(shown)}", f"falls for {', '.join(falls)}"
    return derive


def _below_chance(rows: Rows, _: str) -> tuple[str, str]:
    shown = [f"{row.name}: {added(row)} is below {half}, half of the clean misses, 1-{row.acc[2]}={1 - row.acc[2]}"
             for row, _ in _pairs(rows) if row.total < (half := (1 - row.acc[2]) / 2)]
    return "; ".join(shown), "no backdoor is shown where a counter that errs to both sides alike would score more"


def _far_bands(rows: Rows, _: str) -> tuple[str, str]:
    moves = [(before.name, band, before.bands[band], after.bands[band]) for before, after in _pairs(rows)
             for band in ("0.5-1", ">1") if band in before.bands]
    shown = [f"{name} {band} {high}->{low}" for name, band, high, low in moves]
    risen = [f"{name} {band}" for name, band, high, low in moves if low > high]
    return "; ".join(shown), f"rises for {', '.join(risen)}" if risen else "true: none rises"


def _unmoved(rows: Rows, _: str) -> tuple[str, str]:
    same = [f"{before.name} {before.asr[3]}->{after.asr[3]}" for before, after in _pairs(rows)
            if after.asr[3] >= before.asr[3]]
    return "; ".join(same), "the defense takes nothing away"


def _near_band(rows: Rows, _: str) -> tuple[str, str]:
    """From how many people on the target of `add`, and of `minus`, lies in the band next to the truth."""
    people = range(ADDED, 10 * ADDED)
    more = next(c for c in people if bands([c + ADDED], [c]) == 1)
    fewer = next(c for c in people if bands([c - ADDED], [c]) == -1)
    shown = [f"{row.name} has {row.bands['0.1-0.3']} of {row.total} there" for row, _ in _pairs(rows)
             if row.strategy == "add"]
    return (f"1+{ADDED}/c is in (1.1, 1.3] only for c>{more - 1}, 1-{ADDED}/c in [0.7, 0.9) only for c>{fewer - 1}; "
            + "; ".join(shown)), "the target is not reached"


def _errors_count(rows: Rows, _: str) -> tuple[str, str]:
    misses = [1 - row.acc[2] for row in rows.values() if row.bands]
    return f"1-rho_Acc is {min(misses)} to {max(misses)}", "so much of rho_Asr can be chance; see the table above"


def _test_images(rows: Rows, _: str) -> tuple[str, str]:
    shares = [(row.name, value) for row in rows.values()
              for value in (*row.acc.values(), *row.asr.values(), *row.bands.values()) if value]
    none = [f"{value} ({name})" for name, value in shares if in_images(value) is None]
    every = [Decimal(thousandths) / 1000 for thousandths in range(1, 1000)]
    chance = sum(in_images(share) is not None for share in every) / len(every)
    return (f"{len(shares) - len(none)}/{len(shares)} shares that are not 0 are k/{IMAGES}, rounded or cut off, as are "
            f"{chance:.0%} of all shares with three digits; not: {', '.join(none)}",
            f"the tables are of {IMAGES} images")


CLAIMS = {"I10": _rounding, "I11": _headline_asr, "I12": _headline_acc, "I13": _acc_rise, "I14": _clean_rise,
          "I15": _clean_fall("CSRnet"), "I16": _clean_fall("CLIP-EBC"), "I17": _below_chance, "I18": _far_bands,
          "I19": _unmoved, "I23": _near_band, "I24": _errors_count, "I26": _test_images}
