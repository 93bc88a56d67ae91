"""DF-ERC (Li et al., ACM Multimedia 2023), top to bottom. Equation numbers are the paper's."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from erc_lib.data.batch import Batch
from erc_lib.errors import ConfigError, DataError
from erc_lib.layers import padded
from erc_lib.losses import dual_level_contrastive_loss, true_class_probability_losses
from erc_lib.papers.df_erc.cfm import Fusion
from erc_lib.papers.df_erc.config import DFERCConfig
from erc_lib.papers.df_erc.crm import ContextRefusion
from erc_lib.papers.df_erc.ddm import Disentanglement, mlp
from erc_lib.papers.df_erc.encoding import DialogueEncoding, Encoder


@dataclass
class DFERCOutput:
    """What a forward pass leaves for losses and figures; N real turns, M modalities in the order of the configuration.

    Attributes:
        logits: (B, L, C), eq. 23 before the softmax.
        levels: "modality" and "utterance" -> (M, N, D), eq. 2 and 4.
        teacher_logits: (M, N, C), eq. 10 before the softmax. contributions: (M, N), omega of eq. 12. None without the fusion by contribution.
        consistency: psi (N,), eq. 20. aligned: x (M, N, D), eq. 17. None without the refusion; psi also with one modality.
        embedding: h^e (B, L, D), eq. 22, what t-SNE plots.
    """

    logits: Tensor
    levels: dict[str, Tensor]
    teacher_logits: Tensor | None
    contributions: Tensor | None
    consistency: Tensor | None
    aligned: Tensor | None
    embedding: Tensor


class DFERC(nn.Module):
    """Disentangle on two levels, fuse by contribution, let context in where the modalities disagree.

    Args:
        encoder: with ``text="encoder"``, the text encoder to fine-tune: ``load_encoder(config.encoder)`` of :mod:`erc_lib.features.encoders`.

    With one modality eq. 3, eq. 5 and psi have nothing to compare: their terms are dropped, and a warning says so once.

    Raises:
        ConfigError: an encoder that is missing, or that nobody asked for.
        DataError: a batch without a modality that ``config.dims`` names, with another width, or labelled with dimensions.
    """

    Config = DFERCConfig

    def __init__(self, config: DFERCConfig, encoder: Encoder | None = None) -> None:
        super().__init__()
        self.config = config
        if (encoder is None) == (config.text == "encoder"):
            raise ConfigError(
                f"DF-ERC with text={config.text!r} "
                + (f"needs the encoder itself: DFERC(config, encoder=load_encoder({config.encoder!r}))" if encoder is None else "takes no encoder")
            )
        if len(config.modalities) == 1:
            warnings.warn(
                f"DF-ERC on {config.modalities[0]} alone: disentanglement (eq. 3, 5) and modality consistency (eq. 20) compare modalities; they are dropped, "
                "and context has its full weight",
                stacklevel=2,
            )
        self.encoding = None if encoder is None else DialogueEncoding(config, encoder)
        self.drop = nn.Dropout(config.dropout)
        self.disentangle = Disentanglement(config)
        self.fuse = Fusion(config, self.disentangle.widths)
        self.refuse = ContextRefusion(config, self.fuse.width, self.disentangle.widths)
        self.classify = nn.Sequential(nn.Dropout(config.dropout), mlp(self.refuse.width, config.disentangled_dim, config.classes))  # MLP^c

    def forward(self, batch: Batch) -> DFERCOutput:
        features = dict(batch.require(self.config.feature_dims, "DF-ERC"))
        if self.encoding is not None:
            features["text"] = self.encoding(batch)  # eq. 1
        raw = {m: self.drop(features[m][batch.mask]) for m in self.config.modalities}
        x, levels = self.disentangle(raw)  # eq. 2-8
        fused = self.fuse(x)  # eq. 10-16
        h, psi, aligned = self.refuse(fused.h, x, batch.mask)  # eq. 17-22
        return DFERCOutput(
            padded(self.classify(h), batch.mask), levels, fused.logits, fused.contributions, psi, aligned, padded(h, batch.mask)
        )  # eq. 23

    def objective(self, output: DFERCOutput, batch: Batch) -> dict[str, Tensor]:
        """The terms of eq. 25, each as it enters the sum, and their "total". While training it takes the batch into the prototypes."""
        config, mask = self.config, batch.mask
        if batch.labels.is_floating_point():
            raise DataError("DF-ERC predicts classes, but the corpus is labelled with dimensions; take a model with a dimensional head, such as DialogueTRM")
        labels, mean = batch.labels[mask], config.reduction == "mean"
        dialogue = torch.arange(len(mask), device=mask.device)[:, None].expand_as(mask)[mask]
        modalities, n = len(config.modalities), len(labels)
        terms = {"emotion": F.cross_entropy(output.logits[mask].float(), labels, reduction=config.reduction)}  # eq. 24
        if modalities > 1:
            temperatures = {"modality": config.modality_temperature, "utterance": config.utterance_temperature}
            turns = mask.sum(dim=1)
            pairs = {"modality": modalities * (turns * (turns - 1)).sum(), "utterance": n * modalities * (modalities - 1)}
            for level, views in output.levels.items():
                loss = dual_level_contrastive_loss(views, level=level, temperature=temperatures[level], groups=dialogue)  # eq. 3, 5
                terms[f"contrast_{level}"] = config.alpha_contrast * (loss / max(int(pairs[level]), 1) if mean else loss)
        if output.contributions is not None:
            l_p, l_q = true_class_probability_losses(output.teacher_logits, output.contributions, labels)  # eq. 13, 14
            scale = config.alpha_contribution / (modalities * n if mean else 1)
            terms |= {"teacher": scale * l_p, "student": scale * l_q}  # eq. 15
        if output.aligned is not None:
            if self.training:
                self.refuse.remember(output.aligned, labels)  # eq. 18
            terms["similarity"] = config.alpha_similarity * self.refuse.bank.loss(output.aligned, labels, config.margin, distance=config.distance)  # eq. 19
        return {"total": torch.stack(list(terms.values())).sum(), **terms}

    def describe_encoder(self, texts: Iterable[str]) -> dict[str, Any]:
        """What is fixed about the text encoder inside, and how many of the utterances ``texts`` it cuts; empty without one."""
        if self.encoding is None:
            return {}
        return {**self.encoding.tokens.describe(), "max_tokens": self.config.max_tokens, "utterances_cut": self.encoding.count_cut(texts)}

    def measure(self, output: DFERCOutput, batch: Batch) -> dict[str, Tensor]:
        """For the figures of Section 4.4 and Appendix B, (N,) each: cross_entropy (eq. 24), psi (eq. 20), and of every modality m its
        contribution_m (eq. 12), the true_class_m probability it stands for (eq. 11) and whether its teacher_right_m is right."""
        labels = batch.labels[batch.mask]
        found = {"cross_entropy": F.cross_entropy(output.logits[batch.mask].float(), labels, reduction="none")}
        if output.consistency is not None:
            found["psi"] = output.consistency
        if output.contributions is not None:
            probabilities = output.teacher_logits.float().softmax(dim=-1)
            for i, m in enumerate(self.config.modalities):
                found[f"contribution_{m}"] = output.contributions[i]
                found[f"true_class_{m}"] = probabilities[i].gather(1, labels[:, None])[:, 0]
                found[f"teacher_right_{m}"] = (probabilities[i].argmax(dim=-1) == labels).float()
        return found
