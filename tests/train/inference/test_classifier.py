"""The classifier that is exported gives the answers of the other engines."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from textgen.spec import Spec
from textgen.spec.field_scores import choose
from textgen.spec.label_fields import LabelField, LabelFields
from train.common.answers import log_probabilities
from train.data.sources import to_input
from train.inference.classifier import CropClassifier

F = 3
OF_TEXT = Spec.parse("X:Y", label="text").fields
WITHOUT_OTHER = LabelFields(tuple(LabelField(of.name, of.classes[:-1]) for of in OF_TEXT.fields))


class LogitsOfPixels(nn.Module):
    """Stacks (s, f·3, 1, k) to logits (s, f·k), ±`scale`: the first channel of each image."""

    def __init__(self, scale: float):
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return (self.scale * x.reshape(len(x), F, 3, -1)[:, :, 0]).flatten(1)


@pytest.mark.parametrize("scale", [1.0, 20.0, 1000.0])  # at 1000 all probabilities but one are 0 in float32
@pytest.mark.parametrize("fields", [OF_TEXT, WITHOUT_OTHER])
def test_several_fields_have_the_same_answers_in_an_exported_file(fields: LabelFields, scale: float) -> None:
    assert fields.has_other == (fields is OF_TEXT)
    pixels = np.random.default_rng(0).integers(0, 256, (500, 1, sum(fields.sizes), 3), dtype=np.uint8)
    crops = torch.from_numpy(pixels)
    labels, probabilities = CropClassifier(LogitsOfPixels(scale), F, fields)(crops)
    expected = log_probabilities((scale * to_input(crops)[:, 0, 0]).numpy(), fields)
    assert np.array_equal(labels.numpy(), choose(expected, fields))
    np.testing.assert_allclose(probabilities.numpy(), np.exp(expected), atol=1e-5)
