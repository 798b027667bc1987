"""Turns a few flat drawings of each emoji into endless different pictures, in batches of tensors.

Training sees flat vector art (Noto, Twemoji) and is measured on shaded 3D renderings (Fluent), so the distortions aim
at what tells those apart: outline, lighting, colour, and how much of the frame the subject fills.
All pictures are float32, premultiplied by alpha until they are laid over a background.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# As open_clip's default: whoever forgets this model's own preprocessing still normalises the right way.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def blend_vendors(drawings: Tensor, random: torch.Generator) -> Tensor:
    """Mix two vendors' drawings of the same emoji: ``(n, 2, 4, h, w)`` to ``(n, 4, h, w)``.

    A uniform mixing ratio makes a continuum of styles out of two, half of the time from region to region.
    """
    n = drawings.shape[0]
    ratio = torch.rand(n, 1, 1, 1, generator=random)
    coarse = torch.rand(n, 1, 3, 3, generator=random)
    regions = F.interpolate(coarse, size=drawings.shape[-2:], mode="bilinear", align_corners=False)
    sharp = ((regions - 0.5) * 6 + 0.5).clamp(0, 1)
    weight = torch.where(torch.rand(n, 1, 1, 1, generator=random) < 0.5, ratio, sharp)
    return drawings[:, 0] * weight + drawings[:, 1] * (1 - weight)


def augment(pictures: Tensor, may_flip: Tensor, random: torch.Generator) -> Tensor:
    """Distort ``(n, 4, h, w)`` premultiplied RGBA in 0..1 into normalised ``(n, 3, h, w)`` RGB.

    ``may_flip`` is ``(n,)`` of bool: false for letters, arrows and whatever else means another thing mirrored.
    """
    moved = _move(pictures, may_flip, random)
    alpha = moved[:, 3:]
    lit = _light(_recolour(moved[:, :3], alpha, random), alpha, random)
    laid = lit + _backgrounds(lit, random) * (1 - alpha)
    return normalise(_erase(_soften(laid, random), random).clamp_(0, 1))


def normalise(pictures: Tensor) -> Tensor:
    """RGB in 0..1, ``(n, 3, h, w)``, to zero mean and unit variance by the constants in the model's config."""
    return (pictures - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)


def _uniform(n: int, low: float, high: float, random: torch.Generator) -> Tensor:
    return torch.empty(n).uniform_(low, high, generator=random)


