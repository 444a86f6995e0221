"""Random views of square images, made for a whole batch at once.

All geometry is one resampling and all colour one affine map of the three channels, so that a view costs less than
the network that looks at it. Every random number comes from the generator that is passed: a seed fixes the views.
"""

import math

import torch
from torch.nn import functional

MEAN, DEVIATION = 0.5, 0.25  # of the values in [0, 1]; round, for any data set
LUMA = (0.299, 0.587, 0.114)  # what red, green and blue add to the grey value (ITU-R BT.601)


def normalise(images):
    """Turn bytes into the numbers that the networks expect.

    Parameters
    ----------
    images : uint8 tensor of shape (B, 3, S, S)

    Returns
    -------
    float32 tensor of shape (B, 3, S, S)
        (x / 255 - 0.5) / 0.25, in [-2, 2].

    Raises
    ------
    ValueError
        Another dtype or shape.

    Examples
    --------
    >>> import torch
    >>> from sfda.images.augment import normalise
    >>> white = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)
    >>> normalise(white).max().item()
    2.0
    """
    check_images(images)
    return (images.float() / 255 - MEAN) / DEVIATION


def weak(images, generator, *, mirror):
    """Nudge each image: what leaves its class as it is.

    A shift of up to 3/32 of the side, a scale of 0.85 to 1.15 and a rotation of up to 10 degrees; brightness and
    contrast within 10 percent. The border's pixels are repeated outside.

    Parameters
    ----------
    images : uint8 tensor of shape (B, 3, S, S)
        Not modified.
    generator : torch.Generator
        On the device of the images.
    mirror : bool
        Flip half of the images left to right. Not where left and right are part of the class, as in digits.

    Returns
    -------
    float32 tensor of shape (B, 3, S, S)
        Normalised as by :func:`normalise`, within its range.

    Raises
    ------
    ValueError
        Another dtype or shape.
    """
    check_images(images)
    draw = _uniform(len(images), 6, generator, images.device)
    shift = draw[:, :2] * 3 / 16
    scale = 1 + 0.15 * draw[:, 2]
    views = _resample(images, shift, scale, scale, math.radians(10) * draw[:, 3], mirror, generator)
    mean = views.mean((1, 2, 3), keepdim=True)
    brightness, contrast = (1 + 0.1 * draw[:, 4:, None, None]).split(1, dim=1)
    views = brightness * (contrast * views + (1 - contrast) * mean)
    return (views.clamp(0, 1) - MEAN) / DEVIATION


def strong(images, generator, *, mirror=True, strength=1.0):
    """Change each image as much as its content may bear: views for self-supervision.

    A crop of 25 to 100 percent of the area, with sides in a ratio of 3:4 to 4:3, turned by up to 15 degrees; for 80
    percent of the images brightness, contrast and saturation within 40 percent and the hue turned by up to 36
    degrees; then grey (20 percent of the images), inverted or solarised (5 percent each), and blurred (30 percent).

    Parameters
    ----------
    images : uint8 tensor of shape (B, 3, S, S)
        Not modified.
    generator : torch.Generator
        On the device of the images.
    mirror : bool, default True
        Flip half of the images left to right.
    strength : float, default 1.0
        Factor of the colour changes, the rotation and the probabilities; divides the smallest crop. Above 1 two
        views have less in common, as InfoMin asks for.

    Returns
    -------
    float32 tensor of shape (B, 3, S, S)
        Normalised as by :func:`normalise`, within its range.

    Raises
    ------
    ValueError
        Another dtype or shape, or a strength that is not above 0.

    References
    ----------
    T. Chen et al., *A Simple Framework for Contrastive Learning of Visual Representations*, ICML 2020, Appendix A.

    Y. Tian et al., *What Makes for Good Views for Contrastive Learning?*, NeurIPS 2020.
    """
    check_images(images)
    if not strength > 0:
        raise ValueError(f"strength is {strength}, expected a number above 0")
    draw = _uniform(len(images), 9, generator, images.device)
    smallest = min(0.25 / strength, 0.9)
    side = (smallest + (1 - smallest) * (draw[:, 0] + 1) / 2).sqrt()
    aspect = (math.log(4 / 3) / 2 * draw[:, 1]).exp()
    width, height = (side * aspect).clamp(max=1), (side / aspect).clamp(max=1)
    shift = draw[:, 2:4] * (1 - torch.stack([width, height], dim=1))
    angle = math.radians(15) * strength * draw[:, 4]
    views = _resample(images, shift, width, height, angle, mirror, generator)
    views = _recolour(views, draw[:, 5:], strength, generator)

    chance = torch.rand(len(views), 2, generator=generator, device=views.device)
    # Solarised: what is brighter than the middle is inverted.
    solarised = (chance[:, 0] < 0.05 * strength)[:, None, None, None]
    views = torch.where(solarised, torch.minimum(views, 1 - views) * 2, views)
    blurred = (chance[:, 1] < 0.3 * strength).nonzero()[:, 0]
    views[blurred] = _blur(views[blurred])
    return (views - MEAN) / DEVIATION


