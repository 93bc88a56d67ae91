"""Fixtures of the whole suite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # small tensors; more threads than free cores cost more than they bring


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The folder of pinned public files; tests on real data are skipped where there is none."""
    candidates = [os.environ.get("ERC_MIRROR"), Path(__file__).resolve().parents[2] / "shared" / "data"]
    for candidate in candidates:
        if candidate and (Path(candidate) / "MANIFEST.yaml").exists():
            return Path(candidate)
    pytest.skip("the public files are not on this machine: set ERC_MIRROR to a folder that holds them")


WORDS = "speaker anna ben happy sad angry fine no yes oh really what you me 0 1 2 3 4 5 6 7 8 9 : . , ! ?".split()


@pytest.fixture(scope="session")
def encoders_folder(tmp_path_factory) -> Path:
    """A folder for ``ERC_ENCODERS`` with the encoder "tiny": 2 layers, 16-d, a vocabulary of some 40 words."""
    from transformers import BertConfig, BertModel, BertTokenizerFast  # seconds to import: only those who encode pay

    root = tmp_path_factory.mktemp("encoders")
    folder = root / "tiny"
    folder.mkdir()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), "utf-8")
    BertTokenizerFast(vocab={w: i for i, w in enumerate(vocabulary)}, do_lower_case=True).save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        config = BertConfig(
            vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=64, initializer_range=0.3,
        )
        BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return root
