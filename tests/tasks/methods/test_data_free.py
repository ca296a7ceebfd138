"""The formulas of data-free unlearning, against hand-computed values and by what each of them guarantees."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax, softmax

from harness.check import problem as tiny
from harness.contracts import ImageFormat, View
from tasks.methods._data_free import (
    Normalise,
    NotAClassRequest,
    UnsuitableTeacher,
    adversarial,
    batch_statistics,
    certainty,
    check_teacher,
    classes_to_forget,
    divergences,
    evenness,
    generator,
    inhibited,
    let_through,
    not_taken_for,
    post_filtered,
)

TEACHER, STUDENT = torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[1.0, 0.0, -1.0]])
COLOUR = ImageFormat((3, 32, 32), (0.5, 0.4, 0.3), (0.2, 0.25, 0.5))
WITHIN = {"rtol": 0.0, "atol": 1e-6}
SEEDS = st.integers(0, 2**32 - 1)


def drawn(seed: int, rows: int = 32, classes: int = 10, spread: float = 4.0) -> Tensor:
    return spread * torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_losses_are_those_of_the_worked_example() -> None:
    torch.testing.assert_close(divergences(TEACHER, STUDENT), torch.tensor([[-0.180061, 0.0, 1.330482]]), **WITHIN)
    torch.testing.assert_close(adversarial(TEACHER, STUDENT), torch.tensor(-1.150421), **WITHIN)
    torch.testing.assert_close(inhibited(TEACHER, STUDENT, [2]), torch.tensor(1.510543), **WITHIN)


def test_losses_are_those_of_torch() -> None:
    teacher, student = drawn(0), drawn(1)
    divergence = kl_div(log_softmax(student, 1), softmax(teacher, 1), reduction="batchmean")
    torch.testing.assert_close(adversarial(teacher, student), -divergence)
    torch.testing.assert_close(certainty(teacher), -log_softmax(teacher, 1).max(1).values.mean())


def test_inhibition_of_no_class_is_the_adversarial_loss() -> None:
    torch.testing.assert_close(inhibited(drawn(0), drawn(1), []), adversarial(drawn(0), drawn(1)))


@pytest.mark.parametrize(("inhibits", "low", "high"), [(True, 0.0, 0.05), (False, 0.95, 1.0)])
def test_only_inhibition_leads_the_generator_away_from_what_the_student_does_not_know(
    inhibits: bool, low: float, high: float
) -> None:
    """This contrast is the over-filtering of plain synthesis: its images show the class that the filter drops."""
    student = torch.zeros(1, 10, dtype=torch.float64)
    student[0, 3] = -6.0
    logits = torch.zeros(1, 10, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([logits], 1.0)
    for _ in range(200):
        optimizer.zero_grad()
        (inhibited(logits, student, [3]) if inhibits else adversarial(logits, student)).backward()
        optimizer.step()
    assert low <= float(softmax(logits.detach(), 1)[0, 3]) <= high


def test_evenness_is_lowest_where_the_mean_answer_is_uniform() -> None:
    one_each = 20.0 * torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(evenness(one_each), torch.tensor(-1.3862943611, dtype=torch.float64))
    torch.testing.assert_close(evenness(one_each[:1]), torch.tensor(0.0, dtype=torch.float64), atol=1e-6, rtol=0)


def test_statistics_are_the_distances_of_each_batch_norm() -> None:
    layer = nn.BatchNorm2d(2).eval()
    images = torch.tensor([[[[0.0, 2.0]], [[3.0, 3.0]]]])  # channel means 1, 3; biased variances 1, 0
    with batch_statistics(nn.Sequential(layer, nn.Identity())) as distances:
        layer(images)
    # running variance 1, 1 and mean 0, 0: ||(0, 1)|| + ||(-1, -3)||
    torch.testing.assert_close(distances, [torch.tensor(1.0 + 10.0**0.5)])
    layer(images)
    assert len(distances) == 1


@pytest.mark.parametrize(
    ("logits", "forget", "expected"),
    [
        ([2.0, 1.0, 0.0, -1.0, 5.0], [4], [3.5, 2.5, 1.5, 0.5, -1.0]),
        ([2.0, 1.0, 0.0, -1.0, 5.0], [0, 4], [-1.0, 4.0, 3.0, 2.0, -1.0]),
        ([6.0, 1.0, 0.0, -1.0, 0.5], [4], [6.0, 1.0, 0.0, -1.0, 0.5]),  # a probability of .004 is below the threshold
    ],
)
def test_post_filter_of_the_worked_examples(logits: list[float], forget: list[int], expected: list[float]) -> None:
    torch.testing.assert_close(post_filtered(torch.tensor([logits]), forget, 0.01), torch.tensor([expected]))


@given(seed=SEEDS, forget=st.sets(st.integers(0, 9), min_size=1, max_size=7))
def test_post_filter_keeps_sums_and_what_is_known_of_the_other_classes(seed: int, forget: set[int]) -> None:
    logits, ids = drawn(seed), sorted(forget)
    retain = [c for c in range(10) if c not in forget]
    filtered = post_filtered(logits, ids, 0.01)
    torch.testing.assert_close(filtered.sum(1), logits.sum(1))
    torch.testing.assert_close(softmax(filtered[:, retain], 1), softmax(logits[:, retain], 1))
    untouched = let_through(logits, ids, 0.01)
    assert torch.equal(filtered[untouched], logits[untouched])
    if len(forget) == 1:
        assert not_taken_for(filtered, ids).all()


def test_post_filter_of_several_classes_leaks_and_iterating_mends_it() -> None:
    logits, forget = torch.tensor([[0.0, -1.0, -2.0, 4.2, 9.0]]), [3, 4]
    torch.testing.assert_close(
        post_filtered(logits, forget, 0.01), torch.tensor([[11 / 3, 8 / 3, 5 / 3, 4.2, -2.0]])
    )  # class 3 had only .008 beside class 4, and is now the largest
    assert not_taken_for(post_filtered(logits, forget, 0.01, iterate=True), forget).all()


@given(seed=SEEDS, forget=st.sets(st.integers(0, 9), min_size=2, max_size=8))
def test_iterated_post_filter_leaves_no_class_to_forget_on_top(seed: int, forget: set[int]) -> None:
    logits, ids = drawn(seed), sorted(forget)
    filtered = post_filtered(logits, ids, 0.01, iterate=True)
    assert not_taken_for(filtered, ids).all()
    torch.testing.assert_close(filtered.sum(1), logits.sum(1))


def test_iterating_ends_where_the_answer_is_uniform() -> None:
    logits = torch.zeros(3, 10)
    assert torch.equal(post_filtered(logits, [1, 2], 0.01, iterate=True), logits)


def test_filters_of_hand_made_answers() -> None:
    answers = torch.tensor([[0.98, 0.009, 0.011], [0.98, 0.011, 0.009], [0.2, 0.3, 0.5], [0.985, 0.0075, 0.0075]])
    assert let_through(answers.log(), [1], 0.01).tolist() == [True, False, False, True]
    assert let_through(answers.log(), [1, 2], 0.01).tolist() == [False, False, False, True]
    assert not_taken_for(answers.log(), [2]).tolist() == [True, True, False, True]
    assert let_through(torch.tensor([[0.5, 0.5]]).log(), [1], 0.5).tolist() == [False]  # strictly below


def test_generators_have_the_published_numbers_of_parameters() -> None:
    of_ispf = generator(COLOUR, 256, [nn.Sigmoid(), Normalise(COLOUR)])
    of_gkt = generator(COLOUR, 128, [nn.BatchNorm2d(3)], bias=True)
    assert sum(p.numel() for p in of_ispf.parameters()) == 4_581_955
    assert sum(p.numel() for p in of_gkt.parameters()) == 1_280_521


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (1, 8, 8)])
def test_generated_images_have_the_format_of_the_data(shape: tuple[int, int, int]) -> None:
    images = ImageFormat(shape, COLOUR.mean[: shape[0]], COLOUR.std[: shape[0]])
    made = generator(images, 256, [nn.Sigmoid(), Normalise(images)])(torch.randn(4, 256))
    assert made.shape == (4, *shape)
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in images[1:])
    pixels = made * std + mean
    assert ((pixels > 0) & (pixels < 1)).all()


def test_images_whose_sides_cannot_be_doubled_twice_are_refused() -> None:
    with pytest.raises(UnsuitableTeacher, match=r"10 x 10 cannot be generated; each side must be a multiple of 4"):
        generator(ImageFormat((1, 10, 10), (0.0,), (1.0,)), 256, [])


def view(*forget_classes: int) -> View:
    return View("ispf", frozenset(), {}, tiny.CLASSES, tiny.SPEC.format, forget_classes)


def test_requests_that_name_no_class_or_leave_fewer_than_two_are_refused() -> None:
    assert classes_to_forget(view(2, 0)) == [0, 2]
    with pytest.raises(NotAClassRequest, match=r"'ispf' forgets whole classes; use a scenario such as class:3"):
        classes_to_forget(view())
    for left in (0, 1):
        with pytest.raises(NotAClassRequest, match=r"two must be left"):
            classes_to_forget(view(*range(tiny.CLASSES - left)))
    classes_to_forget(view(*range(tiny.CLASSES - 2)))


def test_a_threshold_that_a_uniform_answer_passes_is_told() -> None:
    with pytest.warns(UserWarning, match="lets even a uniform answer pass"):
        classes_to_forget(view(1), threshold=1.0)


def test_a_teacher_of_other_classes_is_refused() -> None:
    teacher = nn.Sequential(nn.Flatten(), nn.LazyLinear(tiny.CLASSES + 1)).eval()
    with pytest.raises(UnsuitableTeacher, match=rf"knows {tiny.CLASSES + 1} classes, the data set has {tiny.CLASSES}"):
        check_teacher(teacher, view(1), tiny.new_run())
