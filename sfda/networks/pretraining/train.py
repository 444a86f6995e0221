"""Train a small encoder from scratch: on labels, or on images alone.

Fourteen ways to do without labels, each reduced to what it is known for and to heads that suit networks of 32 x 32
pixels. They are not reproductions of the papers' systems: one machine, small batches and hundreds of steps, not
millions.

An objective is a module that holds the encoder and whatever is trained with it. `loss` takes a batch of bytes and
the images' numbers in the source; `before_epoch` and `after_step` are for what moves without a gradient.
"""

import math
import time

import numpy as np
import torch
from torch import nn

from sfda.images.augment import check_images
from sfda.networks.pretraining.objectives import OBJECTIVES, Supervised, features_of


def pretrain(
    encoder, dimension, objective, images, labels=None, *, epochs, learning_rate=None, batch_size=128, optimizer=None,
    augmentation="weak", held_out=0.1, seed=0, device="cpu", progress=None,
):  # fmt: skip
    """Train an encoder, in place.

    SGD with Nesterov momentum 0.9 and weight decay 1e-4, or AdamW with weight decay 0.05; biases and normalisation
    layers do not decay. The rate rises over the first 5 percent of the steps and falls to zero along a cosine. The
    gradient's norm is kept at 5 with SGD and at 3 with AdamW.

    Parameters
    ----------
    encoder : torch.nn.Module
        Maps normalised images (B, 3, 32, 32) to features (B, `dimension`). It is left on `device`, in evaluation
        mode, its parameters trainable.
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
        By default "adamw" where linear layers hold more weights than convolutions, which is so in transformers, and
        "sgd" elsewhere.
    augmentation : {"weak", "strong"}, default "weak"
        Of "supervised" only. Images are never mirrored for it.
    held_out : float, default 0.1
        Share of the images that "supervised" is not trained on but tested on.
    seed : int, default 0
        Of the heads, the order, the views and the layers that drop units. The same seed gives the same weights on
        the same machine. The state of torch's own generators is the same afterwards as before.
    device : str or torch.device, default "cpu"
    progress : callable, optional
        Called with a line of text after each epoch, for example ``print``.

    Returns
    -------
    dict
        ``objective``; ``loss``, the mean of the last epoch, and ``curve``, of each epoch; ``source_accuracy`` on
        what was held out, between 0 and 1, and ``head``, the trained linear classifier, both None without labels;
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
        dimension, objective, images, labels, epochs, batch_size, optimizer, augmentation, held_out, learning_rate
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
        curve = _fit(task, objective, images, order, epochs, rate, batch_size, kind, generator, progress)
        encoder.to(memory_format=torch.contiguous_format)  # as safetensors wants it
        encoder.requires_grad_(True).eval()
        head = accuracy = None
        if objective == "supervised":
            head = task.classifier.eval()
            if len(test):
                guesses = head(features_of(encoder, images[test])).argmax(1)
                accuracy = (guesses == labels[test]).float().mean().item()
    return {
        "objective": objective, "loss": curve[-1], "source_accuracy": accuracy, "head": head,
        "epochs": epochs, "seconds": time.perf_counter() - start, "curve": curve,
    }  # fmt: skip


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


def _checked(dimension, objective, images, labels, epochs, batch_size, optimizer, augmentation, held_out, rate):
    if objective not in OBJECTIVES:
        raise ValueError(f"objective is {objective!r}, expected one of {', '.join(OBJECTIVES)}")
    for name, value, least in (("dimension", dimension, 1), ("epochs", epochs, 1), ("batch_size", batch_size, 2)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
            raise ValueError(f"{name} is {value!r}, expected an integer, at least {least}")
    if rate is not None and not 0 < rate < math.inf:
        raise ValueError(f"learning_rate is {rate!r}, expected a number above 0 or None")
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
        raise ValueError(f"labels is {labels.dtype} {labels.shape}, expected integers from 0 of shape ({len(images)},)")
    if len(images) - round(held_out * len(images)) < 2:
        raise ValueError(f"held_out is {held_out!r}, expected to leave two images to train on")
    return images, torch.tensor(labels.astype(np.int64))
