"""DF-ERC (Li et al., 2023): feature disentanglement and fusion for multimodal emotion recognition in conversation."""
