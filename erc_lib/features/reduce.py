"""Wide features made narrower by a step that is *fitted*, on the training split alone, and kept with its parameters.

MultiEMO makes 512 of its 6,373 audio features by a fully-connected layer (3.2) whose training it does not describe; MELD's file in DF-ERC has 300 numbers,
DIMMN sets 100. Here features are z-scored and projected on their principal components.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save
from sklearn.decomposition import PCA

from erc_lib.data import Corpus
from erc_lib.errors import ConfigError, DataError
from erc_lib.features.store import FeatureStore, StoredFeatures, write_whole

PARAMETERS = "reduction.safetensors"


@dataclass(frozen=True)
class Reduction:
    """z = (x - mean) / deviation, then its coordinates on ``components``; all float32, mean and deviation (D,), components (d, D)."""

    mean: np.ndarray
    deviation: np.ndarray
    components: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(N, D) -> (N, d). A row of zeros, an utterance that had nothing to extract, stays one. DataError: another width."""
        x = np.asarray(x, np.float32)
        if x.ndim != 2 or x.shape[1] != len(self.mean):
            raise DataError(f"the reduction was fitted on features {len(self.mean)} wide, not {x.shape}; use those it was fitted on")
        return np.where(x.any(axis=1, keepdims=True), ((x - self.mean) / self.deviation) @ self.components.T, 0).astype(np.float32)

    def to_bytes(self) -> bytes:
        """As a safetensors file."""
        return save({"mean": self.mean, "deviation": self.deviation, "components": np.ascontiguousarray(self.components)})

    @classmethod
    def from_bytes(cls, blob: bytes) -> Reduction:
        """What :meth:`to_bytes` gave."""
        return cls(**load(blob))


def reduce_features(corpus: Corpus, modality: str, name: str, dims: int, *, store: FeatureStore | None = None) -> StoredFeatures:
    """Fits on the training utterances' stored features ``name`` and stores all of them reduced, as ``<name>-pca<dims>``, with the parameters beside.

    Utterances without content (rows of zeros) take no part in the fit. A dimension that never changes in training counts as 0.

    Raises:
        ConfigError: more dimensions than training utterances or features. DataError: no such features, or some of the corpus' utterances have none.
    """
    store = store or FeatureStore()
    stored = store.load(corpus.name, modality, name)
    row_of = {u: i for i, u in enumerate(stored.ids)}
    training = [u for d in corpus.train for u in d.ids]
    if missing := [u for u in training if u not in row_of]:
        raise DataError(f"{modality} features {name!r} of {corpus.name!r} lack {len(missing)} training utterances, first {missing[0]!r}; extract them again")
    x = stored.array[[row_of[u] for u in training]]
    x = x[x.any(axis=1)]
    if not 1 <= dims <= min(x.shape):
        raise ConfigError(f"{dims} dimensions cannot be fitted on {len(x)} training utterances with {stored.array.shape[1]} features; take at most {min(x.shape)}")
    mean, deviation = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    deviation = np.where(deviation > 1e-8 * np.maximum(1, np.abs(mean)), deviation, np.inf)  # what never changes is 0 then
    fitted = PCA(dims, svd_solver="full").fit((x - mean) / deviation)
    reduction = Reduction(*(v.astype(np.float32) for v in (mean, deviation, fitted.components_)))
    blob = reduction.to_bytes()
    card = {k: v for k, v in stored.card.items() if k not in ("corpus", "modality", "name", "dims", "count", "dtype", "file", "sha256", "commit", "created")}
    card |= {
        "reduced_from": {"name": name, "card": stored.card_hash, "dims": stored.array.shape[1]}, "units": f"coordinates on {dims} principal components of z-scored features",
        "reduction": f"z-score and PCA, fitted on {len(x)} training utterances", "explained_variance": round(float(fitted.explained_variance_ratio_.sum()), 6),
        "reduction_sha256": hashlib.sha256(blob).hexdigest(),
    }  # fmt: skip
    folder = store.folder(corpus.name, modality, f"{name}-pca{dims}")
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / PARAMETERS, blob)  # before the card, which is what makes an entry
    return store.save(corpus=corpus.name, modality=modality, name=f"{name}-pca{dims}", ids=stored.ids, array=reduction(stored.array), card=card)


def load_reduction(corpus: str, modality: str, name: str, *, store: FeatureStore | None = None) -> Reduction:
    """The parameters of stored, reduced features, for reducing those of other utterances alike. DataError: there are none, or they are damaged."""
    store = store or FeatureStore()
    card = store.load(corpus, modality, name).card
    path: Path = store.folder(corpus, modality, name) / PARAMETERS
    if "reduction_sha256" not in card:
        raise DataError(f"{modality} features {name!r} of {corpus!r} were not reduced here; there is nothing to load")
    try:
        blob = path.read_bytes()
        if hashlib.sha256(blob).hexdigest() != card["reduction_sha256"]:
            raise DataError(f"{path} is damaged: its sha256 is not the one in the card; reduce the features again (`erc features reduce`)")
        return Reduction.from_bytes(blob)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} cannot be read ({error}); reduce the features again (`erc features reduce`)") from None
