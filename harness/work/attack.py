"""What a unit of kind `attack` does: how well three attackers tell a trial's forget set from images never seen."""

from __future__ import annotations

from harness.contracts.parts import FORGET, TEST
from harness.unit import Unit
from harness.work.attacked import population_signals, trio_numbers
from harness.work.bench import Workbench
from harness.work.evidence import parts_of
from harness.work.kinds import Outcome
from harness.work.measured import Phase, evaluate_parts
from harness.work.setting import new_run, trial_model


def attack_trial(unit: Unit, bench: Workbench, phase: Phase) -> Outcome:
    """Attack the model of the unit's trial by its losses on forget and test; see `harness.attacks.mia_trio`.

    Where whole classes are forgotten, the test images are those of the same classes. The seconds are those of
    evaluating and attacking.
    """
    phase("load")
    loaded, parts = bench.dataset(unit.dataset), parts_of(unit, bench)
    model, clock = trial_model(unit, bench), new_run(unit, bench, None).clock
    clock.start()
    phase("evaluate")
    evaluations = evaluate_parts(model, loaded, {part: parts.index[part] for part in (FORGET, TEST)})
    phase("attack")
    signals = population_signals(evaluations, parts, (TEST,))
    numbers = trio_numbers(signals[FORGET], signals[TEST])
    return Outcome(model, clock.stop(), 0, numbers=numbers)
