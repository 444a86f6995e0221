"""Features and logits of networks of any architecture are the library's own."""

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import nn

from sfda.networks.backbones import Backbone
from sfda.networks.extract import extract
from sfda.networks.weights import set_layer

# The smallest network of each of timm's modules.
TIMM = """
    beit_base_patch16_224 halonet_h1 test_byobnet cait_xxs24_224 coat_tiny convit_tiny convmixer_768_32
    test_convnext cpubone_nano crossvit_tiny_240 csatv2 cs3darknet_focus_s cspnext_tiny davit_tiny deepseek_vit_412m
    deit_tiny_patch16_224 densenet121 dla46x_c dpn48b edgenext_xx_small efficientformer_l1 efficientformerv2_s0
    test_efficientnet efficientvim_m1 efficientvit_b0 efficientvit_m0 vit_tiny_patch16_dinov3_qkvb fasternet_t0
    fastvit_t8 focalnet_tiny_srf gcvit_xxtiny gemma4_vit_167m ghostnet_050 hardcorenas_b hgnetv2_b0 hiera_tiny_224
    sam2_hiera_tiny hrnet_w18_small iformer_t inception_next_atto inception_resnet_v2 inception_v3 inception_v4
    lcnetv2_small levit_128s lowformer_b0 test_mambaout test_coatnet poolformerv2_s12 gmlp_ti16_224
    mobilenetv3_small_050 mobilenetv5_base mobilevit_xxs mvitv2_tiny naflexvit_base_patch16_parfac_gap nasnetalarge
    nest_tiny nextvit_small test_nfnet pit_ti_224 pnasnet5large pvt_v2_b0 qwen3_vit_88m rdnet_tiny regnetx_002
    repghostnet_050 repvit_m1 res2next50 resnest14d test_resnet resnetv2_18 rexnet_100 selecsls42 legacy_seresnet18
    sequencer2d_s shvit_s1 skresnet18 starnet_s050 swiftformer_xs swin_tiny_patch4_window7_224
    swinv2_tiny_window8_256 swinv2_cr_tiny_224 tiny_vit_5m_224 tnt_s_legacy_patch16_224 tresnet_m twins_svt_small
    vgg11 visformer_tiny test_vit vit_tiny_r_s16_p8_224 test_vit_relpos samvit_base_patch16_224 vitamin_small_224
    volo_d1_224 ese_vovnet19b_slim_dw legacy_xception xception41p xcit_nano_12_p8_224
""".split()
VIT = {"depth": 1, "embed_dim": 64, "num_heads": 2}
STAGES = {"depths": (1, 1, 1, 1), "embed_dim": 24}
# Still smaller, where a network can be told so.
SMALLER = {
    **dict.fromkeys("beit_base_patch16_224 deepseek_vit_412m gemma4_vit_167m qwen3_vit_88m vit_tiny_patch16_dinov3_qkvb "
                    "naflexvit_base_patch16_parfac_gap samvit_base_patch16_224 cait_xxs24_224 "
                    "xcit_nano_12_p8_224 visformer_tiny".split(), VIT),
    **dict.fromkeys("swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 swinv2_cr_tiny_224".split(), STAGES),
    **{name: {"stages": (1, 1, 1, 1)} for name in ("hiera_tiny_224", "sam2_hiera_tiny")},
    **{name: {"layers": (1, 1, 1, 1)} for name in ("sequencer2d_s", "tresnet_m")},
    "tnt_s_legacy_patch16_224": {"depth": 1}, "twins_svt_small": {"depths": (1, 1, 1, 1)},
    "vitamin_small_224": {"depth": 1}, "vgg11": {"mlp_ratio": 0.05},
}  # fmt: skip
# Their classifier is no single layer on the features.
SEVERAL = ("crossvit_tiny_240", "efficientvim_m1", "volo_d1_224")
SIDES = {"deepseek_vit_412m": 56, "halonet_h1": 256} | dict.fromkeys("inception_resnet_v2 inception_v3 inception_v4".split(), 96)
TORCHVISION = """
    alexnet convnext_tiny densenet121 efficientnet_b0 googlenet inception_v3 maxvit_t mnasnet0_5 mobilenet_v2
    mobilenet_v3_small regnet_y_400mf resnet18 shufflenet_v2_x0_5 squeezenet1_1 swin_t swin_v2_t vgg11 vit_b_32
""".split()


def seen(network, side, classes):
    """Two random images, and what `extract` makes of them."""
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    backbone = Backbone("it", network.eval(), nn.Identity(), source_classes=classes)
    return x, extract(backbone, list(zip(x, range(2))), "x", logits=classes is not None, device="cpu")


