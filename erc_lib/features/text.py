"""Texts into vectors with a pre-trained encoder as it is (fine-tuned ones: :mod:`erc_lib.features.finetune`)."""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from erc_lib.data.conversation import SPLITS, Corpus
from erc_lib.errors import ConfigError, DataError
from erc_lib.features.encoders import ENCODERS, TextEncoder, load_encoder, token_batches
from erc_lib.features.store import FeatureStore, StoredFeatures, text_fingerprints

VERSION = "1"  # of the steps below; part of the card, raised when they change a number


def encode_texts(
    texts: Sequence[str],
    encoder: TextEncoder | str = "all-MiniLM-L6-v2",
    *,
    tokens_per_batch: int = 2048,
    max_tokens: int | None = None,
    progress: bool = False,
) -> np.ndarray:
    """float32 (N, D): one vector for each text, in their order.

    Texts longer than ``max_tokens`` (the encoder's own limit if None; special tokens count) are cut at their end. An empty text
    is encoded as the special tokens alone. Equal texts are encoded once; the rest goes through in order of length, in batches
    of at most ``tokens_per_batch`` tokens with padding (a longer text alone), so the result depends on neither order nor
    company (to 1e-5).
    """
    if tokens_per_batch < 1:
        raise ConfigError(f"tokens_per_batch must be at least 1, not {tokens_per_batch}")
    encoder = load_encoder(encoder) if isinstance(encoder, str) else encoder
    unique = list(dict.fromkeys(texts))
    row = {text: i for i, text in enumerate(unique)}
    sequences = tokenise(encoder, unique, max_tokens)[0]
    vectors = np.empty((len(unique), encoder.width), dtype=np.float32)
    encoder.model.eval()
    with torch.inference_mode(), tqdm(total=len(unique), desc="encoding", unit="text", disable=not progress) as bar:
        for rows in token_batches([len(s) for s in sequences], tokens_per_batch):
            tokens, mask = encoder.pad_batch([sequences[r] for r in rows])
            hidden = encoder.model(input_ids=tokens, attention_mask=mask).last_hidden_state
            pooled = pool(hidden, mask, encoder.spec.pooling)
            if encoder.spec.normalise:
                pooled = torch.nn.functional.normalize(pooled, dim=1)
            vectors[rows] = pooled.float().cpu().numpy()
            bar.update(len(rows))
    return vectors[[row[text] for text in texts]]


