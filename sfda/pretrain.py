"""Train a small encoder from scratch: on labels, or on images alone.

Fourteen ways to do without labels, each reduced to what it is known for and to
heads that suit networks of 32 x 32 pixels. They are not reproductions of the
papers' systems: one machine, small batches and hundreds of steps, not millions.

An objective is a module that holds the encoder and whatever is trained with
it. `loss` takes a batch of bytes and the images' numbers in the source;
`before_epoch` and `after_step` are for what moves without a gradient.
"""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sfda.augment import check_images, normalise, strong, weak

HIDDEN = 256  # units of the heads' hidden layers
OUTPUT = 64  # dimensions that two views are compared in
MOMENTUM = 0.99  # of the encoders that follow a trained one
QUEUE = 2048  # keys that MoCo remembers


def pretrain(
    encoder,
    dimension,
    objective,
    images,
    labels=None,
    *,
    epochs,
    learning_rate=None,
    batch_size=128,
    optimizer=None,
    augmentation="weak",
    held_out=0.1,
    seed=0,
    device="cpu",
    progress=None,
):
    """Train an encoder, in place.

    SGD with Nesterov momentum 0.9 and weight decay 1e-4, or AdamW with weight
    decay 0.05; biases and normalisation layers do not decay. The rate rises
    over the first 5 percent of the steps and falls to zero along a cosine. The
    gradient's norm is kept at 5 with SGD and at 3 with AdamW.

    Parameters
    ----------
    encoder : torch.nn.Module
        Maps normalised images (B, 3, 32, 32) to features (B, `dimension`). It
        is left on `device`, in evaluation mode, its parameters trainable.
    dimension : int
        Number of features.
    objective : str
        A key of ``OBJECTIVES``.
    images : uint8 array or tensor of shape (N, 3, 32, 32)
        The source, at least two. Not modified.
    labels : int array or tensor of shape (N,), optional
        Classes 0 to Z - 1. Only "supervised" looks at them, and needs them.
    epochs : int
        Passes over the images; the last, smaller batch of a pass is left out.
    learning_rate : float, optional
        The highest one. By default the objective's own for the optimizer.
    batch_size : int, default 128
        At least two; no more than there are images.
    optimizer : {"sgd", "adamw"}, optional
        By default "adamw" where linear layers hold more weights than
        convolutions, which is so in transformers, and "sgd" elsewhere.
    augmentation : {"weak", "strong"}, default "weak"
        Of "supervised" only. Images are never mirrored for it.
    held_out : float, default 0.1
        Share of the images that "supervised" is not trained on but tested on.
    seed : int, default 0
        Of the heads, the order, the views and the layers that drop units. The
        same seed gives the same weights on the same machine. The state of
        torch's own generators is the same afterwards as before.
    device : str or torch.device, default "cpu"
    progress : callable, optional
        Called with a line of text after each epoch, for example ``print``.

    Returns
    -------
    dict
        ``objective``; ``loss``, the mean of the last epoch, and ``curve``, of
        each epoch; ``source_accuracy`` on what was held out, between 0 and 1,
        and ``head``, the trained linear classifier, both None without labels;
        ``epochs``; ``seconds``.

    Raises
    ------
    ValueError
        A bad argument: the message names it.
    FloatingPointError
        The loss or its gradient is not finite: the message names the step.
    ImportError
        The objective needs lightly, which is not installed.
    """
    images, labels = _checked(
        encoder, dimension, objective, images, labels, epochs, batch_size, optimizer,
        augmentation, held_out, learning_rate,
    )
    start, device = time.perf_counter(), torch.device(device)
    kind = optimizer or _optimizer_for(encoder)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        generator = torch.Generator(device).manual_seed(seed)
        encoder.to(device)
        order = torch.randperm(len(images), generator=generator, device=device)
        images = images.to(device)
        if objective == "supervised":
            labels = labels.to(device)
            n_test = round(held_out * len(images))
            test, order = order[:n_test], order[n_test:]
            task = Supervised(encoder, dimension, labels, augmentation)
        else:
            images, test = images[order], None
            task = OBJECTIVES[objective].factory(encoder, dimension, len(images))
            order = torch.arange(len(images), device=device)
        # Convolutions on a CPU are much faster with the channels last.
        task.to(device, memory_format=torch.channels_last)
        rate = learning_rate or OBJECTIVES[objective].rates[kind]
        curve = _fit(task, objective, images, order, epochs, rate, batch_size, kind, generator,
                     progress)
        encoder.to(memory_format=torch.contiguous_format)  # as safetensors wants it
        encoder.requires_grad_(True).eval()
        head = accuracy = None
        if objective == "supervised":
            head = task.classifier.eval()
            if len(test):
                guesses = head(_features(encoder, images[test])).argmax(1)
                accuracy = (guesses == labels[test]).float().mean().item()
    return {
        "objective": objective,
        "loss": curve[-1],
        "source_accuracy": accuracy,
        "head": head,
        "epochs": epochs,
        "seconds": time.perf_counter() - start,
        "curve": curve,
    }


