"""The tables of a root, column by column: type, meaning, unit. The only place where a column is declared.

Every table that is about a unit starts with the identity columns. A column may be added at the end of a table
(older files read as null there); none is renamed, retyped or removed without raising SCHEMA_VERSION.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import pyarrow as pa

_text, _int, _small, _float, _flag = pa.string(), pa.int64(), pa.int32(), pa.float64(), pa.bool_()
_time = pa.timestamp("us", tz="UTC")

FRACTION, SECONDS, BYTES = "fraction", "s", "bytes"
RETRAIN_SD = "standard deviations of retrain"


@dataclass(frozen=True)
class Column:
    """One column: `unit` is empty where a value is no quantity."""

    name: str
    type: pa.DataType
    what: str
    unit: str = ""


@dataclass(frozen=True)
class Table:
    """One table: what a row of it is, and its columns in their order."""

    row: str
    columns: tuple[Column, ...]


_CELL = (
    Column("dataset", _text, "data set, such as fashion_mnist@10000"),
    Column("scenario", _text, "how the forget set is drawn, such as random:0.1"),
    Column("architecture", _text, "network"),
    Column("method", _text, "unlearning method; retrain and original are references"),
    Column("config", _text, "where its hyperparameters come from: default, given values, a suggestion, a search"),
)
_STUDY = Column("study", _text, "name of the study")
_SEED = Column("seed", _int, "seed of split, training and unlearning")
_IDENTITY = (
    Column("unit", _text, "id of the unit, a hash of all that its result depends on"),
    Column(
        "kind",
        _text,
        "original, retrain, artifact, search, unlearn, relearn, attack, compare, probe, timing, shadow, "
        "shadow_retrain, shadow_unlearn",
    ),
    *_CELL,
    _SEED,
    Column("attempt", _small, "1 for the first; the newest is the one that is read"),
)


def _of_units(row: str, *columns: Column) -> Table:
    return Table(row, (*_IDENTITY, *columns))


TABLES: Mapping[str, Table] = MappingProxyType(
    {
        "units": _of_units(
            "one unit of work that has ended",
            Column("status", _text, "done, diverged (a result) or failed"),
            Column("hyperparameters", _text, "all of them, defaults included, as JSON"),
            Column("seconds", _float, "wall clock of the whole unit", SECONDS),
            Column("work_seconds", _float, "of the train or unlearn call alone, device synchronised", SECONDS),
            Column("steps", _int, "optimiser steps", "steps"),
            Column("peak_memory", _int, "most memory on the device; null on a CPU", BYTES),
            Column("parameters", _int, "of the network", "numbers"),
            Column("device", _text, "what it ran on, such as cpu or the name of a GPU"),
            Column("share", _float, "of the device", FRACTION),
            Column("host", _text, "name of the machine"),
            Column("started", _time, "when it began", "UTC"),
            Column("versions", _text, "of the harness, its commit and the packages that numbers depend on, as JSON"),
            Column("model", _text, "sha256 of the weights that are kept in models/, or null"),
            Column("epochs", _float, "asked for by its recipe or its hyperparameters; null where by neither", "epochs"),
            Column(
                "together",
                _small,
                "shadows trained at once: seconds are those of all, divided by it; peak memory is that of all",
                "units",
            ),
        ),
        "hyperparameters": _of_units(
            "one hyperparameter of one unit",
            Column("name", _text, "of the hyperparameter"),
            Column("number", _float, "its value, where it is a number"),
            Column("text", _text, "its value, where it is a text"),
        ),
        "metrics": _of_units(
            "one stored number of one unit",
            Column(
                "part", _text, "retain, forget, val, test, train, or all; test_retain, test_forget: test by its classes"
            ),
            Column(
                "metric",
                _text,
                "accuracy, loss, population_mia, mia_confidence, mia_entropy, mia_logistic, seconds, relearn_steps, "
                "images_seen, optimiser_steps, ...: `harness ls metrics`",
            ),
            Column("value", _float, "null where it cannot be computed; unit as `harness ls metrics --json` says"),
        ),
        "epochs": _of_units(
            "one epoch of one unit: the curves",
            Column("epoch", _small, "0 is before the first", "epochs"),
            Column("loss", _float, "mean training loss of the epoch", "nat"),
            Column("learning_rate", _float, "of its last step"),
            *(Column(part, _float, f"accuracy on {part}", FRACTION) for part in ("retain", "forget", "val", "test")),
            Column("steps", _int, "optimiser steps until its end", "steps"),
            Column("test_retain", _float, "accuracy on the test images of classes to keep", FRACTION),
            Column("test_forget", _float, "accuracy on the test images of classes to forget", FRACTION),
        ),
        "traces": _of_units(
            "what a method noted of one epoch",
            Column("epoch", _small, "as in epochs", "epochs"),
            Column("name", _text, "of what was noted, such as kept: the share of images that a filter let through"),
            Column("values", pa.list_(pa.float32()), "means over the epoch: one number, or one for each class"),
        ),
        "sheets": _of_units(
            "one sheet of images that an artifact showed, such as samples of a GAN",
            Column("name", _text, "of the sheet"),
            Column("images", _int, "on the sheet", "images"),
            Column("png", _text, "the sheet as a PNG file, in base64"),
        ),
        "signals": _of_units(
            "what one shadow or unlearned model says of one audit pool",
            Column("pool", _text, "audit pool"),
            Column("query", _text, "identity, or flip: the images mirrored"),
            Column("phi", pa.list_(pa.float32()), "log p/(1 - p) of the label, by image of the pool", "nat"),
            Column("member", pa.list_(pa.bool_()), "whether the image was in the training data, by image"),
            Column("n", _int, "images in the pool", "images"),
        ),
        "pools": Table(
            "one image of one audit pool",
            (
                Column("dataset", _text, "data set"),
                Column("farm", _text, "digest of pools and seed: farms of one root draw their own"),
                Column("pool", _text, "audit pool"),
                Column("index", _int, "of the image in the data set"),
                Column("label", _int, "its class"),
                Column("trained_label", _int, "the class it is trained with: another one for a canary"),
                Column("kind", _text, "own or random: the labels that its images train with"),
            ),
        ),
        "attacks": Table(
            "one number of the audit",
            (
                _STUDY,
                *_CELL,
                Column("pool", _text, "audit pool"),
                Column("null", _text, "what forgotten is told from: O never in, R retrained, population"),
                Column(
                    "level",
                    _text,
                    "attacker: L0 one threshold, L1 original shadows, L2 same method, L3 before too; trials: no farm",
                ),
                Column("metric", _text, "auc, tpr@0.01, eps_cp, ...: `harness ls metrics`"),
                Column("version", _small, "of the attack: numbers of two versions are not compared"),
                Column("value", _float, "the number"),
                Column("se", _float, "its standard error"),
                Column("low", _float, "lower end of its 95 % interval"),
                Column("high", _float, "upper end of its 95 % interval"),
                Column("p_value", _float, "two-sided, against the null floor", FRACTION),
                Column("null_floor", _float, "its value where nothing leaks"),
                Column(
                    "realised_fpr", _float, "false-positive rate of the threshold on what it was not set by", FRACTION
                ),
                Column("false_positives", _int, "behind a rate at low FPR", "images"),
                Column("n", _int, "shadows; with level trials, models a side", "models"),
                Column("k_u", _int, "observations of each image, unlearned", "models"),
                Column("k_o", _int, "observations of each image in the null world", "models"),
                Column("examples", _int, "images", "images"),
                Column("flags", _text, "what to know before reading it, such as coverage:15/16"),
                Column(
                    "p_adjusted", _float, "p for all rows of the study with this null, level, metric (Holm)", FRACTION
                ),
            ),
        ),
        "failures": _of_units(
            "one failed attempt",
            Column("phase", _text, "start, load, train, make, unlearn, relearn, evaluate, attack, compare or probe"),
            Column("exception", _text, "its class"),
            Column("message", _text, "what it says"),
            Column("traceback", _text, "where it was raised"),
            Column("device_memory", _int, "in use on the device", BYTES),
            Column("host", _text, "name of the machine"),
            Column("started", _time, "when the attempt began", "UTC"),
        ),
        "costs": Table(
            "what units of one class have taken on one device, those that failed left out",
            (
                Column("kind", _text, "of the units"),
                Column("dataset", _text, "data set, such as fashion_mnist@10000"),
                Column("architecture", _text, "network"),
                Column("method", _text, "unlearning method; retrain and original are references"),
                Column("device", _text, "what they ran on"),
                Column("units", _int, "that have ended", "units"),
                Column("seconds", _float, "mean wall clock of a unit", SECONDS),
                Column("median", _float, "of the same", SECONDS),
                Column("sd", _float, "standard deviation of the same; null for one unit", SECONDS),
                Column("work_seconds", _float, "mean of the train or unlearn call alone", SECONDS),
                Column("epochs", _float, "mean that a unit was asked for", "epochs"),
                Column("share", _float, "mean share of the device", FRACTION),
                Column("memory", _int, "most that a unit needed on the device; null on a CPU", BYTES),
                Column("last", _time, "when the newest of them began", "UTC"),
            ),
        ),
        "searches": Table(
            "one trial of a search",
            (
                _STUDY,
                Column("unit", _text, "id of the trial"),
                *_CELL,
                _SEED,
                Column("sampler", _text, "random or nsga3"),
                Column("number", _int, "of the suggestion"),
                Column("generation", _int, "whose results the suggestion was drawn from; 0 from none"),
                Column("seeds", _text, "that the suggestion is tried on, such as 0,1,2"),
                Column("retain_gap", _float, "|accuracy - retrain's| / 3; lower is better", FRACTION),
                Column("forget_gap", _float, "|accuracy - retrain's| / 3; lower is better", FRACTION),
                Column("val_gap", _float, "|accuracy - retrain's| / 3; lower is better", FRACTION),
                Column("discernibility", _float, "|2 MIA - 1| on val; lower is better", FRACTION),
                Column("norm", _float, "of the suggestion's objectives over all its seeds; null if one has none"),
                Column("chosen", _flag, "whether the study goes on with it"),
            ),
        ),
        "rankings": Table(
            "one method by one metric in one group of cells",
            (
                _STUDY,
                Column("group", _text, "overall, or one data set, scenario or architecture"),
                Column("metric", _text, "what is ranked by; overall is the mean of the ranks"),
                Column("method", _text, "unlearning method"),
                Column("config", _text, "where its hyperparameters come from; all searches are `search`"),
                Column("value", _float, "mean over seeds, then cells; unit and direction: `harness ls metrics --json`"),
                Column("low", _float, "lower end of its 95 % interval"),
                Column("high", _float, "upper end of its 95 % interval"),
                Column("rank", _float, "1 is best; null for references and what failed"),
                Column("rank_low", _float, "lower end of its 95 % interval"),
                Column("rank_high", _float, "upper end of its 95 % interval"),
                Column("tie_group", _small, "methods of one number cannot be told apart"),
                Column("coverage", _float, "of cells and seeds that gave a usable number", FRACTION),
                Column("status", _text, "ranked, reference or failed"),
                Column("cells", _int, "of the group", "cells"),
                Column("seeds", _int, "of the study", "seeds"),
                Column("g1", _int, "cells of the group in which it is in G1, the best", "cells"),
                Column("g2", _int, "cells in which it is in G2", "cells"),
                Column("g3", _int, "cells in which it is in G3", "cells"),
                Column("g_failed", _int, "cells in which it is in Failed", "cells"),
                Column("group_rank", _float, "by more G1, more G2, more G3, fewer Failed, the mean"),
                Column("z", _float, "how far from retrain's mean, mean over cells", RETRAIN_SD),
                Column("z_low", _float, "lower end of its 95 % interval", RETRAIN_SD),
                Column("z_high", _float, "upper end of its 95 % interval", RETRAIN_SD),
            ),
        ),
        "definitions": Table(
            "one metric",
            (
                Column("metric", _text, "its name"),
                Column("label", _text, "what it is called where there is little room"),
                Column("what", _text, "its definition"),
                Column("direction", _text, "lower or higher is better, or closest to the reference"),
                Column("reference", _text, "what a value is read against"),
                Column("reference_value", _float, "the reference, where it is a fixed number"),
                Column("unit", _text, "of its values"),
                Column("source", _text, "of its formula"),
            ),
        ),
    }
)

IDENTITY: tuple[str, ...] = tuple(column.name for column in _IDENTITY)
