"""The truth that scores are judged by: accuracy after fine-tuning, and the linear probe below it.

The protocol follows the paper's (SGD with Nesterov momentum, a cosine schedule, learning rate and weight decay chosen
on validation images, then training and validation images together and one test run), with what a few hundred images
and steps need: see :func:`finetune`.
"""

import copy
import math
import time
import warnings
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional

from sfda.benchmark.search import LEARNING_RATES, WEIGHT_DECAYS, Search
from sfda.evidence.runs import add_runs, check_runs
from sfda.images import augment
from sfda.images.tasks import accuracy

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # scikit-learn's C of the probe
PROTOCOL = 1  # to be raised when what is measured changes: older cells are then measured again
STEPS = 200  # at least, and as many passes over the images:
PASSES = 12
BATCH = 64
MOMENTUM = 0.9
STANDARD = 512  # images that standardise the features
#: Options of :func:`choose` and :func:`measure` for the paper's protocol, as its public code has it.
PAPER = {"rates": (1e-4, 1e-3, 1e-2, 1e-1), "decays": (0.0, 1e-6, 1e-5, 1e-4, 1e-3), "every_pair": True, "steps": 5000,
         "plain": True}  # fmt: skip


class Probe(NamedTuple):
    """A linear classifier on frozen features: softmax of ((x - mean) / scale) weight' + bias.

    `weight` (C, D), `bias` (C,), `mean` and `scale` (D,), float32 tensors; `scale` is infinite where a feature never
    changed. `penalty`, scikit-learn's C; `accuracy` on the images that chose it, between 0 and 1.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    mean: torch.Tensor
    scale: torch.Tensor
    penalty: float
    accuracy: float

    def logits(self, x):
        """Logits (N, C) of features (N, D)."""
        return (x - self.mean) / self.scale @ self.weight.T + self.bias


class Run(NamedTuple):
    """What one training gave: logits (N, C) of the evaluated images, and the loss in each quarter."""

    logits: torch.Tensor
    curve: list


@torch.inference_mode()
def features(encoder, images, *, device="cpu", batch=256):
    """Features of images, in evaluation mode.

    Parameters
    ----------
    encoder : torch.nn.Module
        Maps normalised images (B, 3, S, S) to (B, D). Left in evaluation mode.
    images : uint8 tensor of shape (N, 3, S, S), or sfda.images.views.Photographs
    device : str or torch.device, default "cpu"
    batch : int, default 256

    Returns
    -------
    float32 tensor of shape (N, D), on the CPU
    """
    encoder.to(device).eval()
    parts = []
    for start in range(0, len(images), batch):
        x = augment.normalise(images[start : start + batch].to(device)).to(memory_format=torch.channels_last)
        parts.append(encoder(x).float().cpu())
    return torch.cat(parts)


def probe(train, train_labels, validation, validation_labels):
    """Logistic regression on frozen features, its penalty chosen on validation samples.

    Parameters
    ----------
    train, validation : float tensors of shape (N, D) and (V, D)
    train_labels, validation_labels : int64 tensors of shape (N,) and (V,)

    Returns
    -------
    first, final : Probe
        Fitted to the training samples, and with the same penalty to all.
    """
    tried = {}
    for penalty in PENALTIES:
        fitted = _logistic(train, train_labels, penalty)
        logits = fitted.logits(validation)
        right = accuracy(logits, validation_labels)
        loss = functional.cross_entropy(logits, validation_labels).item()
        tried[right, -loss] = fitted._replace(accuracy=right)
    first = tried[max(tried)]
    both = torch.cat([train, validation]), torch.cat([train_labels, validation_labels])
    return first, _logistic(*both, first.penalty)._replace(accuracy=first.accuracy)


def _logistic(x, y, penalty):
    x = x.double().numpy()
    mean, scale = x.mean(0), x.std(0)
    # A feature that never changes says nothing.
    scale[scale < 1e-6 * max(scale.max(), 1e-30)] = np.inf
    with warnings.catch_warnings():
        # A hundred rounds are near enough to the optimum to choose and to start from.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = LogisticRegression(C=penalty, max_iter=100).fit((x - mean) / scale, y.numpy())
    weight, bias = fitted.coef_, fitted.intercept_
    if len(weight) == 1:  # two classes
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return Probe(*(torch.from_numpy(a).float() for a in (weight, bias, mean, scale)), penalty, math.nan)


def recalibrated(encoder, images, *, mirror=False, batches=8, batch=BATCH, seed=0, device="cpu"):
    """A copy of an encoder whose batch normalisation knows the images' own statistics.

    Training normalises with the statistics of its batches, not with those of the source images: this brings
    evaluation nearer to it.

    Parameters
    ----------
    encoder : torch.nn.Module
        Maps normalised images (B, 3, S, S) to (B, D).
    images : uint8 tensor of shape (N, 3, S, S)
        Training images; no labels are used.
    mirror : bool, default False
        As in :func:`finetune`.
    batches : int, default 8
        How many, of augmented images, the statistics are a mean of.
    batch : int, default 64
        Images in one of them.
    seed : int, default 0
    device : str or torch.device, default "cpu"

    Returns
    -------
    torch.nn.Module
        In evaluation mode; equal to `encoder` where that has no batch normalisation.

    References
    ----------
    Y. Li et al., *Revisiting Batch Normalization For Practical Domain Adaptation*, ICLR workshop 2017.
    """
    encoder = copy.deepcopy(encoder).to(device, memory_format=torch.channels_last).eval()
    norms = [m for m in encoder.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return encoder
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
        norm.train()
    generator = torch.Generator(device).manual_seed(seed)
    images = _placed(images, device)
    with torch.no_grad():
        for index in _batches(len(images), batch, batches, generator):
            x = _views(images, index, generator, mirror)
            encoder(x.to(memory_format=torch.channels_last))
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    return encoder.eval()


def finetune(
    encoder, n_classes, images, labels, evaluated, *, learning_rate, weight_decay, mirror=False, steps=None, budget=1,
    batch=BATCH, plain=False, seed=0, device="cpu", kept=None,
):  # fmt: skip
    """Train a copy of an encoder and a head on labelled images.

    Four things are added to the paper's protocol, so that a few hundred images and steps suffice for any network. The
    learning rate rises to its height first; batch normalisation starts from the images' own statistics
    (:func:`recalibrated`); the features enter the head divided by the standard deviations that they have before
    training (as they are, if all are constant), so that their scale, which differs by orders of magnitude between
    networks, has no say in the learning rate; and gradients are clipped at norm 5. The head starts from zero, not
    from a linear probe: that would favour, in the truth, the scores that are linear probes in disguise.

    Parameters
    ----------
    encoder : torch.nn.Module
        Maps normalised images (B, 3, S, S) to (B, D). Not modified.
    n_classes : int
        How many, C.
    images : uint8 tensor of shape (N, 3, S, S), or sfda.images.views.Photographs
        The latter are read when they are needed, and cropped at random.
    labels : int64 tensor of shape (N,), or float tensor of shape (N, C)
        Classes 0..C-1; or, where an image may show several, 1 for what it shows, 0 for what it does not, -1 for what
        does not count.
    evaluated : as `images`
        Images to classify afterwards.
    learning_rate : float
        The highest; it rises over the first 10 % of the steps, then falls to zero along a cosine.
    weight_decay : float
        Of weights; not of biases and normalisation.
    mirror : bool, default False
        Whether the augmentation (:func:`sfda.images.augment.weak`, and of photographs a random crop) may flip an
        image.
    steps : int, optional
        By default 200, or twelve passes over the images if that is more. With 200 steps for 2,000 images of CIFAR-10,
        seeds of one network were up to 7 points apart; with 400, at most 1.
    budget : int, default 1
        Multiple of the default number of steps. The benchmark gives transformers 2: with 200 steps vit_tiny reached
        0.35 on Omniglot, with 600 0.49.
    batch : int, default 64
    plain : bool, default False
        Nothing is added: no warm-up, batch normalisation as it comes, a head of random weights on the features as
        they are, no clipping, and weight decay for all.
    seed : int, default 0
        Of the order of the images, their augmentation, the layers that drop units and a plain head. Torch's own
        generators are left as they were.
    device : str or torch.device, default "cpu"
    kept : sfda.benchmark.resuming.Halfway, optional
        Where it is written down every few minutes how far the training is. What an earlier call with the same
        arguments left there is gone on with: on one processor the result is the same to the last digit.

    Returns
    -------
    Run

    Raises
    ------
    FloatingPointError
        The loss or a logit is not finite.
    sfda.benchmark.resuming.Stopped
        The run was asked to leave; `kept` has been written.
    """
    if steps is None:
        steps = budget * max(STEPS, math.ceil(PASSES * len(images) / batch))
    if plain:
        encoder = copy.deepcopy(encoder).to(device, memory_format=torch.channels_last)
        layer = _plain_head(features(encoder, images[:1], device=device).shape[1], n_classes, seed)
    else:
        encoder = recalibrated(encoder, images, mirror=mirror, seed=seed, device=device)
        layer = _head(features(encoder, images[:STANDARD], device=device), n_classes)
    network = nn.Sequential(encoder, layer.to(device))
    network.train()
    decayed = [p for p in network.parameters() if plain or p.ndim > 1]
    free = [p for p in network.parameters() if not (plain or p.ndim > 1)]
    optimizer = torch.optim.SGD(
        [{"params": decayed, "weight_decay": weight_decay}, {"params": free}],
        lr=learning_rate, momentum=MOMENTUM, nesterov=True, fused=True,
    )  # fmt: skip
    warm = 0 if plain else max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _factor(step, steps, warm))
    generator = torch.Generator(device).manual_seed(seed)
    images, labels = _placed(images, device), labels.to(device)
    losses, order, first = torch.zeros(steps, device=device), _no_order(generator), 0
    parts = network, optimizer, schedule
    devices = [device] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)  # of the layers that drop units
        what = learning_rate, weight_decay, mirror, steps, batch, plain, seed, len(images), torch.device(device).type
        if kept and (state := kept.read(repr(what))):
            for part, saved in zip(parts, state["parts"]):
                part.load_state_dict(saved)
            generator.set_state(state["generator"])
            torch.random.set_rng_state(state["torch"])
            for each, saved in zip(devices, state["cuda"]):
                torch.cuda.set_rng_state(saved, each)
            losses, order, first = state["losses"].to(device), state["order"].to(device), state["step"]
        for step in range(first, steps):
            index, order = _next_batch(order, len(images), batch, generator)
            x = _views(images, index, generator, mirror)
            logits = network(x.to(memory_format=torch.channels_last))
            loss = loss_of(logits, labels[index])
            optimizer.zero_grad()
            loss.backward()
            if not plain:
                nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            losses[step] = loss.detach()
            if kept:
                kept.after(partial(_state, step + 1, losses, order, parts, generator, devices))
    with torch.inference_mode():
        logits = layer.cpu()(features(encoder, evaluated, device=device))
    # The last step's weights are in no loss, only in the logits.
    if not (torch.isfinite(losses).all() and torch.isfinite(logits).all()):
        raise FloatingPointError(f"fine-tuning diverged at learning rate {learning_rate}")
    return Run(logits, [round(part.mean().item(), 4) for part in losses.tensor_split(4)])


class Cell(NamedTuple):
    """The truth of one network, task and seed; the accuracy is between 0 and 1, the seconds are those of all runs."""

    accuracy: float
    seconds: float
    curve: list
    probabilities: np.ndarray  # (M, C) float16


class Choice(NamedTuple):
    """Hyper-parameters chosen on validation images, and the probe beside them.

    `probe` is fitted to training and validation images, `probe_accuracy` is its accuracy on the test images.
    """

    learning_rate: float
    weight_decay: float
    validation_accuracy: float
    probe: Probe
    probe_accuracy: float
    seconds: float


def choose(
    encoder, task, *, rates=LEARNING_RATES, decays=WEIGHT_DECAYS, every_pair=False, seed=0, device="cpu", **options
):
    """Learning rate and weight decay of the best accuracy on validation images.

    Of equal accuracies the smaller loss decides. A rate at which training diverges is passed over.

    Parameters
    ----------
    encoder : torch.nn.Module
        Maps normalised images to features (B, D). Not modified.
    task : sfda.images.tasks.LoadedTask
    rates, decays, every_pair
        As in :class:`sfda.benchmark.search.Search`.
    seed : int, default 0
    device : str or torch.device, default "cpu"
    **options
        Of :func:`finetune`.

    Returns
    -------
    Choice

    Raises
    ------
    FloatingPointError
        Training diverged at every rate.
    """
    start, search, tried = time.perf_counter(), Search(rates, decays, every_pair), {}
    final, probe_accuracy = probe_of(encoder, task, device=device)
    while settings := search.left(tried):
        tried |= {s: try_setting(encoder, task, *s, seed=seed, device=device, **options) for s in settings}
    best = search.best(tried)
    return Choice(*best, tried[best][0], final, probe_accuracy, time.perf_counter() - start)


def probe_of(encoder, task, *, device="cpu"):
    """The linear probe of the training and validation images, and its accuracy on the test images.

    Parameters
    ----------
    encoder, task, device
        As in :func:`choose`.

    Returns
    -------
    Probe, float
    """
    train, validation, test = (features(encoder, p.images, device=device) for p in task.parts)
    _, final = probe(train, first_labels(task.train.labels), validation, first_labels(task.validation.labels))
    return final, task.measure(final.logits(test), task.test.labels)


def try_setting(encoder, task, learning_rate, weight_decay, *, seed=0, device="cpu", kept=None, **options):
    """Fine-tune on the training images; accuracy and minus the loss on the validation images.

    Parameters
    ----------
    encoder, task, seed, device, **options
        As in :func:`choose`.
    learning_rate, weight_decay, kept
        As in :func:`finetune`.

    Returns
    -------
    tuple of two float, or None
        None where training diverges.
    """
    try:
        run = finetune(
            encoder, task.task.n_classes, task.train.images, task.train.labels, task.validation.images, **options,
            learning_rate=learning_rate, weight_decay=weight_decay, mirror=task.task.mirror, seed=seed, device=device,
            kept=kept,
        )  # fmt: skip
    except FloatingPointError:
        return None
    loss = loss_of(run.logits, task.validation.labels).item()
    return task.measure(run.logits, task.validation.labels), -loss


def measure(encoder, task, choice, *, seed=0, device="cpu", kept=None, record=None, network=None, **options):
    """Fine-tune on training and validation images and classify the test images, once.

    Parameters
    ----------
    encoder, task
        As in :func:`choose`.
    choice : Choice
    seed : int, default 0
    device : str or torch.device, default "cpu"
    kept
        As in :func:`finetune`.
    record : path, optional
        A record of past fine-tunings that the accuracy is added to (:func:`sfda.evidence.runs.add_runs`), under the
        task's name.
    network : str, optional
        How the record calls the network, best as :func:`sfda.networks.backbones.load` does; needed with `record`.
    **options
        Of :func:`finetune`.

    Returns
    -------
    Cell

    Raises
    ------
    ValueError
        A `record` without `network`, or one that nothing can be added to; before any training.
    FloatingPointError
        As :func:`finetune`.
    """
    if record is not None:
        if not network:
            raise ValueError(f"network: expected a name for the record, got {network!r}")
        check_runs(record)
    start, (train, validation, test) = time.perf_counter(), task.parts
    as_tensor = isinstance(train.images, torch.Tensor)
    images = torch.cat([train.images, validation.images]) if as_tensor else train.images + validation.images
    labels = torch.cat([train.labels, validation.labels])
    run = finetune(
        encoder, task.task.n_classes, images, labels, test.images, learning_rate=choice.learning_rate,
        weight_decay=choice.weight_decay, mirror=task.task.mirror, seed=seed, device=device, kept=kept, **options,
    )  # fmt: skip
    probabilities = run.logits.softmax(1) if test.labels.ndim == 1 else run.logits.sigmoid()
    accuracy = task.measure(run.logits, test.labels)
    if record is not None:
        row = {"network": network, "task": task.task.name, "seed": seed, "accuracy": accuracy}
        add_runs(record, pd.DataFrame([row]))
    seconds = time.perf_counter() - start + (kept.earlier if kept else 0.0)
    return Cell(accuracy, seconds, run.curve, probabilities.half().numpy())


def loss_of(logits, labels):
    """Cross-entropy of classes (N,); of several labels an image (N, C) that of each, on its own."""
    if labels.ndim == 1:
        return functional.cross_entropy(logits, labels)
    counted = labels >= 0
    return functional.binary_cross_entropy_with_logits(logits[counted], labels[counted])


def first_labels(labels):
    """One class an image (N,): of several (N, C) the first, as the paper's public code has it."""
    return labels if labels.ndim == 1 else labels.argmax(1)


