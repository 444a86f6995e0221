"""Networks of any library as encoders: the same features, trainable, and nothing normalised twice."""

import copy

import pytest
import timm
import torch
from torch import nn
from torchvision.transforms import Compose, Normalize, ToTensor
from torchvision.transforms._presets import ImageClassification

from sfda.benchmark.finetune import finetune
from sfda.images.augment import normalise
from sfda.networks import pocket
from sfda.networks.backbones import Backbone, load
from sfda.networks.encoders import Encoder, fold_batch_norm

MEAN, STD = [0.4, 0.5, 0.3], [0.2, 0.3, 0.25]
IMAGES = torch.randint(256, (3, 3, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def network(name="mobilenetv2_050"):
    """Its batch norms have random numbers, as after training."""
    torch.manual_seed(0)
    made, generator = timm.create_model(name, num_classes=7), torch.Generator().manual_seed(0)
    for module in norms(made):
        for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
            tensor.data.uniform_(0.5, 1.5, generator=generator)
    return made.eval()


def norms(net):
    return [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]


def backbone(net=None, transform=None):
    return Backbone("net", net or network(), transform or Compose([ToTensor(), Normalize(MEAN, STD)]))


def folded(net):
    """As published weights are whose batch norm is folded: only a bias is left in it."""
    for module in norms(net):
        module.weight.data.fill_(1)
        module.running_mean.zero_()
        module.running_var.fill_(1 - module.eps)
    return net


@pytest.mark.parametrize("transform", [None, ImageClassification(crop_size=48, mean=MEAN, std=STD)])
def test_features_are_those_of_the_networks_own_normalisation(transform):
    encoder = Encoder(backbone(transform=transform)).eval()
    x = (IMAGES / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    with torch.no_grad():
        z, logits = encoder(normalise(IMAGES)), encoder.classifier()(normalise(IMAGES))
        expected = encoder.network.forward_head(encoder.network.forward_features(x), pre_logits=True)
        torch.testing.assert_close(z, expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(logits, encoder.network(x), rtol=1e-4, atol=1e-4)
    assert z.shape == (3, 1280) and logits.shape == (3, 7)
    with pytest.raises(ValueError, match="net: expected a transform that ends in a normalisation, got "):
        Encoder(backbone(transform=ToTensor()))


def test_a_copy_is_trained_and_the_encoder_is_not():
    encoder = Encoder(backbone(folded(network()))).eval()
    before = copy.deepcopy(encoder.state_dict())
    labels = torch.arange(30) % 3
    grey = (IMAGES[:1] // 8 + 90 * labels.view(-1, 1, 1, 1)).to(torch.uint8)
    run = finetune(encoder, 3, grey, labels, grey, steps=40, batch=10, learning_rate=0.001, weight_decay=0.0)
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
    assert run.curve[-1] < run.curve[0] / 2
    copied = copy.deepcopy(encoder)
    copied.network.conv_stem.weight.data.zero_()
    with torch.no_grad():
        assert not torch.equal(copied(normalise(IMAGES)), encoder(normalise(IMAGES)))


@pytest.mark.parametrize("name", ["mobilenetv2_050", "tf_mobilenetv3_small_minimal_100", "resnet10t"])
def test_folded_batch_norm_is_joined_to_its_convolution(name):
    before = folded(network(name))
    after = fold_batch_norm(copy.deepcopy(before))
    assert not norms(after) and norms(before)
    with torch.no_grad():
        x = normalise(IMAGES)
        torch.testing.assert_close(after(x), before(x), rtol=1e-4, atol=1e-4)


def test_batch_norm_that_normalises_or_comes_first_is_left_alone():
    before = network()
    assert fold_batch_norm(before) is before and norms(before)
    one = folded(network())
    norms(one)[0].running_mean[0] = 1e-3
    assert norms(fold_batch_norm(one))
    net = folded(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)).eval())
    assert [type(m) for m in fold_batch_norm(net)] == [nn.BatchNorm2d, nn.Conv2d, nn.ReLU, nn.BatchNorm2d]


def test_a_pocket_network_is_an_encoder_like_any_other():
    x, network = torch.rand(2, 3, 32, 32), pocket.pretrained("resnet_10")
    with torch.inference_mode():
        found = Encoder(load("pocket:resnet_10")).eval()(x)
        head = pocket.replace_head("resnet_10", network, nn.Identity())
        # Normalised as all others are: factors of 1 and offsets of 0, which round nothing.
        torch.testing.assert_close(found, network(x), rtol=1e-5, atol=1e-6)
    assert head.in_features == found.shape[1]
