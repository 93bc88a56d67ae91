"""The layouts of the published feature files, and their reading: which entry of which pickle is what, and nothing taken on trust.

Every file is a tuple of dictionaries dialogue -> one entry for each utterance, followed by the names of the training and the test
dialogues; MultiEMO's features lie in files of their own, each a dictionary dialogue -> (L, D), in the order of its ``Speakers.pkl``. The
order of the fields is that in which the publishing repositories unpack them (their ``dataloader.py``, MultiEMO's ``Dataset/*.py``).
IEMOCAP's sentences are licensed: no message here shows one, and none leaves this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from erc_lib.data import iemocap, meld
from erc_lib.data.conversation import MODALITIES
from erc_lib.data.sources import PinnedFile, did_you_mean, find_source, raw_root
from erc_lib.data.unpickle import load_pickle
from erc_lib.errors import ConfigError, DataError

SPLITS = ("training dialogues", "test dialogues")
COMMON = ("ids", "speakers", "labels", "text", "audio")
NINE = (*COMMON, "visual", "sentences", *SPLITS)  # IEMOCAP, everywhere
TEN = (*COMMON, "visual", "sentences", *SPLITS, "one more")  # MMGCN's MELD; nobody's program reads the tenth
SENTIMENT = (*COMMON, "sentences", *SPLITS, "sentiments")  # conv-emotion's MELD: no visual features
ONE_HOT = 9  # MELD's speakers: the most that any dialogue has, numbered within the dialogue
LFS = b"version https://git-lfs"


@dataclass(frozen=True)
class Layout:
    """One set of published features.

    Attributes:
        source: its name in ``erc data list``; ``corpus``: the corpus it describes; ``name``: its name in the feature store.
        file: the pickle with ids, speakers, labels and splits, below the source's folder; ``fields``: its entries, in order.
        widths: modality -> D_m; None where nobody says it, then one width throughout will do.
        beside: modality -> pickle of its features, where they do not stand in ``file``.
        origin: modality -> what is known of how they were made. used_by: who computes with them.
    """

    source: str
    corpus: str
    name: str
    file: str
    fields: tuple[str, ...]
    widths: Mapping[str, int | None]
    origin: Mapping[str, str]
    used_by: str
    beside: Mapping[str, str] = field(default_factory=dict)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Class k of the file is the k-th of these."""
        return (meld if self.corpus == "meld" else iemocap).LABEL_NAMES

    @property
    def files(self) -> tuple[str, ...]:
        return (self.file, *self.beside.values())

    def pinned(self) -> dict[str, PinnedFile]:
        """File below the source's folder -> what it must be."""
        known = {f.path.removeprefix(f"{self.source}/"): f for f in find_source(self.source).files}
        return {name: known[name] for name in self.files}


UNSAID = "not documented by the repository that publishes it"
CONV_TEXT = f"{UNSAID}; a convolutional network over words by the papers that cite it"
OPENSMILE = "openSMILE, as DF-ERC (3.1) says of the audio features of the work it follows; the program is not published"
DENSENET = "DenseNet pre-trained on FER+, as DF-ERC (3.1) says of the visual features of the work it follows; the program is not published"
EMOBERTA = (
    'MultiEMO\'s program says that they come from "pre-trained EmoBERTa". That project\'s README says that its released checkpoints were trained on '
    "utterance-ordered-MELD_IEMOCAP.json, whose shuffled training list holds 2,323 of MELD's 2,610 test utterances and 1,601 utterances of IEMOCAP's session 5 "
    '(its test list is empty); asked whether they saw the test sets, its author answers "I think so". '
    "Whether these features were made with such a checkpoint cannot be seen from here"
)
MULTIEMO = {
    "text": EMOBERTA,
    "audio": "512 wide; the paper (3.3) names openSMILE's 6,373 functionals and a linear layer to 512, which the published program does not contain",
    "visual": "1,000 wide; the paper's VisExtNet (3.3.3), which the published training program never calls",
}


