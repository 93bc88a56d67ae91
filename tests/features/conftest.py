"""A tiny corpus for the tiny encoder of tests/conftest.py to read."""

from __future__ import annotations

import pytest
import torch

from erc_lib.data.conversation import Corpus, Dialogue


@pytest.fixture(autouse=True)
def one_thread():
    """These matrices are so small that a second thread only waits for the first."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
