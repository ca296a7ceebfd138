"""The answer in words, made from the numbers: who is first, how sure that is, who failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from markupsafe import Markup

from harness.errors import printable
from harness.metrics import RETRAIN
from harness.ranking import OVERALL
from harness.report.blocks import slug
from harness.report.forest import Estimates
from harness.report.meanings import HEADLINE, Meanings, in_order
from harness.report.numbers import bracket, decimals, fixed, places, several
from harness.report.roster import Competitor, Entry, Roster

Columns = dict[str, Any]
TIME, USEFUL = "time_ratio", "accuracy_test"
MOST_NAMED, NAMED_OF_MANY = 8, 3
"""Methods that a sentence names, and how many of them where there are more."""


@dataclass(frozen=True)
class Note:
    """What is said beside the answer, and the question that it answers in a word or two."""

    label: str
    text: Markup


@dataclass(frozen=True)
class Answer:
    """One sentence, and what has to be said with it."""

    lead: Markup
    notes: Sequence[Note]


def answer(
    rankings: pl.DataFrame,
    roster: Roster,
    found: Mapping[str, Estimates],
    meanings: Meanings,
    audited: Markup,
) -> Answer:
    """Return the answer that a ranking gives, of one without rows just that; `audited` is the audit's own."""
    own = rankings.filter(pl.col("group") == OVERALL)
    rows = {(r["method"], r["config"]): r for r in own.filter(pl.col("metric") == OVERALL).iter_rows(named=True)}
    ranked = [entry for entry in roster.of_status("ranked") if entry.competitor in rows]
    notes = [Note("Audit", audited)]
    if ranked:
        notes = [
            Note("How sure", _places(rows, ranked)),
            Note("At what cost", _cost(_firsts(rows, ranked), found, meanings)),
            *notes,
            Note("Best on", _bests(own, roster, found, meanings)),
            Note("Failed", _failed(roster.of_status("failed"))),
            Note("Careful", _patchy(ranked, rows)),
        ]
    return Answer(_lead(rows, ranked, roster), [note for note in notes if note.text])


def names(entries: Sequence[Entry]) -> Markup:
    """Return names as in a sentence: a, b and c."""
    return joined([Markup("<strong>{}</strong>").format(entry.label) for entry in entries])


def joined(parts: Sequence[str]) -> Markup:
    """Return escaped parts as in a sentence: a, b and c."""
    if len(parts) < 2:
        return Markup("").join(parts)
    return Markup("{} and {}").format(Markup(", ").join(parts[:-1]), parts[-1])


def _lead(rows: Mapping[Competitor, Columns], ranked: Sequence[Entry], roster: Roster) -> Markup:
    if not ranked:
        return _nobody(rows, roster)
    first = _firsts(rows, ranked)
    out_of = f"of {several(len(ranked), 'ranked method')}"
    if len(ranked) == 1:
        return Markup("{} is the only method with a rank, so it has been compared with nothing but retrain.").format(
            names(ranked)
        )
    if len(first) > 1:
        unsure = (
            ""
            if rows[first[0].competitor]["tie_group"] is not None
            else "; on one seed nobody can say how sure that is"
        )
        return Markup("{} share the first place {}{}.").format(names(first), out_of, unsure)
    return Markup("{} comes first {}{}").format(names(first), out_of, _how_sure(rows, ranked))


def _firsts(rows: Mapping[Competitor, Columns], ranked: Sequence[Entry]) -> list[Entry]:
    best = rows[ranked[0].competitor]["rank"]
    return [entry for entry in ranked if rows[entry.competitor]["rank"] == best]


def _places(rows: Mapping[Competitor, Columns], ranked: Sequence[Entry]) -> Markup:
    """Return in which places those that come first may be, where there are seeds to tell."""
    firsts = [(entry, rows[entry.competitor]) for entry in _firsts(rows, ranked)]
    known = [(entry, row) for entry, row in firsts if row["rank_low"] is not None]
    if len(ranked) == 1 or not known:
        return Markup("")
    parts = [
        Markup("{} is in place {}").format(names([entry]), places(row["rank"], row["rank_low"], row["rank_high"]))
        for entry, row in known
    ]
    return Markup("{} of {} (95 % interval from {}).").format(joined(parts), len(ranked), _basis(known[0][1]))


def _cost(firsts: Sequence[Entry], found: Mapping[str, Estimates], meanings: Meanings) -> Markup:
    """Return the time of the first methods relative to retraining, and what accuracy is left beside retrain's."""
    parts = []
    for entry in firsts:
        if (time := _measured(TIME, entry.competitor, found, meanings)) is not None:
            parts.append(Markup("{} takes {} of the time of retraining").format(names([entry]), time))
        if (left := _measured(USEFUL, entry.competitor, found, meanings)) is not None:
            parts.append(Markup("{} keeps a test accuracy of {}").format(names([entry]), left))
    retrain = _measured(USEFUL, (RETRAIN, "default"), found, meanings)
    if not parts:
        return Markup("")
    beside = Markup(" (retrain {})").format(retrain) if retrain else ""
    untimed = "" if TIME in found else " Run time was not measured."
    return Markup("{}{}.{}").format(Markup("; ").join(parts), beside, untimed)


def _measured(metric: str, who: Competitor, found: Mapping[str, Estimates], meanings: Meanings) -> str | None:
    """Return a mean with its interval as the tables write it, None where it is not known."""
    known = found.get(metric, {})
    if metric not in meanings or who not in known:
        return None
    digits = decimals((one.value for one in known.values()), (one.half for one in known.values()))
    own = known[who]
    return " ".join(part for part in (fixed(own.value, digits), bracket(own.low, own.high, digits)) if part)


