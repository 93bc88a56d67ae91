"""Text features from a convolutional network over words (Kim 2014; DIMMN 3.1.1), trained on the corpus' own training utterances.

One layer of filters over 3, 4 and 5 words, the largest value of each, ReLU, and a linear layer to 100 numbers. Word vectors begin as
GloVe's where a file of them is given, else at random, and are trained with the rest. A linear classifier on top sees the training
utterances alone, each without its context; the epoch is chosen on the corpus' own validation dialogues.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from erc_lib.data.conversation import SPLITS, Corpus
from erc_lib.errors import ConfigError, DataError
from erc_lib.features.finetune import SELECTION, WARNING, check_splits, corpus_digest, stored_as_asked, weights_digest
from erc_lib.features.store import FeatureStore, StoredFeatures, text_fingerprints
from erc_lib.features.text import corpus_texts
from erc_lib.features.tuning import Loop

VERSION = "1"
PADDING, UNKNOWN = 0, 1
WORD = re.compile(r"\w+|[^\w\s]")  # words, and every other sign by itself: "don't" is don ' t


class TextCNNConfig(BaseModel):
    """Settings of the text CNN. The paper gives the filters and the 100 dimensions; maps and dropout follow Kim 2014 and ICON, the rest is chosen here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, ge=0)
    filters: tuple[Annotated[int, Field(ge=1)], ...] = Field((3, 4, 5), min_length=1)
    maps: int = Field(50, ge=1)  # of each filter size; ICON's feature extractor, which the paper follows, has 50
    features: int = Field(100, ge=1)
    word_dim: int = Field(300, ge=1)
    min_count: int = Field(2, ge=1)  # rarer words of the training split are unknown, unless the vectors' file has them
    max_words: int = Field(80, ge=5)
    epochs: int = Field(15, ge=1)
    batch_size: int = Field(50, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    dropout: float = Field(0.5, ge=0, lt=1)
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.0, ge=0, lt=1)
    clip_norm: float = Field(5.0, gt=0)
    precision: Literal["float32"] = "float32"