class _Standardise(nn.Module):
    def __init__(self, mean, scale):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    def forward(self, x):
        return (x - self.mean) / self.scale


def _head(x, n_classes):
    """Standardisation as of the features `x`, then a linear layer of zeros."""
    mean, scale = x.mean(0), x.std(0, correction=0)
    # What hardly changes now may do so later; it must not explode then.
    scale = scale.clamp(min=1e-3 * scale.max().item())
    # Where nothing changes at all there is no scale to take off.
    if scale.max() <= 1e-6 * x.abs().max():
        scale = torch.ones_like(scale)
    with torch.random.fork_rng([]):
        linear = nn.Linear(x.shape[1], n_classes)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(_Standardise(mean, scale), linear)


def _plain_head(dimension, n_classes, seed):
    """A linear layer as torch begins it."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return nn.Linear(dimension, n_classes)


# Images are a tensor in memory, or photographs that are read when they are needed.
def _placed(images, device):
    return images.to(device) if isinstance(images, torch.Tensor) else images


def _views(images, index, generator, mirror):
    if isinstance(images, torch.Tensor):
        return augment.weak(images[index], generator, mirror=mirror)
    return images.views(index, generator, mirror=mirror)


def _factor(step, steps, warm):
    """Share of the highest learning rate, to which it rises over `warm` steps."""
    if step < warm:
        return (step + 1) / warm
    return (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2


def _batches(n, batch, steps, generator):
    """Positions of the images of every step: each image once before any comes again."""
    order = _no_order(generator)
    for _ in range(steps):
        index, order = _next_batch(order, n, batch, generator)
        yield index


def _state(step, losses, order, parts, generator, devices):
    """All that changes in the course of a training, after so many steps."""
    return {
        "step": step, "losses": losses, "order": order.clone(), "parts": [part.state_dict() for part in parts],
        "generator": generator.get_state(), "torch": torch.random.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state(device) for device in devices],
    }  # fmt: skip


def _no_order(generator):
    return torch.empty(0, dtype=torch.long, device=generator.device)


def _next_batch(order, n, batch, generator):
    """Positions of the next images, and those that are left of the order."""
    while len(order) < min(batch, n):
        order = torch.cat([order, torch.randperm(n, generator=generator, device=generator.device)])
    return order[:batch], order[batch:]
