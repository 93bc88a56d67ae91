"""DialogueTRM (Mao et al., 2021): intra-modal and inter-modal emotional dynamics with Transformers."""
