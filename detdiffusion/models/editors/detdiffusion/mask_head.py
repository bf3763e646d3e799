"""The segmentation head of the perception-aware loss: multi-scale fusion (Eq. 3) and a small query decoder.

Modelled on Mask2Former's decoder (https://arxiv.org/abs/2112.01527) and DatasetDM's use of it
(https://arxiv.org/abs/2308.06160). With SD 1.5's decoder taps (1280/1280/640/320 channels) and default arguments
it has 11,592,192 parameters, 1.35 % of the UNet's. Only the last layer's masks are supervised; those of earlier
layers define the masked attention.

Shapes: B samples, Q queries, C hidden channels, K = h * w keys of one level.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from detdiffusion.registry import MODELS
from detdiffusion.utils.errors import UserError


@MODELS.register_module()
class MaskHead(nn.Module):
    """Predicts instance mask logits from UNet features.

    Args:
        in_channels: channels of each level, coarsest first (``FeatureTaps.channels``); any number of levels.
        hidden: C, a multiple of 8 and of ``num_heads``.
        num_queries: number Q of learned queries.
        num_heads: number of attention heads.
        ffn: width of the feed-forward blocks.
        num_layers: number of decoder layers; they attend to F_2, F_3, ... cyclically (to F_1 if it is the only
            level).
        queries: ``'learned'``, or ``'layout'``: query j is computed from box j and class j only, and Q is the
            largest number of objects in the batch; use it with the loss's ``assign='fixed'``.
        layout_classes: number of classes that ``queries='layout'`` embeds; None for boxes only.
        num_classes: number of classes of an optional classifier whose last logit means "no object"; None for no
            classifier.
        upsample: bilinear factor from the finest level to the mask logits; 2 is fine enough for 256 x 256 images,
            1 is the cheapest.

    Raises:
        UserError: ``hidden`` is not divisible, a size is below 1, or ``queries`` is unknown.
    """

    def __init__(
        self,
        in_channels: list[int],
        hidden: int = 256,
        num_queries: int = 100,
        num_heads: int = 8,
        ffn: int = 2048,
        num_layers: int = 3,
        queries: str = "learned",
        layout_classes: int | None = None,
        num_classes: int | None = None,
        upsample: int = 2,
    ) -> None:
        super().__init__()
        if hidden % 8 or hidden % num_heads:
            raise UserError(f"MaskHead: hidden={hidden} must be a multiple of 8 and of num_heads={num_heads}")
        if queries not in ("learned", "layout"):
            raise UserError(f"MaskHead: queries must be 'learned' or 'layout', got {queries!r}")
        if min(num_queries, num_layers, upsample, len(in_channels)) < 1:
            raise UserError("MaskHead: in_channels, num_queries, num_layers and upsample must be at least 1")
        self.in_channels = list(in_channels)
        self.upsample = upsample
        self.queries = LearnedQueries(num_queries, hidden)
        if queries == "layout":
            self.queries = LayoutQueries(hidden, layout_classes)
        self.laterals = nn.ModuleList(nn.Conv2d(c, hidden, 1) for c in in_channels)
        self.fusions = nn.ModuleList(ResidualFusion(hidden) for _ in in_channels[1:])
        self.layers = nn.ModuleList(DecoderLayer(hidden, num_heads, ffn) for _ in range(num_layers))
        self.norm = nn.LayerNorm(hidden)
        self.mask_mlp = _mlp(hidden, hidden, hidden, hidden)
        self.classifier = None if num_classes is None else nn.Linear(hidden, num_classes + 1)
        for conv in self.laterals:
            nn.init.xavier_uniform_(conv.weight)
            nn.init.zeros_(conv.bias)
        for parameter in self.layers.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def fuse(self, features: list[Tensor]) -> list[Tensor]:
        """Eq. 3: F_1 = lateral(f_1), F_n = Conv(lateral(f_n), Upsample(F_{n-1})).

        Args:
            features: L tensors (B, C_l, h_l, w_l), coarsest first.

        Returns:
            L tensors (B, C, h_l, w_l), F_1 to F_L.
        """
        if [f.shape[1] for f in features] != self.in_channels:
            raise UserError(
                f"MaskHead: features have {[f.shape[1] for f in features]} channels, built for "
                f"{self.in_channels} (coarsest first); give FeatureTaps.channels as in_channels"
            )
        fused = [self.laterals[0](features[0])]
        for feature, lateral, fusion in zip(features[1:], self.laterals[1:], self.fusions):
            # Explicit sizes: odd latents (57 x 100) are not halved exactly.
            coarse = _resize(fused[-1], feature.shape[-2:])
            fused.append(fusion(torch.cat((lateral(feature), coarse), dim=1)))
        return fused

    def forward(
        self, features: list[Tensor], boxes: list[Tensor] | None = None, labels: list[Tensor] | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Predict masks.

        Args:
            features: L tensors (B, C_l, h_l, w_l), coarsest first.
            boxes: one (N_i, 4) tensor per sample, xyxy in [0, 1]; only for ``queries='layout'``.
            labels: one (N_i,) int64 tensor per sample; only for ``queries='layout'`` with ``layout_classes``.

        Returns:
            Mask logits (B, Q, upsample * h_L, upsample * w_L); with ``num_classes`` also class logits
            (B, Q, num_classes + 1).

        Raises:
            UserError: the features' channels differ from ``in_channels``, or boxes or labels are missing.
        """
        fused = self.fuse(features)
        finest = fused[-1]
        levels = [self._keys(f) for f in (fused[1:] or fused)]
        query, position, used = self.queries(len(finest), boxes, labels)
        for i, layer in enumerate(self.layers):
            keys, placed_keys, size = levels[i % len(levels)]
            seen = _seen(self._masks(query, finest), size)
            query = layer(query, position, keys, placed_keys, seen, used)
        mask_logits = _resize(self._masks(query, finest), [self.upsample * s for s in finest.shape[-2:]])
        if self.classifier is None:
            return mask_logits
        return mask_logits, self.classifier(self.norm(query))

    def _masks(self, query: Tensor, finest: Tensor) -> Tensor:
        """(B, Q, C) queries against (B, C, h, w) features -> (B, Q, h, w) logits."""
        masks = torch.bmm(self.mask_mlp(self.norm(query)), finest.flatten(2))
        return masks.unflatten(2, finest.shape[-2:])

    @staticmethod
    def _keys(feature: Tensor) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """Return a level's keys (B, K, C) without and with their positions, and its size."""
        _, c, h, w = feature.shape
        keys = feature.flatten(2).transpose(1, 2).contiguous()
        return keys, keys + _cached_positions(h, w, c, feature.dtype, feature.device), (h, w)


