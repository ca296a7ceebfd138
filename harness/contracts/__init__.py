"""What a data set, a scenario, an architecture and a method promise, and what they get in return.

Everything that a file in `tasks/` needs is here::

    from harness.contracts import FORGET, RETAIN, Run, View, method, ranges
"""

from harness.contracts import ranges
from harness.contracts.architecture import ARCHITECTURES, ArchitectureSpec, architecture
from harness.contracts.artifact import ARTIFACTS, ArtifactSpec, artifact
from harness.contracts.catalog import Catalog
from harness.contracts.dataset import DATASETS, Augmentation, DataCorrupt, DatasetSpec, FilePattern, Images, dataset
from harness.contracts.method import ANY, METHODS, REFERENCE, VARIANT, Method, MethodSpec, family, method
from harness.contracts.parts import FORGET, RETAIN, TEST, VAL, Part
from harness.contracts.recipe import Recipe
from harness.contracts.run import BEST_TEST, LAST, Artifact, Build, Diverged, Run, Stopped, TrainingArtifact
from harness.contracts.scenario import SCENARIOS, Scenario, ScenarioSpec, scenario
from harness.contracts.space import (
    InvalidHyperparameter,
    Range,
    choice,
    fixed,
    integer,
    log_uniform,
    share_of_training,
    uniform,
    variants,
)
from harness.contracts.view import Batch, ImageFormat, Samples, UndeclaredRead, View

__all__ = [
    "ANY",
    "ARCHITECTURES",
    "ARTIFACTS",
    "BEST_TEST",
    "DATASETS",
    "FORGET",
    "LAST",
    "METHODS",
    "REFERENCE",
    "RETAIN",
    "SCENARIOS",
    "TEST",
    "VAL",
    "VARIANT",
    "ArchitectureSpec",
    "Artifact",
    "ArtifactSpec",
    "Augmentation",
    "Batch",
    "Build",
    "Catalog",
    "DataCorrupt",
    "DatasetSpec",
    "Diverged",
    "FilePattern",
    "ImageFormat",
    "Images",
    "InvalidHyperparameter",
    "Method",
    "MethodSpec",
    "Part",
    "Range",
    "Recipe",
    "Run",
    "Samples",
    "Scenario",
    "ScenarioSpec",
    "Stopped",
    "TrainingArtifact",
    "UndeclaredRead",
    "View",
    "architecture",
    "artifact",
    "choice",
    "dataset",
    "family",
    "fixed",
    "integer",
    "log_uniform",
    "method",
    "ranges",
    "scenario",
    "share_of_training",
    "uniform",
    "variants",
]