def _fit(task, name, images, order, epochs, rate, batch_size, kind, generator, progress):
    batch_size = min(batch_size, len(order))
    per_epoch = len(order) // batch_size
    steps, warm_up = epochs * per_epoch, max(1, round(0.05 * epochs * per_epoch))

    def factor(step):
        if step < warm_up:
            return (step + 1) / warm_up
        return (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up))) / 2

    trained = [p for p in task.parameters() if p.requires_grad]
    optimizer = _make_optimizer(trained, kind, rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    curve, largest = [], 5.0 if kind == "sgd" else 3.0
    for epoch in range(epochs):
        task.before_epoch(images, generator)
        task.train()
        total = 0.0
        shuffle = torch.randperm(len(order), generator=generator, device=order.device)
        for step, index in enumerate(order[shuffle].split(batch_size)[:per_epoch]):
            loss = task.loss(images[index], index, generator)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(trained, largest)
            value = loss.item()
            if not (math.isfinite(value) and math.isfinite(norm.item())):
                raise FloatingPointError(
                    f"{name}: at step {epoch * per_epoch + step} of {steps} the loss is {value} "
                    f"and its gradient's norm {norm.item()}; try a smaller learning_rate"
                )
            optimizer.step()
            schedule.step()
            task.after_step()
            total += value
        curve.append(total / per_epoch)
        if progress is not None:
            progress(f"{name}: epoch {epoch + 1} of {epochs}, loss {curve[-1]:.4f}")
    return curve


def _make_optimizer(parameters, kind, rate):
    # Vectors are biases, scales and shifts: decay would only distort them.
    decay = {"sgd": 1e-4, "adamw": 0.05}[kind]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if kind == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=rate)


def _optimizer_for(encoder):
    counts = {nn.Linear: 0, nn.Conv2d: 0}
    for module in encoder.modules():
        for layer in counts:
            if isinstance(module, layer):
                counts[layer] += module.weight.numel()
        if isinstance(module, nn.MultiheadAttention):  # its weights are in no linear layer
            counts[nn.Linear] += 3 * module.embed_dim**2
    return "adamw" if counts[nn.Linear] > counts[nn.Conv2d] else "sgd"


@torch.no_grad()
def _features(encoder, images, block=512):
    """Features of unchanged images, with the encoder in evaluation mode."""
    encoder.eval()
    blocks = [normalise(x).to(memory_format=torch.channels_last) for x in images.split(block)]
    return torch.cat([encoder(x) for x in blocks])


def _checked(
    encoder, dimension, objective, images, labels, epochs, batch_size, optimizer, augmentation,
    held_out, learning_rate,
):
    if objective not in OBJECTIVES:
        names = ", ".join(OBJECTIVES)
        raise ValueError(f"objective is {objective!r}, expected one of {names}")
    for name, value, least in (
        ("dimension", dimension, 1), ("epochs", epochs, 1), ("batch_size", batch_size, 2)
    ):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
            raise ValueError(f"{name} is {value!r}, expected an integer, at least {least}")
    if learning_rate is not None and not 0 < learning_rate < math.inf:
        raise ValueError(f"learning_rate is {learning_rate!r}, expected a number above 0 or None")
    if optimizer not in (None, "sgd", "adamw"):
        raise ValueError(f"optimizer is {optimizer!r}, expected 'sgd', 'adamw' or None")
    if augmentation not in ("weak", "strong"):
        raise ValueError(f"augmentation is {augmentation!r}, expected 'weak' or 'strong'")
    if not 0 <= held_out < 1:
        raise ValueError(f"held_out is {held_out!r}, expected a number from 0 to below 1")
    if isinstance(images, np.ndarray):
        images = torch.tensor(images)  # a copy: torch warns of arrays that are read-only
    check_images(images)
    if len(images) < 2:
        raise ValueError(f"images holds {len(images)} image, expected at least 2")
    if objective != "supervised":
        return images, None
    if labels is None:
        raise ValueError("labels is None, expected integers of shape (N,) for 'supervised'")
    labels = np.asarray(labels.cpu() if isinstance(labels, torch.Tensor) else labels)
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise ValueError(
            f"labels is {labels.dtype} {labels.shape}, expected integers from 0 "
            f"of shape ({len(images)},)"
        )
    if len(images) - round(held_out * len(images)) < 2:
        raise ValueError(f"held_out is {held_out!r}, expected to leave two images to train on")
    return images, torch.tensor(labels.astype(np.int64))


def _losses():
    try:
        import lightly.loss
    except ImportError as error:
        raise ImportError("this objective needs lightly: pip install lightly") from error
    return lightly.loss