class ResidualFusion(nn.Module):
    """Residual block 2C -> C: two bias-free 3 x 3 convs with GroupNorm and a bias-free 1 x 1 shortcut."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2 * hidden, hidden, 3, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(hidden // 8, hidden)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(hidden // 8, hidden)
        self.shortcut = nn.Conv2d(2 * hidden, hidden, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 2C, h, w) -> (B, C, h, w)."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class Attention(nn.Module):
    """Multi-head attention whose mask broadcasts over the heads."""

    def __init__(self, hidden: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.to_q, self.to_k, self.to_v, self.to_out = (nn.Linear(hidden, hidden) for _ in range(4))

    def forward(self, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None) -> Tensor:
        """(B, Q, C), (B, K, C), (B, K, C) and bool (B, 1, Q or 1, K), True where attended -> (B, Q, C)."""
        q, k, v = (
            f(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for f, x in ((self.to_q, query), (self.to_k, key), (self.to_v, value))
        )
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        return self.to_out(out.transpose(1, 2).flatten(2))


class DecoderLayer(nn.Module):
    """Mask2Former's layer: masked cross-attention, self-attention and feed-forward, each followed by a LayerNorm."""

    def __init__(self, hidden: int, num_heads: int, ffn: int) -> None:
        super().__init__()
        self.cross = Attention(hidden, num_heads)
        self.self_attention = Attention(hidden, num_heads)
        self.ffn = nn.Sequential(nn.Linear(hidden, ffn), nn.ReLU(), nn.Linear(ffn, hidden))
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(hidden) for _ in range(3))

    def forward(
        self,
        query: Tensor,
        position: Tensor,
        keys: Tensor,
        placed_keys: Tensor,
        seen: Tensor,
        used: Tensor | None,
    ) -> Tensor:
        """Apply the layer: (B, Q, C) -> (B, Q, C).

        Args:
            query, position: (B, Q, C).
            keys, placed_keys: (B, K, C), without and with their positions.
            seen: (B, 1, Q, K) bool, cells that a query attends to.
            used: (B, 1, 1, Q) bool, queries that others attend to; None for all.
        """
        query = self.norm1(query + self.cross(query + position, placed_keys, keys, seen))
        placed = query + position
        query = self.norm2(query + self.self_attention(placed, placed, query, used))
        return self.norm3(query + self.ffn(query))