def encode_corpus(
    corpus: Corpus,
    encoder: TextEncoder | str = "all-MiniLM-L6-v2",
    store: FeatureStore | None = None,
    *,
    name: str | None = None,
    tokens_per_batch: int = 2048,
    max_tokens: int | None = None,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> StoredFeatures:
    """Text features of every utterance of ``corpus``, from the store if they are there and fit, else encoded and stored.

    They fit when each utterance of the corpus is there under its id and had the same text, and the card says the same settings.
    What does not fit is encoded again and replaced: these features follow from corpus and encoder alone.

    Args:
        store: the default feature store if None. name: in the store, the encoder's name if None.
    Raises:
        DataError: the corpus has no transcripts, or the encoder cannot be had.
    """
    store = store or FeatureStore()
    name = name or (encoder if isinstance(encoder, str) else encoder.spec.name)
    ids, texts = corpus_texts(corpus)
    fingerprints = text_fingerprints(texts)
    encoder = load_encoder(encoder, device) if isinstance(encoder, str) else encoder
    limit = encoder.spec.max_tokens if max_tokens is None else max_tokens
    settings = {**encoder.describe(), "version": VERSION, "pooling": _pooling(encoder), "max_tokens": limit}
    if store.has(corpus.name, "text", name):
        stored = store.load(corpus.name, "text", name)
        if all(stored.card.get(k) == v for k, v in settings.items()) and _covers(stored, ids, fingerprints):
            return stored
        logging.getLogger(__name__).warning(
            "the text features %r of %r in %s were made from other texts or settings; encoding again",
            name, corpus.name, store.root,
        )
    array = encode_texts(texts, encoder, tokens_per_batch=tokens_per_batch, max_tokens=limit, progress=progress)
    card = {
        **settings,
        "extractor": "erc_lib.features.text",
        "libraries": {"transformers": importlib.metadata.version("transformers"), "torch": torch.__version__},
        "units": "none" + (" (each row has Euclidean norm 1)" if encoder.spec.normalise else ""),
        "paradigm": "frozen encoder, one utterance at a time, no context and no speaker",
        "sampling": f"whole utterance, cut after {limit} tokens ({tokenise(encoder, texts, limit)[1]} of {len(texts)} were)",
        "empty": "an empty text is encoded as the special tokens alone",
        "empty_texts": sum(not t for t in texts),
    }
    return store.save(corpus=corpus.name, modality="text", name=name, ids=ids, array=array, card=card, fingerprints=fingerprints)


def encode_like(card: Mapping[str, Any], texts: Sequence[str]) -> np.ndarray:
    """float32 (N, D): new ``texts`` as :func:`encode_corpus` made the features that ``card`` describes.

    Raises:
        DataError: they were made in another way (fine-tuned on their corpus, or published with it), so that new texts cannot
            be encoded like them; or the encoder is not here, or has other weights.
    """
    name = f"text features {card.get('name', '')!r}"
    if card.get("extractor") != "erc_lib.features.text" or card.get("version") != VERSION:
        made = f"{card.get('extractor')}, version {card.get('version')}"
        raise DataError(f"the {name} were made by {made}, which cannot encode new texts; take a run on the features of a frozen encoder (`erc features text`)")
    repository = str(card["encoder"])
    registered = next((n for n, spec in ENCODERS.items() if spec.repository == repository), repository.removeprefix("local/"))
    encoder = load_encoder(registered)
    if encoder.weights_sha256 != card["weights_sha256"]:
        raise DataError(
            f"the {name} were made with weights of {registered} whose sha256 is {card['weights_sha256']}; those in {encoder.folder} are others "
            f"({encoder.weights_sha256}); put the right ones there"
        )
    return encode_texts(texts, encoder, max_tokens=card["max_tokens"])


def corpus_texts(corpus: Corpus) -> tuple[list[str], list[str]]:
    """Ids and texts of all utterances, split by split. DataError for a corpus without transcripts."""
    dialogues = [d for split in SPLITS for d in corpus.split(split)]
    texts = [t for d in dialogues for t in d.texts]
    if not any(texts):
        raise DataError(
            f"corpus {corpus.name!r} has no transcripts to encode; use features that were published for it, or add its texts"
        )
    return [u for d in dialogues for u in d.ids], texts


def tokenise(encoder: TextEncoder, texts: Sequence[str], max_tokens: int | None = None) -> tuple[list[list[int]], int]:
    """Token ids of each text between its special tokens, cut at the end to ``max_tokens``, and how many texts were cut."""
    limit = encoder.spec.max_tokens if max_tokens is None else max_tokens
    if not 3 <= limit <= encoder.positions:
        raise ConfigError(
            f"max_tokens must lie between 3 and the {encoder.positions} positions of {encoder.spec.name}, not {limit}"
        )
    if not texts:
        return [], 0
    # verbose=False: the tokenizer would warn of lengths that are cut just below
    whole = encoder.tokenizer(list(texts), add_special_tokens=True, truncation=False, padding=False, verbose=False)["input_ids"]
    return [s if len(s) <= limit else s[: limit - 1] + s[-1:] for s in whole], sum(len(s) > limit for s in whole)


def pool(hidden: Tensor, mask: Tensor, how: Literal["mean", "first"]) -> Tensor:
    """(B, T, H), mask (B, T) -> (B, H): the mean over real tokens (special tokens among them), or the first position."""
    if how == "first":
        return hidden[:, 0]
    weight = mask[:, :, None].to(hidden.dtype)
    return (hidden * weight).sum(dim=1) / weight.sum(dim=1)


def _pooling(encoder: TextEncoder) -> str:
    taken = {"mean": "mean over real tokens, special tokens included", "first": "first position"}[encoder.spec.pooling]
    return taken + (", then divided by its Euclidean norm" if encoder.spec.normalise else "")


def _covers(stored: StoredFeatures, ids: list[str], fingerprints: np.ndarray) -> bool:
    rows = {u: i for i, u in enumerate(stored.ids)}
    if stored.fingerprints is None or any(u not in rows for u in ids):
        return False
    return bool((stored.fingerprints[[rows[u] for u in ids]] == fingerprints).all())
