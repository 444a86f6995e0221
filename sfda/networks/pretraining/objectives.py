"""What a small encoder can be trained for: on labels, or on images alone."""

import copy
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from sfda.images.augment import normalise, strong, weak

HIDDEN = 256  # units of the heads' hidden layers
OUTPUT = 64  # dimensions that two views are compared in
MOMENTUM = 0.99  # of the encoders that follow a trained one
QUEUE = 2048  # keys that MoCo remembers


@torch.no_grad()
def features_of(encoder, images, block=512):
    """Features of unchanged images, with the encoder in evaluation mode."""
    encoder.eval()
    blocks = [normalise(x).to(memory_format=torch.channels_last) for x in images.split(block)]
    return torch.cat([encoder(x) for x in blocks])


def _losses():
    try:
        import lightly.loss
    except ImportError as error:
        raise ImportError("this objective needs lightly: pip install lightly") from error
    return lightly.loss


def _mlp(*widths, last_norm=False):
    """Linear layers with batch normalisation and ReLU between them."""
    layers = []
    for n_in, n_out in itertools.pairwise(widths[:-1]):
        layers += [nn.Linear(n_in, n_out, bias=False), nn.BatchNorm1d(n_out), nn.ReLU()]
    layers.append(nn.Linear(*widths[-2:], bias=not last_norm))
    if last_norm:
        # Without scale and shift, which could undo it.
        layers.append(nn.BatchNorm1d(widths[-1], affine=False))
    return nn.Sequential(*layers)


def _contrast(queries, keys, temperature):
    """Cross-entropy of finding each query's own key among all keys of the batch."""
    queries, keys = functional.normalize(queries, dim=1), functional.normalize(keys, dim=1)
    targets = torch.arange(len(queries), device=queries.device)
    return functional.cross_entropy(queries @ keys.T / temperature, targets)


class _Task(nn.Module):
    """An encoder and a head on it, `student`; with `follow`, also a `teacher`.

    The teacher is a copy without gradients whose weights are a moving average of the student's.
    """

    strength = 1.0  # of the views

    def __init__(self, encoder, head, *, follow=False):
        super().__init__()
        self.encoder = encoder
        self.student = nn.Sequential(encoder, head)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False) if follow else None
        self.steps = 0

    def views(self, images, generator, n=2):
        """So many views of each image; the first ones of all images come first."""
        views = [strong(images, generator, strength=self.strength) for _ in range(n)]
        return torch.cat(views).to(memory_format=torch.channels_last)

    def before_epoch(self, images, generator):
        pass

    def loss(self, images, index, generator):
        """The criterion between the outputs for two views, where an objective has no loss of its own."""
        return self.criterion(*self.student(self.views(images, generator)).chunk(2))

    @torch.no_grad()
    def after_step(self):
        if self.teacher is None:
            return
        # A young student is followed closely: its first weights are random.
        self.steps += 1
        share = 1 - min(MOMENTUM, (1 + self.steps) / (10 + self.steps))
        mine, theirs = list(self.teacher.parameters()), list(self.student.parameters())
        torch._foreach_lerp_(mine, theirs, share)


class Supervised(_Task):
    """Cross-entropy with the labels, of which a tenth is spread over all classes."""

    def __init__(self, encoder, dimension, labels, augmentation):
        classifier = nn.Linear(dimension, int(labels.max()) + 1)
        super().__init__(encoder, classifier)
        self.classifier, self.labels = classifier, labels
        self.augment = {"weak": weak, "strong": strong}[augmentation]

    def loss(self, images, index, generator):
        views = self.augment(images, generator, mirror=False)
        logits = self.student(views.to(memory_format=torch.channels_last))
        return functional.cross_entropy(logits, self.labels[index], label_smoothing=0.1)


class SimCLR(_Task):
    """Find the other view of an image among all views of the batch."""

    def __init__(self, encoder, dimension, n_images):
        super().__init__(encoder, _mlp(dimension, HIDDEN, OUTPUT))
        self.criterion = _losses().NTXentLoss(temperature=0.2)


