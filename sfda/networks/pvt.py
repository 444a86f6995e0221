"""The first Pyramid Vision Transformer, of timm's blocks: timm itself has only the second.

W. Wang et al., *Pyramid Vision Transformer: A Versatile Backbone for Dense Prediction without Convolutions*, ICCV
2021. Modules are named as in the authors' files of weights.
"""

from functools import partial

import torch
from timm.models.twins import Block, PatchEmbed
from torch import nn

#: Blocks in each of the four stages.
DEPTHS = {"pvt_tiny": (2, 2, 2, 2), "pvt_small": (3, 4, 6, 3), "pvt_medium": (3, 4, 18, 3)}
PATCHES, WIDTHS, HEADS = (4, 2, 2, 2), (64, 128, 320, 512), (1, 2, 5, 8)
RATIOS = (8, 8, 4, 4)  # of the hidden layer's width to the stage's
REDUCTIONS = (8, 4, 2, 1)  # of height and width of the keys and values


class PyramidVisionTransformer(nn.Module):
    """Four stages of attention to a reduced map; a class token joins in the last.

    Parameters
    ----------
    depths : sequence of 4 int
        Blocks in each stage: a value of ``DEPTHS``.
    n_classes : int, default 1000
    size : int, default 224
        Height and width of the images, a multiple of 32. Position embeddings are of this size.

    Raises
    ------
    ValueError
        The images have another size.

    Notes
    -----
    The blocks are those of Twins (X. Chu et al., NeurIPS 2021), which took them from PVT: ``ws=1`` is attention to
    keys and values that a strided convolution has reduced.
    """

    def __init__(self, depths, *, n_classes=1000, size=224):
        super().__init__()
        self.size, channels, side = (size, size), 3, size
        norm = partial(nn.LayerNorm, eps=1e-6)
        for i, depth in enumerate(depths):
            width = WIDTHS[i]
            embed = PatchEmbed(side, PATCHES[i], channels, width)
            blocks = nn.ModuleList(
                Block(width, HEADS[i], RATIOS[i], norm_layer=norm, sr_ratio=REDUCTIONS[i], ws=1) for _ in range(depth)
            )
            tokens = embed.num_patches + (i == 3)
            setattr(self, f"patch_embed{i + 1}", embed)
            setattr(self, f"pos_embed{i + 1}", nn.Parameter(torch.zeros(1, tokens, width)))
            setattr(self, f"block{i + 1}", blocks)
            channels, side = width, side // PATCHES[i]
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.norm = norm(width)
        self.head = nn.Linear(width, n_classes)

    def forward(self, x):
        if x.shape[2:] != self.size:
            found = f"{x.shape[2]} x {x.shape[3]}"
            raise ValueError(f"images: expected {self.size[0]} x {self.size[1]} pixels, got {found}")
        for i in (1, 2, 3, 4):
            x, size = getattr(self, f"patch_embed{i}")(x)
            if i == 4:
                x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1)
            x = x + getattr(self, f"pos_embed{i}")
            for block in getattr(self, f"block{i}"):
                x = block(x, size)
            if i < 4:
                x = x.transpose(1, 2).unflatten(2, size)
        return self.head(self.norm(x)[:, 0])