class TextCNN(nn.Module):
    """Sequences of word numbers -> features (B, F) after ReLU, and logits (B, C) of a linear classifier on them."""

    def __init__(self, vectors: Tensor, config: TextCNNConfig, classes: int) -> None:
        super().__init__()
        self.words = nn.Embedding.from_pretrained(vectors, freeze=False, padding_idx=PADDING)
        self.filters = nn.ModuleList(nn.Conv1d(vectors.shape[1], config.maps, size) for size in config.filters)
        self.fc = nn.Linear(config.maps * len(config.filters), config.features)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.features, classes)
        self.shortest = max(config.filters)

    def forward(self, sequences: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        device = self.words.weight.device
        words = nn.utils.rnn.pad_sequence([torch.tensor(s, dtype=torch.long) for s in sequences], batch_first=True, padding_value=PADDING).to(device)
        words = F.pad(words, (0, max(0, self.shortest - words.shape[1])), value=PADDING)
        x = self.words(words).transpose(1, 2)  # (B, E, T)
        # A filter's maximum is over the places that begin within the utterance, so what it is padded with by its company plays no part.
        begin = torch.tensor([max(len(s), 1) for s in sequences], device=device)[:, None]
        pooled = []
        for convolution in self.filters:
            y = convolution(F.pad(x, (0, self.shortest)))  # (B, maps, places)
            outside = torch.arange(y.shape[-1], device=device) >= begin
            pooled.append(y.masked_fill(outside[:, None], float("-inf")).amax(dim=-1))
        features = F.relu(self.fc(F.relu(torch.cat(pooled, dim=1))))
        return features, self.classifier(self.dropout(features))


def text_cnn_corpus(
    corpus: Corpus,
    *,
    vectors: Path | str | None = None,
    store: FeatureStore | None = None,
    name: str | None = None,
    device: torch.device | str = "cpu",
    overwrite: bool = False,
    progress: bool = True,
    **settings: object,
) -> StoredFeatures:
    """Trains the text CNN on ``corpus.train`` and stores features (N, 100) of all utterances; nothing is stored before the end.

    Args:
        vectors: a local file of word vectors in GloVe's text format, a word and its numbers in each line. None: learned from random ones.
        store: the default feature store if None. name: in the store; ``text-cnn/<vectors' file, or learned>/seed<seed>`` if None.
        overwrite: train again although features of that name are there. Otherwise those are returned if corpus and settings agree.
        settings: of :class:`TextCNNConfig`.
    Raises:
        DataError: no transcripts, no classes, an empty split, a file of vectors that cannot be read. ConfigError: a setting, or other
            features under that name.
    """
    try:
        config = TextCNNConfig(**settings)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"text CNN setting {'.'.join(map(str, first['loc']))}: {first['msg']} (got {first['input']!r})") from None
    ids, texts = corpus_texts(corpus)
    check_splits(corpus, "the text CNN")
    words = {s: [tokens(t, config.max_words) for d in corpus.split(s) for t in d.texts] for s in SPLITS}
    counts = Counter(w for sentence in words["train"] for w in sentence)
    known = {} if vectors is None else read_vectors(Path(vectors), {w for s in SPLITS for sentence in words[s] for w in sentence}, config.word_dim)
    vocabulary = sorted({w for w, n in counts.items() if n >= config.min_count} | set(known))
    store, name = store or FeatureStore(), name or f"text-cnn/{'learned' if vectors is None else Path(vectors).stem}/seed{config.seed}"
    written = {
        "version": VERSION, "settings": config.model_dump(mode="json"), "corpus_sha256": corpus_digest(corpus),
        "vectors_sha256": None if vectors is None else _sha256(Path(vectors)),
    }  # fmt: skip
    if not overwrite and (stored := stored_as_asked(store, corpus, name, written)):
        return stored
    started = time.perf_counter()
    device = torch.device(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(config.seed)
        table = torch.randn(len(vocabulary) + 2, config.word_dim) * 0.1
        table[PADDING] = 0.0
        for row, word in enumerate(vocabulary, 2):
            if word in known:
                table[row] = torch.from_numpy(known[word])
        number = {w: i for i, w in enumerate(vocabulary, 2)}
        items = {s: [[number.get(w, UNKNOWN) for w in sentence] for sentence in words[s]] for s in SPLITS}
        labels = {s: [label[None] for d in corpus.split(s) for label in d.labels] for s in SPLITS}
        network = TextCNN(table, config, corpus.classes).to(device)
        loop = Loop(network, items, labels, config, config.epochs, config.learning_rate, config.batch_size, 8192, progress)
        trained = loop.run()
        array = np.concatenate([loop.predict(s)[0] for s in SPLITS])
    best = trained["history"][trained["best_epoch"] - 1]
    unknown = sum(w not in number for s in ("validation", "test") for sentence in words[s] for w in sentence)
    card = {
        **written,
        "extractor": "erc_lib.features.text_cnn",
        "libraries": {"torch": torch.__version__},
        "device": str(device),
        "encoder": f"CNN with filters over {', '.join(map(str, config.filters))} words, {config.maps} maps each",
        "pooling": "the largest value of each map, ReLU, linear layer, ReLU",
        "paradigm": "trained on single utterances of the train split, no context and no speaker",
        "sampling": f"at most {config.max_words} words",
        "units": "none",
        "empty": "an utterance without words is padding alone",
        "vocabulary": len(vocabulary),
        "words_with_given_vectors": len(known),
        "unknown_words_of_validation_and_test": unknown,
        "tuned_weights_sha256": weights_digest(network),
        "selection": SELECTION,
        "warning": WARNING.replace("The encoder was fine-tuned", "The network was trained"),
        "validation_dialogues": [d.id for d in corpus.validation],
        "stages": [{"stage": "utterances", **trained}],
        "validation_weighted_f1": best["validation_weighted_f1"],
        "test_weighted_f1": best["test_weighted_f1"],
        "seconds": round(time.perf_counter() - started, 1),
    }
    return store.save(corpus=corpus.name, modality="text", name=name, ids=ids, array=array, card=card, fingerprints=text_fingerprints(texts))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tokens(text: str, limit: int | None = None) -> list[str]:
    """Words and signs of ``text`` in lower case, the first ``limit`` of them."""
    return WORD.findall(text.lower())[:limit]


def read_vectors(path: Path, wanted: set[str], dim: int) -> dict[str, np.ndarray]:
    """The vectors (float32, ``dim``) of those ``wanted`` words that a file in GloVe's text format holds.

    Raises:
        DataError: the file is missing, or a line of a wanted word does not hold ``dim`` numbers, or none of its words is wanted.
    """
    found: dict[str, np.ndarray] = {}
    try:
        with open(path, encoding="utf-8") as file:
            for row, line in enumerate(file, 1):
                word, *numbers = line.rstrip().rsplit(" ", dim)  # from the right: some of GloVe's "words" hold spaces
                if word not in wanted:
                    continue
                try:
                    vector = np.array(numbers, dtype=np.float32)
                except ValueError:
                    vector = np.empty(0)
                if vector.shape != (dim,) or not np.isfinite(vector).all():
                    raise DataError(f"{path}, line {row}: {word!r} is not followed by {dim} numbers; give word_dim the file's width, or another file")
                found[word] = vector
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as word vectors ({error}); give a file in GloVe's text format") from None
    if not found:
        raise DataError(f"{path} holds no word of this corpus; it must have a word, in lower case, and its {dim} numbers in each line (word_dim says how many)")
    return found
