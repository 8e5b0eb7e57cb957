"""The intra-patch flow of BiFlowNet: a diffusion transformer that sees the latents one sub-volume at a time.

The idea is that of 3D MedDiffusion (Wang et al. 2025, arXiv 2412.13059), of blocks as in DiT (Peebles & Xie 2023) with
the long skips of U-ViT (Bao et al. 2023).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from connectomake.config.settings.synth_networks import DenoiserConfig
from connectomake.synth.tiles import tile, untile

PERIOD = 1e4  # of the slowest wave of a position, over 2 pi (latents)
EPS = 1e-6
MLP_RATIO = 4


class IntraFlow(nn.Module):
    """Transformers within sub-volumes, which do not know where in the latents they lie.

    Parameters
    ----------
    cfg
        Settings.
    channels
        Numbers of a latent.
    condition
        Numbers of the condition.
    """

    def __init__(self, cfg: DenoiserConfig, channels: int, condition: int) -> None:
        super().__init__()
        dim, side = cfg.dim, cfg.subvolume // cfg.token
        self.cfg, self.grid = cfg, (side, side, side)
        self.embed = nn.Conv3d(channels, dim, cfg.token, stride=cfg.token)
        self.positions = nn.Parameter(encode_positions(side, dim), requires_grad=False)
        self.inputs = nn.ModuleList(_Block(cfg, condition) for _ in range(cfg.fused))
        self.middle = nn.ModuleList(_Block(cfg, condition) for _ in range(cfg.middle))
        self.outputs = nn.ModuleList(_Block(cfg, condition) for _ in range(cfg.fused))
        self.joins = nn.ModuleList(nn.Linear(2 * dim, dim) for _ in range(cfg.fused))
        self.to_features = nn.ModuleList(_Features(cfg, condition) for _ in range(2 * cfg.fused))

    def reset(self) -> None:
        """Set the first weights: none of what this flow gives reaches the other one yet."""
        nn.init.xavier_uniform_(self.embed.weight.flatten(1))
        for module in self.modules():
            if isinstance(module, _Block | _Features):
                module.reset()

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> list[torch.Tensor]:
        """Return the features that the other flow takes in.

        Parameters
        ----------
        x
            (N, E, Z, Y, X), sides multiples of the sub-volume.
        condition
            (N, C).

        Returns
        -------
        list of Tensor
            (N, dim, Z, Y, X), one for each level that is fed: first those on the way down, then those on the way up.
        """
        side = (self.cfg.subvolume,) * 3
        places = [size // s for size, s in zip(x.shape[2:], side, strict=True)]
        tokens = self.embed(tile(x, side)).flatten(2).transpose(1, 2) + self.positions
        condition = condition.repeat_interleave(len(tokens) // len(x), 0)
        made, kept = [], []
        for block in self.inputs:
            tokens = block(tokens, condition)
            kept.append(tokens)
            made.append(tokens)
        for block in self.middle:
            tokens = block(tokens, condition)
        for block, join in zip(self.outputs, self.joins, strict=True):
            tokens = block(join(torch.cat([tokens, kept.pop()], 2)), condition)
            made.append(tokens)
        features = zip(self.to_features, made, strict=True)
        return [untile(self._arrange(feature(t, condition)), places) for feature, t in features]

    def _arrange(self, tokens: torch.Tensor) -> torch.Tensor:
        """Bring (P, tokens, token side**3 * dim) to (P, dim, side, side, side)."""
        side = (self.cfg.token,) * 3
        return untile(tokens.reshape(-1, self.cfg.dim, *side), self.grid)


class _Block(nn.Module):
    """Attention and two layers; the condition shifts, scales and weights both, at first with weight 0 (adaLN-zero)."""

    def __init__(self, cfg: DenoiserConfig, condition: int) -> None:
        super().__init__()
        dim = cfg.dim
        self.heads = cfg.heads
        self.norm = nn.LayerNorm(dim, eps=EPS, elementwise_affine=False)
        self.qkv, self.project = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, MLP_RATIO * dim), nn.GELU("tanh"), nn.Linear(MLP_RATIO * dim, dim)
        )  # fmt: skip
        self.modulate = nn.Sequential(nn.SiLU(), nn.Linear(condition, 6 * dim))

    def reset(self) -> None:
        set_zero(self.modulate[1])

    def forward(self, tokens: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Map (P, tokens, dim) to the same shape, given (P, C)."""
        numbers = self.modulate(condition)[:, None].chunk(6, 2)
        shift, scale, weight, shift_mlp, scale_mlp, weight_mlp = numbers
        q, k, v = self.qkv(self.norm(tokens) * (1 + scale) + shift).chunk(3, 2)
        tokens = tokens + weight * self.project(attend(q, k, v, self.heads))
        return tokens + weight_mlp * self.mlp(self.norm(tokens) * (1 + scale_mlp) + shift_mlp)


class _Features(nn.Module):
    """From tokens to what the other flow takes in; at first nothing."""

    def __init__(self, cfg: DenoiserConfig, condition: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(cfg.dim, eps=EPS, elementwise_affine=False)
        self.modulate = nn.Sequential(nn.SiLU(), nn.Linear(condition, 2 * cfg.dim))
        self.project = nn.Linear(cfg.dim, cfg.token**3 * cfg.dim)

    def reset(self) -> None:
        set_zero(self.modulate[1])
        set_zero(self.project)

    def forward(self, tokens: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Map (P, tokens, dim) to (P, tokens, dim * token side**3), given (P, C)."""
        shift, scale = self.modulate(condition)[:, None].chunk(2, 2)
        return self.project(self.norm(tokens) * (1 + scale) + shift)


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
    """Let every token look at all others, with several heads.

    Parameters
    ----------
    q, k, v
        (N, tokens, C).
    heads
        A divisor of C.

    Returns
    -------
    Tensor
        (N, tokens, C).
    """
    width = q.shape[2] // heads
    # The kernels for GPUs that never hold all weights want heads of multiples of 8 numbers; zeros change nothing.
    q, k, v = (functional.pad(t.unflatten(2, (heads, width)).transpose(1, 2), (0, -width % 8)) for t in (q, k, v))
    seen = functional.scaled_dot_product_attention(q, k, v, scale=width**-0.5)
    return seen[..., :width].transpose(1, 2).flatten(2)


def encode_positions(side: int, dim: int) -> torch.Tensor:
    """Return fixed numbers that tell where in a cube a token lies.

    Parameters
    ----------
    side
        Of the cube, in tokens.
    dim
        Numbers of each token, a multiple of 6: a third of them for each axis, of these half sines, half cosines.

    Returns
    -------
    Tensor
        (side**3, dim) float32, in [-1, 1].
    """
    count = dim // 6
    frequencies = PERIOD ** (-torch.arange(count, dtype=torch.float64) / count)
    angles = torch.arange(side, dtype=torch.float64)[:, None] * frequencies
    waves = torch.cat([angles.sin(), angles.cos()], 1)
    places = torch.cartesian_prod(*[torch.arange(side)] * 3)
    return waves[places].flatten(1).float()


def set_zero(layer: nn.Module) -> None:
    """Make a layer say nothing, until it learns to."""
    for weights in layer.parameters():
        nn.init.zeros_(weights)


def draw_linear(network: nn.Module) -> None:
    """Draw the weights of all linear layers anew, as Glorot & Bengio 2010 do, with biases of 0."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
