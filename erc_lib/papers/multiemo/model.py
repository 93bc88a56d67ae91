"""MultiEMO (Shi and Huang, ACL 2023), top to bottom. Equation numbers are the paper's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from erc_lib.data.batch import Batch
from erc_lib.errors import ConfigError
from erc_lib.losses import soft_hgr_loss, swfc_loss
from erc_lib.papers.multiemo.config import MultiEMOConfig
from erc_lib.papers.multiemo.context import Context
from erc_lib.papers.multiemo.multiattn import MultiAttn


@dataclass
class MultiEMOOutput:
    """What a forward pass leaves for losses and figures.

    Attributes:
        logits: (B, L, C), eq. 16 before the softmax.
        contextual: modality -> c (B, L, D), Section 3.3.
        fused: modality -> f (B, L, D), Section 3.4; equal to ``contextual`` in the ablation without MultiAttn.
        embedding: z (B, L, D), eq. 14, what SWFC pulls together and t-SNE plots.
    """

    logits: Tensor
    contextual: dict[str, Tensor]
    fused: dict[str, Tensor]
    embedding: Tensor


class MultiEMO(nn.Module):
    """Unimodal contexts, MultiAttn, classifier; trained with SWFC, Soft-HGR and cross-entropy.

    Raises:
        ConfigError: "released" SWFC without ``class_counts``.
        DataError: a batch without a modality that ``config.dims`` names, or with another width.
    """

    Config = MultiEMOConfig

    def __init__(self, config: MultiEMOConfig) -> None:
        super().__init__()
        if config.use_swfc and config.swfc_variant == "released" and config.class_counts is None:
            raise ConfigError("MultiEMO: the released SWFC weighs classes by the training split; set class_counts (corpus.class_counts())")
        self.config = config
        d, modalities = config.model_dim, config.modalities
        self.contexts = nn.ModuleDict({m: Context(config, m) for m in modalities})
        self.multiattn = MultiAttn(config) if config.fusion == "multiattn" else None
        self.embed = nn.Linear(len(modalities) * d, d)
        self.hidden = nn.Linear(d, config.classifier_hidden)
        self.classify = nn.Linear(config.classifier_hidden, config.classes)

    def forward(self, batch: Batch) -> MultiEMOOutput:
        features = batch.require(self.config.dims, "MultiEMO")
        contextual = {m: context(features[m], batch.speakers, batch.mask) for m, context in self.contexts.items()}
        fused = contextual
        if self.multiattn is not None:
            fused = self.multiattn(contextual, batch.mask if self.config.mask_padding else torch.ones_like(batch.mask))
        f = torch.cat(list(fused.values()), dim=-1)  # eq. 13
        z = self.embed(f)  # eq. 14
        logits = self.classify(F.relu(self.hidden(z)))  # eq. 15, 16
        if self.config.dropout_placement == "released":
            logits = F.dropout(logits, self.config.dropout, self.training)
        return MultiEMOOutput(logits, contextual, fused, z)

    def objective(self, output: MultiEMOOutput, batch: Batch) -> dict[str, Tensor]:
        """The terms of eq. 22, each as it enters the sum, and their "total".

        With N utterances in the batch, the paper divides the summed SWFC, the Soft-HGR and the summed cross-entropy by N; the
        released losses are means already. lambda |theta|^2 is left to the optimiser (``training_settings``).
        """
        config, real = self.config, batch.mask
        labels, n = batch.labels[real], int(real.sum())
        # Divided by N (paper, eq. 22) where the loss is a sum; the released losses are means.
        terms = {"cross_entropy": (1 - config.mu_swfc - config.mu_hgr) * F.cross_entropy(output.logits[real], labels)}
        if config.use_swfc:
            dialogue = torch.arange(len(real), device=real.device)[:, None].expand_as(real)[real] if config.swfc_scope == "dialogue" else None
            counts = None if config.class_counts is None else torch.tensor(config.class_counts, device=real.device)
            swfc = swfc_loss(
                output.embedding[real], labels, temperature=config.temperature, alpha=config.swfc_alpha, gamma=config.swfc_gamma,
                variant=config.swfc_variant, class_counts=counts, groups=dialogue,
            )
            terms["swfc"] = config.mu_swfc * (swfc / n if config.swfc_variant == "paper" else swfc)
        if config.use_hgr and len(output.fused) > 1:  # one view has nothing to agree with
            hgr = soft_hgr_loss([f[real] for f in output.fused.values()], variant=config.hgr_variant)
            terms["soft_hgr"] = config.mu_hgr * (hgr / n if config.hgr_variant == "paper" else hgr)
        return {"total": torch.stack(list(terms.values())).sum(), **terms}