class MoCo1(_Task):
    """Find the key of an image among those that a slower encoder gave to earlier ones."""

    strength = 0.5  # the paper has milder views than its successors
    temperature = 0.1

    def __init__(self, encoder, dimension, n_images, head=None):
        super().__init__(encoder, head or nn.Linear(dimension, OUTPUT), follow=True)
        # Half of a small source at most: an image is no negative of itself.
        size = min(QUEUE, max(16, n_images // 2))
        self.criterion = _losses().NTXentLoss(self.temperature, (size, OUTPUT))

    def loss(self, images, index, generator):
        first, second = self.views(images, generator).chunk(2)
        # A key is made among other images than its query: batch statistics that both share would give the answer
        # away (the paper's shuffled BN).
        order = torch.randperm(len(second), generator=generator, device=second.device)
        parts = order.chunk(max(1, min(4, len(order) // 8)))
        with torch.no_grad():
            keys = torch.cat([self.teacher(second[part]) for part in parts])[order.argsort()]
        return self.criterion(self.student(first), keys)


class MoCo2(MoCo1):
    """MoCo with SimCLR's head and views."""

    strength, temperature = 1.0, 0.2

    def __init__(self, encoder, dimension, n_images):
        super().__init__(encoder, dimension, n_images, _mlp(dimension, HIDDEN, OUTPUT))


class InfoMin(MoCo2):
    """MoCo with views that share as little as possible beside the content."""

    strength = 1.6


class MoCo3(_Task):
    """Predict the key of the other view, among those of the batch; no queue."""

    temperature = 0.2

    def __init__(self, encoder, dimension, n_images):
        super().__init__(encoder, _mlp(dimension, HIDDEN, HIDDEN, OUTPUT, last_norm=True), follow=True)
        self.predictor = _mlp(OUTPUT, HIDDEN, OUTPUT)

    def loss(self, images, index, generator):
        views = self.views(images, generator)
        first, second = self.predictor(self.student(views)).chunk(2)
        with torch.no_grad():
            key_of_first, key_of_second = self.teacher(views).chunk(2)
        tau = self.temperature
        return _contrast(first, key_of_second, tau) + _contrast(second, key_of_first, tau)


class BYOL(_Task):
    """Predict a slower encoder's output for the other view; no negatives."""

    def __init__(self, encoder, dimension, n_images):
        super().__init__(encoder, _mlp(dimension, HIDDEN, OUTPUT), follow=True)
        self.predictor = _mlp(OUTPUT, HIDDEN, OUTPUT)
        self.criterion = _losses().NegativeCosineSimilarity()

    def loss(self, images, index, generator):
        views = self.views(images, generator)
        with torch.no_grad():
            targets = self.teacher(views).roll(len(images), 0)
        return self.criterion(self.predictor(self.student(views)), targets)


class SimSiam(_Task):
    """Predict the encoder's own output for the other view, held constant."""

    def __init__(self, encoder, dimension, n_images):
        super().__init__(encoder, _mlp(dimension, HIDDEN, HIDDEN, OUTPUT, last_norm=True))
        self.predictor = _mlp(OUTPUT, OUTPUT // 4, OUTPUT)  # a bottleneck, as in the paper
        self.criterion = _losses().NegativeCosineSimilarity()

    def loss(self, images, index, generator):
        outputs = self.student(self.views(images, generator))
        targets = outputs.detach().roll(len(images), 0)
        return self.criterion(self.predictor(outputs), targets)


class SwAV(_Task):
    """Predict which of 64 prototypes the other view is assigned to, all used equally."""

    def __init__(self, encoder, dimension, n_images):
        super().__init__(encoder, _mlp(dimension, HIDDEN, OUTPUT))
        self.prototypes = nn.Linear(OUTPUT, 64, bias=False)
        self.criterion = _losses().SwaVLoss(temperature=0.1)

    def loss(self, images, index, generator):
        outputs = functional.normalize(self.student(self.views(images, generator)), dim=1)
        prototypes = functional.normalize(self.prototypes.weight, dim=1)
        return self.criterion(list((outputs @ prototypes.T).chunk(2)), []).squeeze()


class DeepCluster(_Task):
    """Classify images by the clusters of the encoder's own features, anew each epoch."""

    def __init__(self, encoder, dimension, n_images):
        self.n_clusters = min(128, max(2, n_images // 8))
        super().__init__(encoder, nn.Linear(dimension, self.n_clusters))

    def before_epoch(self, images, generator):
        from sklearn.cluster import MiniBatchKMeans

        x = features_of(self.encoder, images).double()
        x = x - x.mean(0)
        values, vectors = torch.linalg.eigh(x.T @ x / len(x))
        # Whitened, for else the few largest directions make all the clusters.
        kept = values > 1e-6 * values[-1].clamp(min=1e-12)
        x = functional.normalize(x @ (vectors[:, kept] / values[kept].sqrt())[:, -64:], dim=1)
        seed = int(torch.randint(2**31 - 1, (1,), generator=generator, device=images.device))
        means = MiniBatchKMeans(self.n_clusters, random_state=seed, n_init=1, batch_size=2048)
        labels = torch.tensor(means.fit_predict(x.cpu().numpy()), dtype=torch.long)
        self.labels = labels.to(images.device)
        # All clusters count the same: the paper draws images uniformly over them.
        counts = torch.bincount(self.labels, minlength=self.n_clusters).clamp(min=1)
        self.weights = 1 / counts.float()
        # The numbers of the clusters mean nothing from one epoch to the next.
        self.student[1].reset_parameters()

    def loss(self, images, index, generator):
        logits = self.student(self.views(images, generator, 1))
        return functional.cross_entropy(logits, self.labels[index], self.weights)


class BarlowTwins(_Task):
    """Make the two views' correlation matrix the identity."""

    def __init__(self, encoder, dimension, n_images):
        super().__init__(encoder, _mlp(dimension, HIDDEN, HIDDEN, 128))
        self.criterion = _losses().BarlowTwinsLoss()

    def loss(self, images, index, generator):
        # Per dimension, which keeps the gradient below the clipping.
        return super().loss(images, index, generator) / 128


class VICReg(_Task):
    """Keep views alike, each dimension spread, and no two dimensions correlated."""

    def __init__(self, encoder, dimension, n_images):
        super().__init__(encoder, _mlp(dimension, HIDDEN, HIDDEN, 128))
        self.criterion = _losses().VICRegLoss(1.0, 1.0, 0.04)  # the paper's 25, 25 and 1


class _DINOHead(nn.Module):
    """Cosines with 256 directions."""

    def __init__(self, dimension):
        super().__init__()
        self.layers = _mlp(dimension, HIDDEN, HIDDEN, OUTPUT)
        self.directions = nn.Parameter(torch.randn(256, OUTPUT))

    def forward(self, features):
        outputs = functional.normalize(self.layers(features), dim=1)
        return outputs @ functional.normalize(self.directions, dim=1).T


class DINO(_Task):
    """Predict a slower encoder's soft classes, centred and sharpened, of the other view."""

    def __init__(self, encoder, dimension, n_images):
        super().__init__(encoder, _DINOHead(dimension), follow=True)
        self.criterion = _losses().DINOLoss(256, student_temp=0.1, teacher_temp=0.04)

    def loss(self, images, index, generator):
        views = self.views(images, generator)
        with torch.no_grad():
            targets = self.teacher(views).chunk(2)
        return self.criterion(list(targets), list(self.student(views).chunk(2)))


class Rotation(_Task):
    """Tell by which multiple of 90 degrees an image was turned."""

    def __init__(self, encoder, dimension, n_images):
        super().__init__(encoder, nn.Linear(dimension, 4))

    def loss(self, images, index, generator):
        views, n, device = weak(images, generator, mirror=True), len(images), images.device
        # Two of the four for each image: an epoch costs what two views cost.
        first = torch.randint(4, (n,), generator=generator, device=device)
        other = torch.randint(1, 4, (n,), generator=generator, device=device)
        turns = torch.cat([first, (first + other) % 4])
        turned = torch.stack([views.rot90(k, (2, 3)) for k in range(4)])
        turned = turned[turns, torch.arange(n, device=device).repeat(2)]
        logits = self.student(turned.to(memory_format=torch.channels_last))
        return functional.cross_entropy(logits, turns)


class InstanceDiscrimination(_Task):
    """Tell each image's remembered output from those of 1024 others, by NCE."""

    strength, temperature = 0.5, 0.07

    def __init__(self, encoder, dimension, n_images):
        # Normalised over the batch: else all outputs share a direction, which they and the bank, an epoch behind,
        # chase each other along.
        super().__init__(encoder, _mlp(dimension, OUTPUT, last_norm=True))
        self.register_buffer("bank", functional.normalize(torch.randn(n_images, OUTPUT), dim=1))
        self.n_negatives = min(1024, n_images)

    def loss(self, images, index, generator):
        outputs = functional.normalize(self.student(self.views(images, generator, 1)), dim=1)
        n, m, device = len(self.bank), self.n_negatives, self.bank.device
        # The same negatives for the whole batch: one product, not one for each image.
        others = self.bank[torch.randint(n, (m,), generator=generator, device=device)]
        own = (outputs * self.bank[index]).sum(1) / self.temperature
        noise = outputs @ others.T / self.temperature
        # log(Z / n), which the paper fixes after the first batch. In a bank as small as this it grows a
        # hundredfold, and a fixed one lets the loss grow with it.
        constant = noise.detach().logsumexp((0, 1)) - math.log(noise.numel())
        # log P / (m P_noise), of which the posterior is the sigmoid.
        shift = constant + math.log(m)
        loss = functional.softplus(shift - own) + functional.softplus(noise - shift).sum(1)
        moved = self.bank[index] + outputs.detach()
        self.bank[index] = functional.normalize(moved, dim=1)
        return loss.mean()


@dataclass(frozen=True)
class Objective:
    """What a name in ``OBJECTIVES`` stands for.

    Attributes
    ----------
    name : str
    year : int
        In which the paper was published.
    factory : callable
        Makes the module from an encoder, its dimension and the number of images.
    paper : str
        Authors, title and venue.
    adamw : float, default 1e-3
        Learning rate with AdamW; with SGD it is 0.05 for all.
    """

    name: str
    year: int
    factory: Callable
    paper: str
    adamw: float = 1e-3

    @property
    def rates(self):
        """Learning rate by optimizer, where none is given."""
        return {"sgd": 0.05, "adamw": self.adamw}


#: What a network can be pre-trained for, by name.
OBJECTIVES = {
    objective.name: objective
    for objective in (
        Objective("supervised", 2016, Supervised,
            "C. Szegedy et al., Rethinking the Inception Architecture for Computer Vision, CVPR"),
        Objective("simclr", 2020, SimCLR,
            "T. Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, ICML"),
        Objective("moco_v1", 2020, MoCo1,
            "K. He et al., Momentum Contrast for Unsupervised Visual Representation Learning, CVPR"),
        Objective("moco_v2", 2020, MoCo2,
            "X. Chen et al., Improved Baselines with Momentum Contrastive Learning, arXiv:2003.04297"),
        Objective("byol", 2020, BYOL,
            "J.-B. Grill et al., Bootstrap Your Own Latent: A New Approach to Self-supervised Learning, NeurIPS"),
        Objective("swav", 2020, SwAV,
            "M. Caron et al., Unsupervised Learning of Visual Features by Contrasting Cluster Assignments, NeurIPS"),
        Objective("deepcluster", 2018, DeepCluster,
            "M. Caron et al., Deep Clustering for Unsupervised Learning of Visual Features, ECCV"),
        Objective("simsiam", 2021, SimSiam,
            "X. Chen and K. He, Exploring Simple Siamese Representation Learning, CVPR"),
        Objective("barlow_twins", 2021, BarlowTwins,
            "J. Zbontar et al., Barlow Twins: Self-Supervised Learning via Redundancy Reduction, ICML"),
        Objective("vicreg", 2022, VICReg,
            "A. Bardes, J. Ponce and Y. LeCun, VICReg: Variance-Invariance-Covariance Regularization for "
            "Self-Supervised Learning, ICLR"),
        Objective("dino", 2021, DINO,
            "M. Caron et al., Emerging Properties in Self-Supervised Vision Transformers, ICCV", 5e-4),
        Objective("rotation", 2018, Rotation,
            "S. Gidaris, P. Singh and N. Komodakis, Unsupervised Representation Learning by Predicting Image "
            "Rotations, ICLR"),
        Objective("instance_discrimination", 2018, InstanceDiscrimination,
            "Z. Wu et al., Unsupervised Feature Learning via Non-Parametric Instance Discrimination, CVPR"),
        Objective("infomin", 2020, InfoMin,
            "Y. Tian et al., What Makes for Good Views for Contrastive Learning?, NeurIPS"),
        Objective("moco_v3", 2021, MoCo3,
            "X. Chen, S. Xie and K. He, An Empirical Study of Training Self-Supervised Vision Transformers, ICCV",
            5e-4),
    )
}  # fmt: skip
