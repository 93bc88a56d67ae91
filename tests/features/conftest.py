"""A tiny random encoder, saved as `transformers` saves one, and a tiny corpus for it to read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from erc_lib.data.conversation import Corpus, Dialogue

WORDS = "speaker anna ben happy sad angry fine no yes oh really what you me 0 1 2 3 4 5 6 7 8 9 : . , ! ?".split()


@pytest.fixture(autouse=True)
def one_thread():
    """These matrices are so small that a second thread only waits for the first."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def encoders_folder(tmp_path_factory) -> Path:
    """A folder for ``ERC_ENCODERS`` with the encoder "tiny": 2 layers, 16-d, a vocabulary of some 40 words."""
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


@pytest.fixture
def tiny(encoders_folder, monkeypatch) -> str:
    """The name of the tiny encoder, registered for this test."""
    monkeypatch.setenv("ERC_ENCODERS", str(encoders_folder))
    return "tiny"


def dialogue(id: str, texts: list[str], labels: list[int] | None = None, speakers: list[int] | None = None) -> Dialogue:
    speakers = speakers or [i % 2 for i in range(len(texts))]
    return Dialogue(id, torch.tensor(speakers), torch.tensor(labels or [0] * len(texts)), {}, tuple(texts))


@pytest.fixture
def corpus() -> Corpus:
    """Simulated: 3 classes, each with its cue word ("happy", "sad", "angry") in every utterance."""
    cues = ("happy", "sad", "angry")
    generator = torch.Generator().manual_seed(0)

    def draw(split: str, number: int) -> list[Dialogue]:
        found = []
        for k in range(number):
            length = int(torch.randint(2, 7, (1,), generator=generator))
            labels = torch.randint(3, (length,), generator=generator).tolist()
            found.append(dialogue(f"{split}/{k}", [f"oh {cues[y]} {i}" for i, y in enumerate(labels)], labels))
        return found

    return Corpus("simulated-tiny", draw("train", 24), draw("validation", 6), draw("test", 6), cues)
