"""What every registered architecture promises."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from harness import registry
from harness.check import problem as tiny
from harness.contracts import ARCHITECTURES, DATASETS
from harness.engine import vision
from harness.engine.data import PartSamples
from harness.engine.evaluate import evaluate
from harness.engine.models import count_parameters
from harness.engine.train import train
from tasks.architectures.vit import Resize
from tasks.architectures.wrn import Block

registry.load()
CLASSES = 7
HEAVY = ("vit_b16", "wrn28_10")
"""A step takes seconds: what they compute is tested by `make test-slow`, what they are on a device without numbers."""
EVERY = [pytest.param(name, marks=pytest.mark.slow) if name in HEAVY else name for name in ARCHITECTURES]


@cache
def built(name: str, channels: int = 3, size: int = 32) -> nn.Module:
    torch.manual_seed(0)
    return ARCHITECTURES[name].build(channels, size, CLASSES)


def shaped(name: str, size: int = 32, classes: int = CLASSES) -> nn.Module:
    """The model without numbers: shapes alone, at no cost."""
    with torch.device("meta"):
        return ARCHITECTURES[name].build(3, size, classes)


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 32)])
@pytest.mark.parametrize("name", EVERY)
def test_gives_a_logit_for_every_class_and_a_gradient_for_every_weight(name: str, channels: int, size: int) -> None:
    model = built(name, channels, size).train()
    logits = model(torch.randn(2, channels, size, size))
    assert logits.shape == (2, CLASSES)
    logits.square().sum().backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in model.parameters())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_stem_blocks_and_head_are_there_and_run_from_input_to_output(name: str) -> None:
    spec, model = ARCHITECTURES[name], shaped(name).eval()
    order: list[str] = []
    names = list(dict.fromkeys([*spec.stem, *spec.blocks, spec.head]))

    def note(module_name: str) -> None:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            order.append(module_name)

        model.get_submodule(module_name).register_forward_pre_hook(hook)

    for module_name in names:
        note(module_name)
    with torch.no_grad():
        model(torch.randn(2, 3, 32, 32, device="meta"))
    assert order == names


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_head_is_the_linear_layer_that_gives_the_logits(name: str) -> None:
    head = shaped(name).get_submodule(ARCHITECTURES[name].head)
    assert isinstance(head, nn.Linear)
    assert head.out_features == CLASSES


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_is_described_with_its_source(name: str) -> None:
    spec = ARCHITECTURES[name]
    assert spec.summary.endswith((".", ";")) or ":" in spec.summary
    assert spec.source
    assert spec.version >= 1


@pytest.mark.parametrize(
    ("classes", "parameters"), [(2, 11_177_538), (5, 11_179_077), (10, 11_181_642), (100, 11_227_812)]
)
def test_resnet18_has_the_published_number_of_parameters(classes: int, parameters: int) -> None:
    model = ARCHITECTURES["resnet18"].build(3, 32, classes)
    assert count_parameters(model) == parameters
    assert len(list(model.parameters())) == 62
    assert sum(isinstance(layer, nn.Conv2d) for layer in model.modules()) == 20


@pytest.mark.parametrize(("classes", "parameters"), [(5, 10_550_217), (10, 10_552_462), (100, 10_592_872)])
def test_tinyvit_11m_has_the_published_number_of_parameters(classes: int, parameters: int) -> None:
    model = ARCHITECTURES["tinyvit_11m"].build(3, 224, classes)
    assert count_parameters(model) == parameters
    assert len(list(model.parameters())) == 215
    kernels = [layer.weight for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    assert (len(kernels), sum(kernel.shape[2] > 1 for kernel in kernels)) == (27, 17)
    assert sum(kernel.numel() for kernel in kernels) == pytest.approx(0.053 * 10_552_462, rel=0.02)


def test_tinyvit_11m_is_timms() -> None:
    vision.torchvision()
    import timm

    official = timm.create_model("tiny_vit_11m_224", pretrained=False, num_classes=CLASSES).eval()
    own = ARCHITECTURES["tinyvit_11m"].build(3, 32, CLASSES).eval()
    own.load_state_dict(official.state_dict())
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(own(images), official(images), rtol=0, atol=0)


@pytest.mark.parametrize("name", EVERY)
def test_every_weight_learns_in_eval_mode_step_after_step(name: str) -> None:
    """Methods that freeze the running statistics train in eval mode, after evaluations without gradients."""
    model = built(name, size=8).eval()
    images = torch.randn(2, 3, 8, 8)
    with torch.inference_mode():
        model(images)
    for _ in range(2):
        model.zero_grad(set_to_none=True)
        model(images).square().sum().backward()
        assert all(p.grad is not None for p in model.parameters())


def test_resnet18_keeps_its_imagenet_stem_and_resnet18_cifar_does_not_shrink_small_images() -> None:
    sizes = {}
    for name in ("resnet18", "resnet18_cifar"):
        with torch.no_grad():
            model = built(name).eval()
            x = model.maxpool(model.relu(model.bn1(model.conv1(torch.randn(1, 3, 32, 32)))))  # type: ignore[operator]
            sizes[name] = tuple(x.shape)
    assert sizes == {"resnet18": (1, 64, 8, 8), "resnet18_cifar": (1, 64, 32, 32)}
    difference = count_parameters(built("resnet18")) - count_parameters(built("resnet18_cifar"))
    assert difference == 64 * 3 * (7 * 7 - 3 * 3)


@pytest.mark.parametrize(
    ("name", "classes", "expected"),
    [
        ("allcnn", 10, 1_620_010),
        ("allcnn", 100, 1_637_380),
        ("resnet18_cifar", 10, 11_173_962),
        ("resnet18_cifar", 100, 11_220_132),
    ],
)
def test_the_networks_of_ispf_have_their_published_size(name: str, classes: int, expected: int) -> None:
    assert count_parameters(ARCHITECTURES[name].build(3, 32, classes)) == expected


def test_allcnn_does_the_published_number_of_multiplications() -> None:
    """344.8 million for an image of 32 x 32: which layers have stride 2 shows in it, not in the parameters."""
    model = ARCHITECTURES["allcnn"].build(3, 32, 10).eval()
    counted: list[int] = []

    def count(layer: nn.Conv2d | nn.Linear, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        counted.append(layer.weight.numel() * output[0, 0].numel())  # a weight is used at every place of the output

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    with torch.no_grad():
        model(torch.randn(1, 3, 32, 32))
    assert len(counted) == 9
    assert round(sum(counted) / 1e6, 1) == 344.8


def test_allcnn_takes_the_mean_over_8_by_8_and_has_8_batch_norms() -> None:
    model = built("allcnn").eval()
    seen: list[tuple[int, ...]] = []
    handle = model.get_submodule(ARCHITECTURES["allcnn"].blocks[-1]).register_forward_hook(
        lambda module, inputs, output: seen.append(tuple(output.shape))
    )
    with torch.no_grad():
        model(torch.randn(1, 3, 32, 32))
    handle.remove()
    assert seen == [(1, 192, 8, 8)]
    assert sum(isinstance(module, nn.BatchNorm2d) for module in model.modules()) == 8


@pytest.mark.parametrize("size", [8, 28, 32, 64, 224])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_takes_the_images_of_every_data_set_of_the_harness(name: str, size: int) -> None:
    with torch.no_grad():
        logits = shaped(name, size).eval()(torch.randn(2, 3, size, size, device="meta"))
    assert logits.shape == (2, CLASSES)


@pytest.mark.parametrize(
    ("name", "classes", "expected"),
    [
        ("vit_b16", 1000, 86_567_656),
        ("wrn28_10", 10, 36_479_194),
        ("wrn28_10", 100, 36_536_884),
        ("vgg16_bn", 10, 14_728_266),
        ("vgg16_bn", 100, 14_774_436),
    ],
)
def test_networks_of_the_literature_have_their_published_size(name: str, classes: int, expected: int) -> None:
    assert count_parameters(shaped(name, classes=classes)) == expected


def test_vit_b16_is_timms_behind_a_resize_to_224() -> None:
    vision.torchvision()
    import timm

    with torch.device("meta"):
        official = timm.create_model("vit_base_patch16_224", pretrained=False, num_classes=CLASSES)
    own = shaped("vit_b16").get_submodule("vit")
    assert {n: p.shape for n, p in own.state_dict().items()} == {n: p.shape for n, p in official.state_dict().items()}
    assert str(own) == str(official)


def test_images_are_resized_to_224_as_torchvision_resizes_them_and_those_of_224_left_alone() -> None:
    vision.torchvision()
    from torchvision.transforms.functional import resize

    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(Resize(224)(images), resize(images, [224, 224], antialias=True))
    large = torch.rand(1, 3, 224, 224)
    assert Resize(224)(large) is large


@pytest.mark.parametrize(("size", "patch"), [(8, 2), (28, 4), (32, 4), (64, 8), (224, 28), (29, 29)])
def test_vit_tiny_cuts_images_into_at_most_8_by_8_patches(size: int, patch: int) -> None:
    convolution = shaped("vit_tiny", size).get_submodule("patch_embed.proj")
    assert isinstance(convolution, nn.Conv2d)
    assert convolution.kernel_size == convolution.stride == (patch, patch)


def test_every_linear_layer_of_a_vit_is_called_as_a_layer_so_that_its_inputs_can_be_looked_at() -> None:
    model = built("vit_tiny", size=8).eval()
    layers = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    called: set[str] = set()
    handles = [
        model.get_submodule(name).register_forward_hook(lambda *_, name=name: called.add(name)) for name in layers
    ]
    with torch.inference_mode():
        model(torch.randn(2, 3, 8, 8))
    for handle in handles:
        handle.remove()
    assert called == layers
    weights = sum(model.get_submodule(name).weight.numel() for name in layers)  # type: ignore[operator, misc]
    assert weights > 0.9 * count_parameters(model)


def test_vit_tiny_learns_the_toy_problem_where_its_recipe_is_that_of_transformers() -> None:
    recipe = replace(DATASETS["digits"].recipe_for("vit_tiny"), epochs=50, batch_size=8)
    assert recipe.optimizer == "adamw"
    run = tiny.new_run()
    train(model := tiny.initial("vit_tiny"), PartSamples(tiny.data(), torch.arange(48), run.generator), recipe, run)
    assert evaluate(model, tiny.data(), torch.arange(48)).accuracy > 0.6
    assert evaluate(model, tiny.data(), torch.arange(48, 64)).accuracy > 0.6  # chance: 0.25


def test_a_block_of_a_wide_network_adds_its_branch_to_its_input_or_to_a_projection_of_the_activated_one() -> None:
    images = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    same, wider = Block(4, 4, 1).eval(), Block(4, 8, 2).eval()
    for block in (same, wider):
        nn.init.zeros_(block.conv2.weight)
    assert torch.equal(same(images.clone()), images)
    assert wider.shortcut is not None
    expected = torch.nn.functional.conv2d(wider.bn1(images).relu(), wider.shortcut.weight, stride=2)
    torch.testing.assert_close(wider(images), expected)