def _multiemo(corpus: str, folder: str, fields: tuple[str, ...]) -> Layout:
    beside = {m: f"{folder}/{m.title()}Features.pkl" for m in MODALITIES}
    widths = {"text": 768, "audio": 512, "visual": 1000}
    return Layout("multiemo-features", corpus, "multiemo", f"{folder}/Speakers.pkl", fields, widths, MULTIEMO, "MultiEMO", beside)


MMGCN, CONV = "mmgcn-features", "conv-emotion-features"
MMGCN_ORIGIN = {"text": UNSAID, "audio": OPENSMILE, "visual": DENSENET}
MMGCN_USERS = "MMGCN, MM-DFN, M3NET; DF-ERC for audio and visual"
CONV_USERS = "bc-LSTM, DialogueRNN, DialogueGCN"
LAYOUTS = (
    _multiemo("meld", "Data/MELD", TEN),
    _multiemo("iemocap", "Data/IEMOCAP", NINE),
    Layout(
        MMGCN, "meld", "mmgcn", "MELD_features/MELD_features_raw1.pkl", TEN,
        {"text": 600, "audio": 300, "visual": 342}, MMGCN_ORIGIN, MMGCN_USERS + "; MultiEMO for speakers and splits",
    ),
    Layout(
        MMGCN, "iemocap", "mmgcn", "IEMOCAP_features/IEMOCAP_features.pkl", NINE,
        {"text": 100, "audio": 1582, "visual": 342}, MMGCN_ORIGIN, MMGCN_USERS,
    ),
    Layout(
        CONV, "meld", "conv-emotion", "bc-LSTM-pytorch/MELD_features/MELD_features_raw.pkl", SENTIMENT,
        {"text": 600, "audio": 300}, {"text": UNSAID, "audio": UNSAID}, CONV_USERS,
    ),
    Layout(
        CONV, "iemocap", "conv-emotion", "bc-LSTM-pytorch/IEMOCAP_features/IEMOCAP_features_raw.pkl", NINE,
        {"text": 100, "audio": 100, "visual": 512}, {"text": CONV_TEXT, "audio": UNSAID, "visual": UNSAID},
        "bc-LSTM, DialogueRNN; MultiEMO for speakers and splits",
    ),
    Layout(
        CONV, "iemocap", "conv-emotion-gcn", "DialogueGCN/IEMOCAP_features/IEMOCAP_features.pkl", NINE,
        {"text": 100, "audio": None, "visual": None}, {"text": CONV_TEXT, "audio": UNSAID, "visual": UNSAID}, "DialogueGCN",
    ),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class PublishedDialogue:
    """One dialogue of L utterances as a file has it, not yet compared with ours.

    Attributes:
        ids: the file's own utterance ids; ``speakers``: a name or number each; ``labels``: int64 (L,).
        features: modality -> float32 (L, D_m); ``split``: "train" (which holds ours of validation) or "test".
    """

    ids: tuple[Any, ...]
    speakers: tuple[Any, ...]
    labels: np.ndarray
    features: dict[str, np.ndarray]
    split: str

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class PublishedFile:
    """What one :class:`Layout`'s files hold: dialogue, as the file calls it -> its content; and those that no split lists."""

    layout: Layout
    path: Path
    dialogues: dict[Any, PublishedDialogue]
    unlisted: tuple[Any, ...] = ()


def find_layout(source: str, corpus: str, name: str | None = None) -> Layout:
    """The layout of a source's features of a corpus; ``name`` chooses where there are several, else the first. ConfigError if none fits."""
    find_source(source)  # an unknown name is an error here
    known = list(dict.fromkeys(x.source for x in LAYOUTS))
    if source not in known:
        raise ConfigError(f"source {source!r} holds no published features{did_you_mean(source, known)}")
    if corpus in ("avec", "avec-dialogues"):
        raise ConfigError(
            "AVEC's published features are a corpus of their own, with dialogues and labels: `erc data fetch conv-emotion-features`, then "
            "--corpus avec-dialogues wherever a corpus is asked for. The corpus avec has no dialogue to join them by"
        )
    fitting = [x for x in LAYOUTS if x.source == source and x.corpus == corpus]
    if not fitting:
        raise ConfigError(f"{source} has no features of corpus {corpus!r}{did_you_mean(corpus, [x.corpus for x in LAYOUTS if x.source == source])}")
    chosen = [x for x in fitting if name in (None, x.name)]
    if not chosen:
        raise ConfigError(f"{source} has no features named {name!r} of {corpus}{did_you_mean(str(name), [x.name for x in fitting])}")
    return chosen[0]


def read_published(layout: Layout, folder: Path | None = None) -> PublishedFile:
    """The fetched files of a layout, each compared with its git blob id and held to its layout.

    ``folder``: of the source's files, by default where ``erc data fetch`` puts them.

    Raises:
        DataError: a file is not there (naming the command that fetches it) or is not the pinned one, or holds another layout, width, number
            of utterances, a label or feature that is none, naming file, dialogue and utterance.
    """
    folder = folder or raw_root() / layout.source
    remedy = f"fetch it again (`erc data fetch {layout.source}`)"
    for name, pin in layout.pinned().items():
        path = folder / name
        if not path.is_file():
            raise DataError(f"{path} is not there; fetch it first: `erc data fetch {layout.source}`")
        with path.open("rb") as file:
            if file.read(len(LFS)) == LFS:
                raise DataError(
                    f"{path} is a pointer of git-lfs and not the file itself: put the file into a mirror (ERC_MIRROR) and pin its sha256, the oid that "
                    "the pointer names, in erc_lib/data/sources.yaml"
                )
        pin.check(path, remedy=remedy)
    path = folder / layout.file
    parts = _parts(path, layout, remedy)
    features = {m: parts[m] for m in layout.widths if m not in layout.beside}
    for modality, name in layout.beside.items():
        features[modality] = load_pickle(folder / name, encoding="latin1")
        if not isinstance(features[modality], dict):
            raise DataError(f"{folder / name} is no dictionary dialogue -> features but {type(features[modality]).__name__}; {remedy}")
    places = {m: folder / layout.beside.get(m, layout.file) for m in layout.widths}
    dialogues: dict[Any, PublishedDialogue] = {}
    widths = dict(layout.widths)
    for split, listed in zip(("train", "test"), SPLITS, strict=True):
        for key in parts[listed]:
            if not isinstance(key, int | str | np.integer):
                raise DataError(f"{path}: a name of the {listed} is a {type(key).__name__} and no name or number; {remedy}")
            if key in dialogues:
                raise DataError(f"{path}: dialogue {key!r} stands in {dialogues[key].split} and again in {split}; {remedy}")
            dialogues[key] = _dialogue(path, key, parts, features, places, widths, layout, split, remedy)
    unlisted = tuple(k for k in parts["ids"] if k not in dialogues)
    return PublishedFile(layout, path, dialogues, unlisted)


def _parts(path: Path, layout: Layout, remedy: str) -> dict[str, Any]:
    """The fields of the tuple by name."""
    content = load_pickle(path, encoding="latin1")
    if not isinstance(content, tuple | list) or len(content) != len(layout.fields):
        found = f"{len(content)} entries" if isinstance(content, tuple | list) else f"a {type(content).__name__}"
        raise DataError(f"{path} holds {found} instead of {len(layout.fields)} ({', '.join(layout.fields)}): another file or corpus; {remedy}")
    parts = dict(zip(layout.fields, content, strict=True))
    for name, part in parts.items():
        if name in SPLITS and (isinstance(part, dict | str) or not isinstance(part, Iterable)):
            raise DataError(f"{path}: the {name} are no list of dialogues but {type(part).__name__}; {remedy}")
        if name not in (*SPLITS, "one more") and not isinstance(part, dict):
            raise DataError(f"{path}: the {name} are no dictionary dialogue -> values but {type(part).__name__}: another file or corpus; {remedy}")
    for name in SPLITS:  # a set has no order: sorted, the same file gives the same rows
        parts[name] = sorted(parts[name], key=str) if isinstance(parts[name], set | frozenset) else list(parts[name])
    return parts


def _dialogue(
    path: Path, key: Any, parts: dict[str, Any], features: dict[str, dict], places: dict[str, Path], widths: dict[str, int | None],
    layout: Layout, split: str, remedy: str,
) -> PublishedDialogue:
    for name in ("ids", "speakers", "labels"):
        if key not in parts[name]:
            raise DataError(f"{path}, dialogue {key!r}, which is listed for {split}, has no {name}; {remedy}")
    ids, speakers, labels = (_row(path, key, name, parts[name][key], remedy) for name in ("ids", "speakers", "labels"))
    if not len(ids) or len({len(ids), len(speakers), len(labels)}) != 1:
        raise DataError(f"{path}, dialogue {key!r} has {len(ids)} ids, {len(speakers)} speakers and {len(labels)} labels; {remedy}")
    known = range(len(layout.label_names))
    for i, label in enumerate(labels):
        if isinstance(label, bool) or not isinstance(label, int | np.integer) or label not in known:
            raise DataError(f"{path}, dialogue {key!r}, utterance {i}: the label is not one of 0 to {known[-1]} ({', '.join(layout.label_names)}); {remedy}")
    ids = tuple(x.item() if isinstance(x, np.generic) else x for x in ids)
    if not all(isinstance(x, int | str) for x in ids) or len(set(ids)) != len(ids):
        raise DataError(f"{path}, dialogue {key!r}: its utterance ids are no numbers or names, each once; {remedy}")
    stray = [x for x in ids if layout.corpus == "iemocap" and str(x).startswith("Ses") and not str(x).startswith(str(key))]
    if stray:
        raise DataError(f"{path}, dialogue {key!r} holds utterance {stray[0]!r}, which by its name is another dialogue's; {remedy}")
    spoken = tuple(_speaker(path, key, i, s, layout, remedy) for i, s in enumerate(speakers))
    found = {}
    for m, part in features.items():
        found[m] = _matrix(places[m], key, m, part, ids, widths[m], remedy)
        widths[m] = found[m].shape[1]  # where nobody says a width, the first dialogue does
    return PublishedDialogue(ids, spoken, np.array([int(x) for x in labels]), found, split)


def _row(path: Path, key: Any, name: str, values: Any, remedy: str) -> Sequence[Any]:
    if isinstance(values, np.ndarray) and values.ndim:
        return list(values)
    if isinstance(values, list | tuple):
        return values
    raise DataError(f"{path}, dialogue {key!r}: its {name} are no list but {type(values).__name__}; {remedy}")


def _speaker(path: Path, key: Any, i: int, value: Any, layout: Layout, remedy: str) -> Any:
    """A letter, or the number that a one-hot vector names."""
    if layout.corpus == "iemocap":
        if isinstance(value, str) and value in iemocap.SPEAKERS:
            return value
        raise DataError(f"{path}, dialogue {key!r}, utterance {i}: the speaker is not one of {', '.join(iemocap.SPEAKERS)}; {remedy}")
    try:
        vector = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        vector = np.empty(0)
    if vector.shape == (ONE_HOT,) and np.isin(vector, (0, 1)).all() and vector.sum() == 1:
        return int(vector.argmax())
    raise DataError(f"{path}, dialogue {key!r}, utterance {i}: the speaker is no one-hot vector of {ONE_HOT}; {remedy}")


def _matrix(path: Path, key: Any, modality: str, part: dict, ids: Sequence[Any], width: int | None, remedy: str) -> np.ndarray:
    """float32 (L, D)."""
    where = f"{path}, dialogue {key!r}"
    if key not in part:
        raise DataError(f"{where} has no {modality} features; {remedy}")
    try:
        x = np.asarray(part[key], dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{where}: the {modality} features are no rows of numbers of one length; {remedy}") from None
    if x.ndim != 2 or len(x) != len(ids):
        raise DataError(f"{where}: {modality} features of shape {x.shape} for {len(ids)} utterances; {remedy}")
    if x.shape[1] != (width or x.shape[1]):
        raise DataError(f"{where}: {modality} features are {x.shape[1]} wide, not {width}; another file or version; {remedy}")
    with np.errstate(over="ignore"):
        x = x.astype(np.float32)
    bad = ~np.isfinite(x).all(axis=1)
    if bad.any():
        raise DataError(f"{where}, utterance {ids[int(bad.argmax())]!r}: the {modality} features hold NaN or infinity; {remedy}")
    return x
