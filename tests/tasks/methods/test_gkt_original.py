"""GKT as released: attention maps, the reused noise, the filter before both networks, the generator's reset."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from harness.check import problem as tiny
from harness.contracts import METHODS
from harness.contracts.space import Value
from harness.engine.run import TrainingRun
from tasks.methods import gkt_original
from tasks.methods.gkt_original import attention_maps

pytestmark = pytest.mark.filterwarnings("ignore:.*lets even a uniform answer pass")  # as they all do here
SHORT: Mapping[str, Value] = {
    "epochs": 2,
    "rounds": 3,
    "batch_size": 8,
    "student_steps": 4,
    "threshold": 0.99 * tiny.CLASSES,
}


def run_of(**values: Value) -> TrainingRun:
    run = tiny.new_run(observe=lambda model: {"test": 0.0})
    tiny.unlearn("gkt_original", run, tiny.parts("class:3"), METHODS["gkt_original"].checked({**SHORT, **values}))
    return run


def test_an_attention_map_is_the_normalised_mean_square_over_channels() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.image, self.tokens = nn.Identity(), nn.Identity()

        def forward(self, images: Tensor) -> Tensor:
            self.tokens(self.image(images).flatten(2).transpose(1, 2))  # [B, positions, C]
            return images

    model = Two()
    images = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])  # squares over channels: (1 + 9)/2 = 5, (4 + 0)/2 = 2
    expected = torch.tensor([[5.0, 2.0]]) / 29**0.5
    with attention_maps(model, ["image", "tokens"]) as maps:
        model(images)
    for one in maps:
        torch.testing.assert_close(one, expected)


def test_one_batch_of_noise_serves_one_step_of_the_generator_and_all_of_the_student() -> None:
    run = run_of()
    assert (run.steps, run.steps_aside) == (2 * 3 * 4, 2 * 3)


def test_the_filter_is_before_both_networks() -> None:
    run = run_of(threshold=1e-9)
    assert (run.steps, run.steps_aside) == (0, 0)
    assert [float(record.recorded["kept"]) for record in run.curves[1:]] == [0.0, 0.0]


def test_the_noise_of_a_round_is_the_same_in_all_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Tensor] = []

    class Listening(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, noise: Tensor) -> Tensor:
            drawn.append(noise.clone())
            images: Tensor = self.inner(noise)
            return images

    build = gkt_original.generator
    monkeypatch.setattr(gkt_original, "generator", lambda *given, **named: Listening(build(*given, **named)))
    run_of()
    rounds = [drawn[first : first + 5] for first in range(0, len(drawn), 5)]
    assert all(torch.equal(noise, of_round[0]) for of_round in rounds for noise in of_round)
    assert len({float(of_round[0].sum()) for of_round in rounds}) == 6


def test_a_generator_of_which_nothing_passes_goes_back_to_its_last_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """A filter that closes in the second round: the generator's steps until then are undone within the epoch."""
    monkeypatch.setattr(gkt_original, "RESET_AFTER", 7)
    resets: list[int] = []
    load = nn.Module.load_state_dict

    def note(module: nn.Module, *given: object, **named: object) -> object:
        if isinstance(module, nn.Sequential) and isinstance(module[0], nn.Linear):
            resets.append(1)
        return load(module, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(nn.Module, "load_state_dict", note)
    run_of(threshold=1e-9, rounds=4)  # 5 looks a round: 8 are too many after the second and again after the fourth
    assert len(resets) == 4


def test_rates_follow_their_plateaus() -> None:
    """The generator's is told a constant: it is halved at every third epoch after the first."""
    rates: list[float] = []
    with tiny.optimizer_steps() as taken:
        run_of(epochs=5, rounds=1, student_steps=1, generator_lr=0.008, lr=0.5)
    rates = [rate for rate in taken if rate < 0.1]
    assert rates == [0.008, 0.008, 0.008, 0.008, 0.004]
