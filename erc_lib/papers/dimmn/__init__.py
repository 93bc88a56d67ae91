"""DIMMN (Wen et al., 2023): dynamic interactive multiview memory network."""
