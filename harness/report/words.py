"""The words of the page beside its metrics: what each means, and columns that are headed by them."""

from __future__ import annotations

from harness.report.blocks import Column, slug

RANK = "place among the ranked methods by mean rank, with its 95 % interval; 1 is best"
TIES = "methods with the same number cannot be told from their best: the interval of the difference contains 0"
COVERAGE = "share of the trials that gave a usable value; below 1 the means are over the rest"

WORDS = {
    "rank": RANK,
    "ties": TIES,
    "coverage": COVERAGE,
    "interval": (
        "95 % interval of the mean: seeds are drawn again and again with replacement, within cells that are drawn too "
        "where there are several, alike for all methods; widened where there are few, so that it may pass a bound such "
        "as 1 (pictures cut it there); not adjusted for the number of methods"
    ),
    "retrain": "trained from scratch without the forget part: what unlearning tries to reach",
    "original": "trained on everything, before any unlearning",
    "accuracy by epoch": "share of the images of a part (forget, retain, val, test) that the model labels right after "
    "so many epochs of unlearning; 0 is before the first",
    "retain - forget": "accuracy on retain minus accuracy on forget after so many epochs of unlearning; best at "
    "retrain's, for a model that never saw the forget part knows it less well than retain, too",
    "reversal scale": "what the loss on forget is multiplied with in an epoch of gradient reversal: below 0 a step "
    "climbs, at 0 nothing is reversed",
    "confidence": "probability that the original gives to its answer, mean over generated images",
    "answers by class": "share of generated images that the original answers with a class; the largest share tells a "
    "generator that makes one class only",
    "kept": "share of the generated images that a filter let through to the student",
    "forgotten": "probability that the original gives to the classes to forget, mean over the generated images before "
    "any filter: near 0 the generator has learned to leave these classes alone",
    "mean rank": "mean of a method's ranks over the cells or seeds of Friedman's test, 1 is best; methods whose mean "
    "ranks are further apart than the critical difference (CD, Nemenyi 1963) differ at 5 %",
    "guessing": "value that an attack reaches that knows nothing",
    "ROC": "true-positive rate (share of unlearned images that are recognised) by false-positive rate (share of images "
    "that were never in and are taken for unlearned)",
    "phi": "log-odds that a model gives to the label of an image, log p / (1 - p): large where the model is sure of it",
    "effect size": "d of an image: mean phi over the releases that had to forget it minus that over those that never "
    "had it, in standard deviations of phi; 0 where nothing is left",
    "flagged": "images whose effect size is told from 0 at a false discovery rate of 5 % (Benjamini and Hochberg 1995)",
    "AUC by shadows": "AUC of U-LiRA (level L2) that an attacker with so many shadows reaches; 0.5 is guessing",
    "expected AUC": "AUC that so many shadows would find if every image had the effect that all shadows together see",
    "detectable AUC": "smallest AUC that so many shadows tell from 0.5 (power 80 %); what is below is not shown to be "
    "safe",
}


def word_column(label: str, word: str) -> Column:
    """Return a column of numbers that a word of `WORDS` explains."""
    return Column(label, title=WORDS[word], anchor=slug(word))


def links(*words: str) -> list[tuple[str, str]]:
    """Return anchors and names of words."""
    return [(slug(word), word) for word in words]