class LearnedQueries(nn.Module):
    """Q learned feature and position vectors, the same for every sample."""

    def __init__(self, num_queries: int, hidden: int) -> None:
        super().__init__()
        self.features = nn.Parameter(torch.randn(num_queries, hidden))
        self.positions = nn.Parameter(torch.randn(num_queries, hidden))

    def forward(self, batch: int, boxes: object, labels: object) -> tuple[Tensor, Tensor, None]:
        """Return features and positions, (B, Q, C) each."""
        return self.features.expand(batch, -1, -1), self.positions.expand(batch, -1, -1), None


class LayoutQueries(nn.Module):
    """One query per object, computed from its box and class; padding queries are not attended to."""

    OCTAVES = 6  # sines of each box coordinate, from half a period over the image to 16 periods

    def __init__(self, hidden: int, classes: int | None) -> None:
        super().__init__()
        self.box_feature = _mlp(8 * self.OCTAVES, hidden, hidden)
        self.box_position = _mlp(8 * self.OCTAVES, hidden, hidden)
        self.classes = None if classes is None else nn.Embedding(classes, hidden)

    def forward(
        self, batch: int, boxes: list[Tensor] | None, labels: list[Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return features and positions (B, Q, C), Q = max(N_i, 1), and the mask of used queries (B, 1, 1, Q)."""
        if boxes is None or len(boxes) != batch or (self.classes is not None and labels is None):
            raise UserError(
                f"MaskHead: queries='layout' needs the boxes (and class labels) of {batch} samples"
            )
        weight = self.box_feature[0].weight
        counts = torch.tensor([len(b) for b in boxes], device=weight.device)
        size = max(int(counts.max()), 1)
        padded = _pad([b.to(weight).reshape(-1, 4) for b in boxes], size)
        low, high = padded[..., :2], padded[..., 2:]
        geometry = torch.cat(((low + high) / 2, high - low), dim=-1)[..., None]  # cx, cy, w, h
        angle = geometry * torch.pi * 2 ** torch.arange(self.OCTAVES, device=weight.device)
        geometry = torch.cat((angle.sin(), angle.cos()), dim=-1).flatten(2)
        feature = self.box_feature(geometry)
        if self.classes is not None:
            feature = feature + self.classes(_pad([x.to(weight.device) for x in labels], size))
        used = torch.arange(size, device=weight.device) < counts[:, None]
        used = used | (counts == 0)[:, None]  # attention needs at least one key
        return feature, self.box_position(geometry), used[:, None, None]


def _pad(tensors: list[Tensor], size: int) -> Tensor:
    padded = pad_sequence(tensors, batch_first=True)
    return F.pad(padded, [0, 0] * (padded.dim() - 2) + [0, size - padded.shape[1]])


@torch.no_grad()  # not around the masks: autocast keeps the weights that it casts, here without their gradient
def _seen(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the cells (B, 1, Q, K) of a level that each query attends to; an empty mask attends everywhere."""
    seen = _resize(mask_logits, size).flatten(2) > 0
    return (seen | ~seen.any(-1, keepdim=True))[:, None]


def _resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Resize (B, C, h, w) maps bilinearly; maps of that size are returned as they are."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)


def _mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in zip(widths, widths[1:]):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def sine_positions(h: int, w: int, channels: int, like: Tensor, temperature: float = 10000.0) -> Tensor:
    """Return DETR's fixed 2-D sine positions: half of the channels for y, half for x, both scaled to (0, 2 pi).

    Args:
        h: rows.
        w: columns.
        channels: C, a multiple of 4.
        like: tensor of the dtype and device of the result.

    Returns:
        (1, h * w, C) in [-1, 1].
    """
    quarter = channels // 4
    frequency = temperature ** (-torch.arange(quarter, device=like.device, dtype=torch.float32) / quarter)
    axes = []
    for size in (h, w):
        place = (torch.arange(size, device=like.device) + 0.5) / size * 2 * torch.pi
        angle = place[:, None] * frequency
        axes.append(torch.cat((angle.sin(), angle.cos()), dim=-1))
    y, x = (axis.to(like.dtype) for axis in axes)
    grid = torch.cat((y[:, None].expand(-1, w, -1), x[None].expand(h, -1, -1)), dim=-1)
    return grid.reshape(1, h * w, channels)


@lru_cache(maxsize=64)
def _cached_positions(h: int, w: int, channels: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """:func:`sine_positions`, computed once for each size of a level."""
    return sine_positions(h, w, channels, torch.empty((), dtype=dtype, device=device))