def _nobody(rows: Mapping[Competitor, Columns], roster: Roster) -> Markup:
    failed = roster.of_status("failed")
    if not rows:
        return Markup("There is no answer yet: the study has no ranking.")
    if failed:
        return Markup("No method has a rank: {} failed.").format(names(failed))
    return Markup("No method has a rank: none has values on all metrics that the ranking combines.")


def _how_sure(rows: Mapping[Competitor, Columns], ranked: Sequence[Entry]) -> Markup:
    """Return how the sentence about the first ends: with those who cannot be told from it."""
    first = rows[ranked[0].competitor]
    if first["tie_group"] is None:
        return Markup("; on one seed nobody can say how sure that is.")
    basis = _basis(first)
    tied = [entry for entry in ranked[1:] if rows[entry.competitor]["tie_group"] == first["tie_group"]]
    if not tied:
        return Markup(", and {} tell it apart from every other.").format(basis)
    if len(tied) == len(ranked) - 1:
        return Markup(", but {} cannot tell it apart from any other.").format(basis)
    return Markup(", but {} cannot tell it apart from {}.").format(basis, _some(tied))


def _some(entries: Sequence[Entry]) -> Markup:
    """Return names as in a sentence; of many the first ones, and how many more there are."""
    if len(entries) <= MOST_NAMED:
        return names(entries)
    return Markup("{} others, of which {} come next").format(len(entries), names(entries[:NAMED_OF_MANY]))


def _basis(row: Columns) -> str:
    seeds = several(row["seeds"], "seed")
    return seeds if row["cells"] == 1 else f"{several(row['cells'], 'cell')} with {seeds}"


def _failed(failed: Sequence[Entry]) -> Markup:
    link = Markup('<a href="#failures">why</a>')
    return (
        Markup("{} failed and {} no rank ({}).").format(names(failed), "has" if len(failed) == 1 else "have", link)
        if failed
        else Markup("")
    )


def _bests(own: pl.DataFrame, roster: Roster, found: Mapping[str, Estimates], meanings: Meanings) -> Markup:
    """Return who is best on which headline metrics, with the values."""
    best = pl.col("rank") == pl.col("rank").min().over("metric")
    rows = own.filter(best).sort("method", "config").rows(named=True)
    won: dict[tuple[Entry, ...], list[Markup]] = {}
    for metric in in_order(set(HEADLINE), meanings):
        firsts = [row for row in rows if row["metric"] == metric]
        if firsts:
            known = found[metric].values()
            digits = decimals((one.value for one in known), (one.half for one in known))
            name = Markup('<a href="#def-{}">{}</a>').format(slug(metric), printable(meanings[metric].label))
            text = Markup("{} ({})").format(name, fixed(firsts[0]["value"], digits))
            won.setdefault(tuple(roster[row["method"], row["config"]] for row in firsts), []).append(text)
    parts = [
        Markup("{} {} best on {}").format(names(who), "is" if len(who) == 1 else "are", joined(metrics))
        for who, metrics in won.items()
    ]
    return Markup("{}.").format(Markup("; ").join(parts)) if parts else Markup("")


def _patchy(ranked: Sequence[Entry], rows: Mapping[Competitor, Columns]) -> Markup:
    shares = {entry: rows[entry.competitor]["coverage"] for entry in ranked}
    patchy = [entry for entry, share in shares.items() if share is not None and share < 1 - 1e-9]
    text = "Some trials of {} are missing: the means are over the rest and may flatter."
    return Markup(text).format(names(patchy)) if patchy else Markup("")


def audit_note(audited: Mapping[str, Sequence[Entry]]) -> Markup:
    """Return what the audit found: the methods by verdict, the keys of `harness.report.audit.verdicts`."""
    no_sign = "The audit finds no sign of what {} should have forgotten"
    texts = {
        "found": "The audit still recognises what {} should have forgotten.",
        "told apart": "The audit cannot tell what {} should have forgotten from images that were never in (null O), "
        "but it tells the model from a retrain (null R).",
        "not found": f"{no_sign}, neither against images that were never in (null O) nor against retrained models "
        "(null R).",
        "not found, R in part": f"{no_sign}, neither against images that were never in (null O) nor against retrained "
        "models (null R), but null R was not run on every pool.",
        "not found, R not run": f"{no_sign} against images that were never in (null O); null R (retrained models) was "
        "not run.",
        "not tried": "On {} no attack of level L2 was tried: levels L0 and L1 can convict a method, but never acquit "
        "it.",
    }
    parts = [Markup(text).format(names(who)) for verdict, text in texts.items() if (who := audited.get(verdict))]
    return Markup(" ").join(parts)


def validation_note(seeing: Sequence[Entry]) -> Markup:
    """Return the warning about methods that may read the validation part."""
    text = "{} may read the validation images: what is measured on them, the population MIA too, flatters."
    return Markup(text).format(names(seeing))


def idle_note(idle: Sequence[Entry]) -> Markup:
    """Return the warning about methods that left the weights of some original as they were."""
    return Markup("{} changed no weight in some trial: its model there is what it started from.").format(names(idle))


def test_note(chosen: Sequence[Entry]) -> Markup:
    """Return the warning about methods whose model was chosen on test."""
    text = "the model of {} was chosen by its accuracy on test: all its numbers flatter, and none is a fair comparison."
    return Markup(text).format(names(chosen))