def same(found, expected):
    # The same operations on the same images, by the same library; only its choice of kernels is not ours.
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_a_network_of_every_module_of_timm_is_tried():
    assert [m for m in timm.list_modules() if not set(timm.list_models(module=m)) & set(TIMM)] == []


@pytest.mark.parametrize("name", TIMM)
def test_features_are_what_timm_calls_pre_logits(name):
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=5, **SMALLER.get(name, {}))
    fixed = hasattr(network, "set_input_size") or network.pretrained_cfg.get("fixed_input_size")
    x, found = seen(network, network.pretrained_cfg["input_size"][1] if fixed else SIDES.get(name, 64), 5)
    with torch.inference_mode():
        logits, features = network(x), network.forward_head(network.forward_features(x), pre_logits=True)
        same(found.features, features)
        same(found.logits, logits)
        heads = network.get_classifier()
        heads = list(heads) if isinstance(heads, (tuple, nn.ModuleList)) else [heads]
        if name not in SEVERAL and len(heads) == 1:  # what its classifier makes its logits of
            head = getattr(heads[0], "fc", heads[0])
            maps = features[:, :, None, None] if isinstance(head, nn.Conv2d) else features
            same(found.logits, head(maps).flatten(1))
    assert found.layer == "pre-logits" and "forward_features" not in vars(network)


def test_both_tokens_of_a_distilled_network_are_taken():
    network = timm.create_model("deit_tiny_distilled_patch16_224", **VIT)
    x, found = seen(network, 224, 1000)
    with torch.inference_mode():
        tokens = network.forward_features(x)
        same(found.features, tokens[:, :2].mean(1))
        same(found.logits, (network.head(tokens[:, 0]) + network.head_dist(tokens[:, 1])) / 2)


def test_of_attention_pooling_what_enters_its_projection_is_taken():
    network = timm.create_model("resnet50_clip")
    _, found = seen(network, 224, None)
    assert found.features.shape == (2, network.get_classifier().in_features) and found.logits is None


def test_of_encoders_that_classify_nothing_the_mean_over_positions_is_taken():
    network = timm.create_model("qwen3_vit_88m_enc", **VIT)
    x, found = seen(network, 64, None)
    with torch.inference_mode():
        same(found.features, network.forward_features(x).mean((1, 2)))


@pytest.mark.parametrize("name", TORCHVISION)
def test_features_of_torchvision_are_what_their_classifier_takes(name):
    torch.manual_seed(0)
    auxiliary = {"aux_logits": False} if name in ("googlenet", "inception_v3") else {}
    quick = {"init_weights": False} if name in ("googlenet", "inception_v3", "vgg11") else {}
    network = torchvision.models.get_model(name, weights=None, **auxiliary, **quick).eval()
    x, found = seen(network, 224 if name in ("maxvit_t", "vit_b_32") else 96, 1000)
    layer = [key for key, module in network.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d))][-1]
    with torch.inference_mode():
        same(found.logits, network(x))
        head = network.get_submodule(layer)
        set_layer(network, layer, nn.Identity())
        features = network(x)
        if name == "squeezenet1_1":  # maps enter its classifier, which is ended by ReLU and a mean
            assert torch.all(features >= 0) and isinstance(head, nn.Conv2d)
        same(found.features, features)
        if name != "squeezenet1_1":
            same(found.logits, head(features))


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "mobilenet_v3_small", "vgg11", "swin_t"])
def test_without_a_classifier_the_output_is_taken(name):
    quick = {"init_weights": False} if name == "vgg11" else {}
    network = torchvision.models.get_model(name, weights=None, **quick).eval()
    for head in ("fc", "classifier", "head"):
        if hasattr(network, head):
            setattr(network, head, nn.Identity())
    x, found = seen(network, 64, None)
    with torch.inference_mode():
        same(found.features, network(x))
    assert found.layer == "output"


def test_what_ends_in_a_map_and_what_only_prepares_images():
    network = torchvision.models.resnet18(weights=None).eval()
    x, found = seen(nn.Sequential(*list(network.children())[:-1]), 64, None)
    inner = timm.create_model("deit_tiny_distilled_patch16_224", **VIT).eval()
    y, wrapped = seen(nn.Sequential(nn.Identity(), inner), 224, 1000)
    network.fc = nn.Identity()
    with torch.inference_mode():
        same(found.features, network(x))
        same(wrapped.features, inner.forward_features(y)[:, :2].mean(1))
        same(wrapped.logits, inner(y))