def _mlp(*widths, last_norm=False):
    """Linear layers with batch normalisation and ReLU between them."""
    layers = []
    for n_in, n_out in zip(widths[:-2], widths[1:-1], strict=True):
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

    The teacher is a copy without gradients whose weights are a moving average
    of the student's.
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

    def loss(self, images, index, generator):
        return self.criterion(*self.student(self.views(images, generator)).chunk(2))


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
        # A key is made among other images than its query: batch statistics that
        # both share would give the answer away (the paper's shuffled BN).
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
        super().__init__(
            encoder, _mlp(dimension, HIDDEN, HIDDEN, OUTPUT, last_norm=True), follow=True
        )
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

        x = _features(self.encoder, images).double()
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
        return self.criterion(*self.student(self.views(images, generator)).chunk(2)) / 128


class VICReg(_Task):
    """Keep views alike, each dimension spread, and no two dimensions correlated."""

    def __init__(self, encoder, dimension, n_images):
        super().__init__(encoder, _mlp(dimension, HIDDEN, HIDDEN, 128))
        self.criterion = _losses().VICRegLoss(1.0, 1.0, 0.04)  # the paper's 25, 25 and 1

    def loss(self, images, index, generator):
        return self.criterion(*self.student(self.views(images, generator)).chunk(2))


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
        # Normalised over the batch: else all outputs share a direction, which they
        # and the bank, an epoch behind, chase each other along.
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
        # log(Z / n), which the paper fixes after the first batch. In a bank as small
        # as this it grows a hundredfold, and a fixed one lets the loss grow with it.
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

    Parameters
    ----------
    name : str
    paper : str
        Authors, title and venue.
    year : int
        In which the paper was published.
    factory : callable
        Makes the module from an encoder, its dimension and the number of images.
    sgd, adamw : float
        Default learning rate for each optimizer.
    """

    name: str
    paper: str
    year: int
    factory: Callable
    sgd: float
    adamw: float = 1e-3

    @property
    def rates(self):
        return {"sgd": self.sgd, "adamw": self.adamw}


#: What a network can be pre-trained for, by name.
OBJECTIVES = {
    objective.name: objective
    for objective in (
        Objective(
            "supervised",
            "C. Szegedy et al., Rethinking the Inception Architecture for Computer Vision, CVPR",
            2016, Supervised, 0.05,
        ),
        Objective(
            "simclr",
            "T. Chen et al., A Simple Framework for Contrastive Learning of Visual "
            "Representations, ICML",
            2020, SimCLR, 0.05,
        ),
        Objective(
            "moco_v1",
            "K. He et al., Momentum Contrast for Unsupervised Visual Representation Learning, "
            "CVPR",
            2020, MoCo1, 0.05,
        ),
        Objective(
            "moco_v2",
            "X. Chen et al., Improved Baselines with Momentum Contrastive Learning, "
            "arXiv:2003.04297",
            2020, MoCo2, 0.05,
        ),
        Objective(
            "byol",
            "J.-B. Grill et al., Bootstrap Your Own Latent: A New Approach to Self-supervised "
            "Learning, NeurIPS",
            2020, BYOL, 0.05,
        ),
        Objective(
            "swav",
            "M. Caron et al., Unsupervised Learning of Visual Features by Contrasting Cluster "
            "Assignments, NeurIPS",
            2020, SwAV, 0.05,
        ),
        Objective(
            "deepcluster",
            "M. Caron et al., Deep Clustering for Unsupervised Learning of Visual Features, ECCV",
            2018, DeepCluster, 0.05,
        ),
        Objective(
            "simsiam",
            "X. Chen and K. He, Exploring Simple Siamese Representation Learning, CVPR",
            2021, SimSiam, 0.05,
        ),
        Objective(
            "barlow_twins",
            "J. Zbontar et al., Barlow Twins: Self-Supervised Learning via Redundancy Reduction, "
            "ICML",
            2021, BarlowTwins, 0.05,
        ),
        Objective(
            "vicreg",
            "A. Bardes, J. Ponce and Y. LeCun, VICReg: Variance-Invariance-Covariance "
            "Regularization for Self-Supervised Learning, ICLR",
            2022, VICReg, 0.05,
        ),
        Objective(
            "dino",
            "M. Caron et al., Emerging Properties in Self-Supervised Vision Transformers, ICCV",
            2021, DINO, 0.05, 5e-4,
        ),
        Objective(
            "rotation",
            "S. Gidaris, P. Singh and N. Komodakis, Unsupervised Representation Learning by "
            "Predicting Image Rotations, ICLR",
            2018, Rotation, 0.05,
        ),
        Objective(
            "instance_discrimination",
            "Z. Wu et al., Unsupervised Feature Learning via Non-Parametric Instance "
            "Discrimination, CVPR",
            2018, InstanceDiscrimination, 0.05,
        ),
        Objective(
            "infomin",
            "Y. Tian et al., What Makes for Good Views for Contrastive Learning?, NeurIPS",
            2020, InfoMin, 0.05,
        ),
        Objective(
            "moco_v3",
            "X. Chen, S. Xie and K. He, An Empirical Study of Training Self-Supervised Vision "
            "Transformers, ICCV",
            2021, MoCo3, 0.05, 5e-4,
        ),
    )
}