def _move(pictures: Tensor, may_flip: Tensor, random: torch.Generator) -> Tensor:
    """Rotate, scale, stretch, shear, shift and sometimes mirror."""
    n = pictures.shape[0]
    angle = _uniform(n, -1, 1, random).pow(3) * math.radians(40)
    scale, stretch = _uniform(n, 0.92, 1.4, random), _uniform(n, -0.12, 0.12, random).exp()
    flip = torch.where(may_flip & (torch.rand(n, generator=random) < 0.4), -1.0, 1.0)
    shear = _uniform(n, -0.15, 0.15, random)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    top = torch.stack([cos * stretch * flip, -sin + shear, _uniform(n, -0.14, 0.14, random)], 1)
    bottom = torch.stack([sin * flip, cos / stretch, _uniform(n, -0.14, 0.14, random)], 1)
    grid = F.affine_grid(torch.stack([top, bottom], 1), list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _recolour(rgb: Tensor, alpha: Tensor, random: torch.Generator) -> Tensor:
    """Change hue, saturation, contrast and brightness by one 3x3 matrix and one offset a picture."""
    n = rgb.shape[0]
    luma = torch.tensor(_LUMA).expand(3, 3)
    saturation = _uniform(n, 0.55, 1.5, random).view(n, 1, 1)
    matrix = saturation * _hue_rotation(_uniform(n, -1, 1, random).pow(3) * math.radians(45))
    matrix = matrix + (1 - saturation) * luma
    contrast = _uniform(n, 0.7, 1.25, random).view(n, 1, 1)
    middle = 0.5 * (1 - contrast) + _uniform(n, -0.12, 0.16, random).view(n, 1, 1)
    flat = torch.bmm(matrix * contrast, rgb.flatten(2)) + middle * alpha.flatten(2)
    return flat.view_as(rgb)


def _hue_rotation(angle: Tensor) -> Tensor:
    """``(n, 3, 3)`` rotations about the grey axis (Rodrigues' formula)."""
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    cos, sin = angle.cos().view(-1, 1, 1), angle.sin().view(-1, 1, 1)
    return cos * torch.eye(3) + sin * cross + (1 - cos) / 3


def _light(rgb: Tensor, alpha: Tensor, random: torch.Generator) -> Tensor:
    """Shade the subject as a lamp would: a slope of brightness, and a round highlight or shadow."""
    n, _, height, width = rgb.shape
    ys = torch.linspace(-1, 1, height).view(1, height, 1)
    xs = torch.linspace(-1, 1, width).view(1, 1, width)
    angle = _uniform(n, 0, 2 * math.pi, random).view(n, 1, 1)
    slope = (angle.cos() * xs + angle.sin() * ys) * _uniform(n, 0, 0.35, random).view(n, 1, 1)
    centre_x, centre_y = (_uniform(n, -0.7, 0.7, random).view(n, 1, 1) for _ in range(2))
    distance = (xs - centre_x) ** 2 + (ys - centre_y) ** 2
    spot = torch.exp(-distance / _uniform(n, 0.05, 0.6, random).view(n, 1, 1))
    spot = spot * _uniform(n, -0.3, 0.5, random).view(n, 1, 1)
    lit = rgb * (1 + slope.unsqueeze(1))
    return lit + spot.unsqueeze(1) * torch.where(spot.unsqueeze(1) > 0, alpha - lit, lit)


def _backgrounds(like: Tensor, random: torch.Generator) -> Tensor:
    """White for six in ten, else a plain colour or a slope between two; ``(n, 3, h, w)``."""
    n, _, height, _ = like.shape
    ends = torch.rand(n, 3, 2, generator=random)
    kind = torch.rand(n, 1, 1, generator=random)
    ends = torch.where(kind < 0.8, ends[:, :, :1].expand_as(ends), ends)
    ends = torch.where(kind < 0.6, torch.ones_like(ends), ends)
    slope = torch.linspace(0, 1, height).view(1, 1, height, 1)
    return ends[:, :, :1, None] * (1 - slope) + ends[:, :, 1:, None] * slope


def _soften(rgb: Tensor, random: torch.Generator) -> Tensor:
    """Blur or sharpen by adding or removing the difference to a blurred copy."""
    blurred = F.avg_pool2d(rgb, 3, stride=1, padding=1, count_include_pad=False)
    amount = _uniform(rgb.shape[0], -0.8, 0.8, random).view(-1, 1, 1, 1)
    return rgb + (blurred - rgb) * amount


def _erase(rgb: Tensor, random: torch.Generator) -> Tensor:
    """Cover a rectangle of a quarter of the pictures in grey, so that no single detail decides."""
    n, _, height, width = rgb.shape
    sides = torch.randint(height // 8, height // 3, (n, 2), generator=random).view(n, 2, 1, 1)
    tops = (torch.rand(n, 2, 1, 1, generator=random) * (height - sides)).long()
    ys, xs = torch.arange(height).view(1, height, 1), torch.arange(width).view(1, 1, width)
    inside_y = (ys >= tops[:, 0]) & (ys < tops[:, 0] + sides[:, 0])
    inside_x = (xs >= tops[:, 1]) & (xs < tops[:, 1] + sides[:, 1])
    chosen = torch.rand(n, 1, 1, generator=random) < 0.25
    return rgb.masked_fill((inside_y & inside_x & chosen).unsqueeze(1), 0.5)