def check_images(images):
    """Raise ValueError unless `images` is a uint8 tensor of square images (B, 3, S, S)."""
    kind, shape = getattr(images, "dtype", type(images).__name__), tuple(getattr(images, "shape", ()))
    square = len(shape) == 4 and shape[1] == 3 and shape[2] == shape[3] and 0 not in shape
    if not isinstance(images, torch.Tensor) or images.dtype != torch.uint8 or not square:
        raise ValueError(f"images is {kind} {shape}, expected torch.uint8 (N, 3, S, S)")


def _uniform(n, columns, generator, device):
    """Numbers between -1 and 1."""
    return torch.rand(n, columns, generator=generator, device=device) * 2 - 1


def _resample(images, shift, width, height, angle, mirror, generator):
    """Look at a turned window of each image; 2 is the side of the whole image."""
    cos, sin = angle.cos(), angle.sin()
    theta = torch.stack(
        [width * cos, -height * sin, shift[:, 0], width * sin, height * cos, shift[:, 1]], dim=1
    ).view(-1, 2, 3)
    if mirror:
        flipped = torch.rand(len(images), generator=generator, device=images.device) < 0.5
        theta[flipped, :, 0] *= -1
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images.float() / 255, grid, padding_mode="border", align_corners=False)


def _recolour(views, draw, strength, generator):
    """Jitter, grey and inversion: an affine map of the channels for each image."""
    n, device = len(views), views.device
    chance = torch.rand(n, 3, generator=generator, device=device)
    jitter = draw * (chance[:, :1] < 0.8) * strength
    # Not below 0.1: no image may end black, nor turn into its negative.
    brightness, contrast, saturation = (1 + 0.4 * jitter[:, :3]).clamp(min=0.1).unbind(1)
    saturation = torch.where(chance[:, 1] < 0.2 * strength, 0, saturation)
    luma = torch.tensor(LUMA, device=device)
    eye = torch.eye(3, device=device)
    saturate = saturation[:, None, None] * eye + (1 - saturation)[:, None, None] * luma
    # Rodrigues' rotation about the grey axis, (1, 1, 1) / sqrt(3).
    hue = (math.pi / 5 * jitter[:, 3])[:, None, None]
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=device) / math.sqrt(3)
    turn = hue.cos() * eye + hue.sin() * cross + (1 - hue.cos()) / 3
    # Contrast is about the mean grey value.
    grey = (views.mean((2, 3)) @ luma)[:, None, None]
    matrix = (brightness * contrast)[:, None, None] * (saturate @ turn)
    offset = (brightness * (1 - contrast))[:, None, None] * grey
    sign = 1 - 2 * (chance[:, 2] < 0.05 * strength).float()[:, None, None]
    offset = sign * offset + (1 - sign) / 2
    colours = torch.baddbmm(offset, sign * matrix, views.flatten(2))
    return colours.clamp_(0, 1).view_as(views)


def _blur(views):
    """Binomial filter of 5 x 5 pixels, a Gaussian of standard deviation 1."""
    padded = functional.pad(views, (2, 2, 2, 2), mode="replicate")
    rows = (padded[:, :, :-4] + padded[:, :, 4:]) / 16 + padded[:, :, 2:-2] * 6 / 16
    rows += (padded[:, :, 1:-3] + padded[:, :, 3:-1]) / 4
    blurred = (rows[..., :-4] + rows[..., 4:]) / 16 + rows[..., 2:-2] * 6 / 16
    return blurred + (rows[..., 1:-3] + rows[..., 3:-1]) / 4
