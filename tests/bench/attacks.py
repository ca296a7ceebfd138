"""How fast and how large U-LiRA is: `python tests/bench/attacks.py [--big] [--json FILE]`; 1 where a limit is missed.

Seconds are those of one core (process time), the best of several runs. The loop fits every example and pair
by itself; it runs on a few examples and is scaled up to all of them.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
from table import Line, publish

from harness.attacks import ulira
from harness.attacks.student import fit_prior

SHADOWS, EXAMPLES, MANY, KEPT, LOOPED = 256, 1_000, 50_000, 8_192, 16


def toy(examples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return phi, U, O, cluster of complementary pairs with different variances of the examples."""
    rng = np.random.default_rng(0)
    heads = rng.random((SHADOWS // 2, examples)) < 0.5
    u = np.stack((heads, ~heads), axis=1).reshape(SHADOWS, examples)
    spread = np.exp(rng.normal(0, 0.5, examples)).astype(np.float32)
    phi = rng.standard_normal((SHADOWS, examples), dtype=np.float32) * spread + u
    return phi, u, ~u, np.arange(SHADOWS) // 2


def loop(phi: np.ndarray, u: np.ndarray, o: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """Return the scores of `ulira`, one fit at a time."""
    scores = np.empty(phi.shape)
    examples = range(phi.shape[1])
    for left_out in np.unique(cluster):
        rest = cluster != left_out
        fits = []
        for world in (u, o):
            samples = [phi[rest & world[:, e], e] for e in examples]
            variances = np.array([[s.var(ddof=1) for s in samples]])
            prior = fit_prior(variances, np.array([[len(s) - 1 for s in samples]]))
            fits.append((samples, variances[0], float(prior.df[0]), float(prior.variance[0])))
        for row in np.flatnonzero(~rest):
            for e in examples:
                densities = [
                    log_density(float(phi[row, e]), len(samples[e]), float(samples[e].mean()), variances[e], d0, s0)
                    for samples, variances, d0, s0 in fits
                ]
                scores[row, e] = densities[0] - densities[1]
    return scores


def log_density(x: float, count: int, mean: float, variance: float, d0: float, s0: float) -> float:
    """Return the log of the moderated Student-t predictive density."""
    if math.isinf(d0):
        scale = s0 * (1 + 1 / count)
        return -0.5 * (math.log(2 * math.pi * scale) + (x - mean) ** 2 / scale)
    nu = d0 + count - 1
    scale = (d0 * s0 + (count - 1) * variance) / nu * (1 + 1 / count)
    constant = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2) - 0.5 * math.log(nu * math.pi * scale)
    return constant - 0.5 * (nu + 1) * math.log1p((x - mean) ** 2 / scale / nu)


def seconds(work: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def peak(examples: int) -> float:
    """Return the MB that `ulira` takes above its arguments and its result."""
    farm = toy(examples)
    tracemalloc.start()
    scores = ulira(*farm)
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return float(highest - scores.nbytes) / 1e6


def measure(big: bool) -> list[Line]:
    farm = toy(EXAMPLES)
    phi, u, o, cluster = farm
    few = (phi[:, :LOOPED].astype(np.float64), u[:, :LOOPED], o[:, :LOOPED], cluster)
    np.testing.assert_allclose(loop(*few), ulira(*few), rtol=1e-6, atol=1e-8)
    fast = seconds(lambda: ulira(*farm), 10)
    slow = seconds(lambda: loop(*few), 2) * EXAMPLES / LOOPED
    lines = [
        Line(f"{SHADOWS} x {EXAMPLES:,}", fast, "s", 0.15),
        Line(f"peak of {SHADOWS} x {KEPT:,}", peak(KEPT), "MB", 200),
        Line(f"a loop ({LOOPED} examples, scaled) / blocks", slow / fast, "x", 100, at_least=True),
    ]
    if big:
        farm = toy(MANY)
        lines.append(Line(f"{SHADOWS} x {MANY:,}", seconds(lambda: ulira(*farm), 2), "s", 15))
        del farm
        lines.append(Line(f"peak of {SHADOWS} x {MANY:,}", peak(MANY), "MB", 200))
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--big", action="store_true", help=f"also {MANY:,} examples; about a minute")
    parser.add_argument("--json", type=Path, help="write the table to this file as well")
    options = parser.parse_args()
    return publish(measure(options.big), options.json)


if __name__ == "__main__":
    sys.exit(main())
