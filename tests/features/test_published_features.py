"""Published feature files: files of exactly their layouts, what becomes of them, and every way in which they can fail to fit."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from erc_lib.cli import main
from erc_lib.data import iemocap, meld
from erc_lib.data.conversation import Corpus, Dialogue
from erc_lib.data.convert import number_speakers
from erc_lib.data.sources import find_source
from erc_lib.errors import ConfigError, DataError
from erc_lib.features import published
from erc_lib.features.published import store_published, utterance_number
from erc_lib.features.published_files import LAYOUTS, SPLITS, TEN, Layout, find_layout
from erc_lib.features.store import FeatureStore, attach

# our dialogue -> (the file's name of it, speakers, labels, MELD's utterance numbers). Gaps, and a first number that is not 0, as in MELD.
MELD = {
    "train/dia0": (0, "ABA", (0, 4, 6), (0, 1, 3)), "train/dia61": (61, "CA", (1, 0), (2, 3)),
    "dev/dia0": (1039, "AB", (2, 3), (0, 1)), "test/dia1": (1154, "BBA", (5, 0, 0), (0, 1, 2)),
}
IEMOCAP = {
    "Ses01F_impro01": ("Ses01F_impro01", "FMF", (0, 5, 2), (0, 1, 2)), "Ses02M_script01": ("Ses02M_script01", "M", (1,), (0,)),
    "Ses05F_impro02": ("Ses05F_impro02", "MF", (3, 4), (0, 1)),
}
SECRET = "nobody may print this sentence"
WHICH = [pytest.param(x, id=f"{x.name}-{x.corpus}") for x in LAYOUTS]


def talk(corpus: str) -> dict:
    return MELD if corpus == "meld" else IEMOCAP


def ours(corpus: str) -> Corpus:
    splits: dict[str, list[Dialogue]] = {"train": [], "validation": [], "test": []}
    for id, (_, who, labels, numbers) in talk(corpus).items():
        speakers, names = number_speakers(who)
        ids = tuple(f"{id}_utt{n}" if corpus == "meld" else f"{id}/{n}" for n in numbers)
        split = {"t": "train", "d": "validation", "S": "train"}[id[0]] if not id.startswith(("test", "Ses05")) else "test"
        split = "validation" if id == "Ses02M_script01" else split
        splits[split].append(Dialogue(id, speakers, torch.tensor(labels), {}, ("ours",) * len(who), ids, names))
    return Corpus(corpus, **splits, label_names=(meld if corpus == "meld" else iemocap).LABEL_NAMES)


def number(corpus: str, id: str, k: int, modality: str) -> float:
    """What every dimension of that row holds: no two rows or modalities are alike."""
    return 100 * list(talk(corpus)).index(id) + 10 * k + ("text", "audio", "visual").index(modality)


def content(layout: Layout) -> dict:
    """The fields of the tuple by name, and under "beside" the modalities with files of their own."""
    corpus, known = layout.corpus, talk(layout.corpus)
    keys = {id: key for id, (key, *_) in known.items()}
    one_hot = np.eye(9, dtype=int)
    ids = {keys[id]: [f"{id}_{w}{n:03d}" if corpus == "iemocap" else n for w, n in zip(who, numbers, strict=True)] for id, (_, who, _, numbers) in known.items()}
    speakers = {keys[id]: list(who) if corpus == "iemocap" else [one_hot["CAB".index(w)].tolist() for w in who] for id, (_, who, *_) in known.items()}
    features = {
        m: {keys[id]: [np.full(layout.widths.get(m) or 7, number(corpus, id, k, m)) for k in range(len(who))] for id, (_, who, *_) in known.items()}
        for m in ("text", "audio", "visual")
    }
    test = {keys[id] for id in known if id.startswith(("test", "Ses05"))}
    whole = {
        "ids": ids, "speakers": speakers, "labels": {keys[id]: list(labels) for id, (_, _, labels, _) in known.items()}, **features,
        "sentences": {k: [SECRET] * len(v) for k, v in ids.items()}, SPLITS[0]: [k for k in keys.values() if k not in test], SPLITS[1]: test,
        "one more": {}, "sentiments": {k: [0] * len(v) for k, v in ids.items()},
    }  # fmt: skip
    beside = {m: {k: np.stack(x).astype(np.float32) for k, x in features[m].items()} for m in layout.beside}
    return {name: whole[name] for name in layout.fields} | {"beside": beside}


@pytest.fixture(autouse=True)
def data_folder(tmp_path, monkeypatch) -> Path:
    """A data root of this test; the pins are those of the real files, so they are taken out of the way."""
    monkeypatch.setenv("ERC_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("ERC_MIRROR", raising=False)
    monkeypatch.setattr("erc_lib.data.sources.PinnedFile.hash_of", lambda self, file: self.pin)
    return tmp_path / "data"


def write(layout: Layout, folder: Path, parts: dict | None = None, protocol: int = 2) -> Path:
    """The files in their places; returns the one with the labels."""
    parts = dict(parts or content(layout))
    beside = parts.pop("beside")
    root = folder / "raw" / layout.source
    for name, what in {layout.file: tuple(parts.values()), **{layout.beside[m]: x for m, x in beside.items()}}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(pickle.dumps(what, protocol=protocol))
    return root / layout.file


def join(layout: Layout, **options):
    return store_published(layout.source, ours(layout.corpus), name=layout.name, **options)


@pytest.mark.parametrize("layout", WHICH)
def test_each_layout_becomes_one_entry_per_modality(layout, data_folder):
    write(layout, data_folder)
    written = join(layout)
    assert [s.card["modality"] for s in written] == list(layout.widths)
    corpus = ours(layout.corpus)
    for stored in written:
        m, c = stored.card["modality"], stored.card
        assert (c["name"], c["corpus"], c["dims"]) == (layout.name, layout.corpus, layout.widths[m] or 7)
        assert c["source_commit"] == find_source(layout.source).commit and c["source_repository"] == find_source(layout.source).repository
        assert len(c["source_files"]) == (4 if layout.name == "multiemo" else 1) and all(x.startswith("git blob ") for x in c["source_files"].values())
        assert c["origin"] and (c["filled_utterances"], c["dropped_utterances"], c["other_speakers"]) == (0, 0, 0)
        joined = attach(corpus, m, FeatureStore().load(layout.corpus, m, layout.name))
        for d in (d for s in ("train", "validation", "test") for d in joined.split(s)):
            assert d.features[m][:, 0].tolist() == [number(layout.corpus, d.id, k, m) for k in range(len(d))], d.id


def test_multiemo_s_origin_stands_in_its_card(data_folder):
    layout = find_layout("multiemo-features", "meld")
    write(layout, data_folder)
    text = join(layout)[0].card["origin"]
    assert "EmoBERTa" in text and "2,323" in text and "cannot be seen" in text


def test_one_blob_serves_two_sources():
    pins = {x.name: [p.git_blob for p in x.pinned().values()] for x in LAYOUTS if x.corpus == "meld"}
    assert pins["multiemo"][0] == pins["mmgcn"][0]
    pins = {x.name: [p.git_blob for p in x.pinned().values()] for x in LAYOUTS if x.corpus == "iemocap"}
    assert pins["multiemo"][0] == pins["conv-emotion"][0] != pins["mmgcn"][0]


@pytest.mark.parametrize("layout", WHICH)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_any_protocol(layout, protocol, data_folder):
    write(layout, data_folder, protocol=protocol)
    assert len(join(layout)) == len(layout.widths)


def test_a_pickle_of_python_2(data_folder):
    """Its strings are bytes; those of a transcript need not be ASCII, and then the file opens as latin-1 alone."""
    layout = find_layout("mmgcn-features", "iemocap")
    parts = content(layout)
    parts["sentences"] = {k: ["caf\u00e9"] * len(v) for k, v in parts["sentences"].items()}
    path = write(layout, data_folder, parts)
    modern = path.read_bytes()
    old = b"".join(_python_2(modern))
    assert b"caf\xe9" in old and b"caf\xc3\xa9" not in old
    path.write_bytes(old)
    with pytest.raises(UnicodeDecodeError):
        pickle.loads(old)
    assert len(join(layout)) == 3


def _python_2(data: bytes):
    """The pickle with each unicode string (X, four bytes of length, UTF-8) as the byte string (T) that Python 2 wrote."""
    import pickletools

    ops = [(op, arg, at) for op, arg, at in pickletools.genops(data)]
    for (op, arg, at), end in zip(ops, [*(x[2] for x in ops[1:]), len(data)], strict=True):
        if op.name == "BINUNICODE":
            old = arg.encode("latin1")
            yield b"T" + len(old).to_bytes(4, "little") + old
        else:
            yield data[at:end]


def change(part: str, key: object, value: object):
    def apply(parts: dict) -> None:
        place = parts["beside"] if part in parts["beside"] else parts
        if value is None:
            del place[part][key]
        else:
            place[part][key] = value

    return apply


def drop(parts: dict) -> None:
    parts.pop(next(reversed(parts)))


def without(name: str):
    return lambda parts: parts.pop(name)


def renamed(key: object, new: object):
    """A dialogue under another name, in every field."""

    def apply(parts: dict) -> None:
        for name, part in [*parts.items(), *parts["beside"].items()]:
            if isinstance(part, dict) and key in part:
                part[new] = part.pop(key)
            elif name in SPLITS:
                parts[name] = [new if k == key else k for k in part]

    return apply


def moved(key: object):
    def apply(parts: dict) -> None:
        parts[SPLITS[0]], parts[SPLITS[1]] = [k for k in parts[SPLITS[0]] if k != key], [*parts[SPLITS[1]], key]

    return apply


def hot(*numbers: int) -> list:
    return [np.eye(9)[n] for n in numbers]


NAN = [np.full(600, 1.0), np.full(600, np.nan), np.full(600, 1.0)]
BAD_MELD = {
    "wrong label": (change("labels", 0, [0, 5, 6]), "disagree about the label .* of utterance train/dia0_utt1 \\(disgust there, joy here\\) \\(1 in all\\)"),
    "many labels": (lambda p: p["labels"].update({0: [1, 1, 1], 61: [5, 5]}), "train/dia0_utt0 .* and 2 more \\(5 in all\\)"),
    "no label": (change("labels", 0, [0, 7, 6]), "dialogue 0, utterance 1: the label is not one of 0 to 6 \\(neutral, surprise"),
    "labels as text": (change("labels", 0, ["joy"] * 3), "dialogue 0, utterance 0: the label is not one of"),
    "fewer labels": (change("labels", 0, [0, 4]), "dialogue 0 has 3 ids, 3 speakers and 2 labels"),
    "labels no list": (change("labels", 0, "046"), "dialogue 0: its labels are no list but str"),
    "no ids": (change("ids", 0, None), "dialogue 0, which is listed for train, has no ids"),
    "ids twice": (change("ids", 0, [0, 1, 1]), "utterance ids are no numbers or names, each once"),
    "ids without numbers": (change("ids", 0, ["a", "b", "c"]), "train/dia0: its utterance ids \\('a', ...\\) do not end in numbers"),
    "numbered anew": (change("ids", 0, [0, 1, 2]), "number the utterances differently in dialogue train/dia0 \\(1 in all\\); .*--numbering positions"),
    "no one-hot": (change("speakers", 0, [[1, 1, 0, 0, 0, 0, 0, 0, 0]] * 3), "utterance 0: the speaker is no one-hot vector of 9"),
    "a letter": (change("speakers", 0, ["M", "F", "M"]), "utterance 0: the speaker is no one-hot vector of 9"),
    "other speakers": (change("speakers", 0, hot(0, 1, 2)), "disagree about who speaks in dialogue train/dia0 .*--ignore-speakers"),
    "width": (change("text", 0, [np.ones(300)] * 3), "dialogue 0: text features are 300 wide, not 600"),
    "rows": (change("audio", 0, [np.ones(300)] * 2), "audio features of shape \\(2, 300\\) for 3 utterances"),
    "ragged": (change("visual", 0, [np.ones(342), np.ones(2), np.ones(342)]), "visual features are no rows of numbers of one length"),
    "words": (change("visual", 0, ["x"] * 3), "visual features are no rows of numbers"),
    "absent": (change("visual", 61, None), "dialogue 61 has no visual features"),
    "NaN": (change("text", 0, NAN), "dialogue 0, utterance 1: the text features hold NaN or infinity"),
    "too large": (change("audio", 0, [np.full(300, 1e200)] * 3), "the audio features hold NaN or infinity"),
    "an entry less": (drop, "holds 9 entries instead of 10 \\(ids, speakers, labels"),
    "no tuple": (None, "holds a dict instead of 10"),
    "a list for a dictionary": (lambda p: p.update(labels=[1, 2]), "the labels are no dictionary dialogue -> values but list"),
    "a split that is none": (lambda p: p.update({SPLITS[1]: 3}), "the test dialogues are no list of dialogues but int"),
    "a dialogue's name": (lambda p: p.update({SPLITS[1]: [[1]]}), "a name of the test dialogues is a list and no name"),
    "listed twice": (lambda p: p[SPLITS[0]].append(1154), "dialogue 1154 stands in train and again in test"),
    "another split": (moved(0), "disagree about the split of dialogue train/dia0 \\(test there, train here\\)"),
    "unlisted": (lambda p: p[SPLITS[0]].remove(0), "only the file has dialogue 0 \\(1 in all\\)"),
    "unknown dialogue": (renamed(61, 60), "only the file has dialogue train/dia60 \\(1 in all\\); .*--utterances fill"),
    "beyond the last": (renamed(61, 1433), "dialogue 1433 is no number from 0 to 1432"),
    "a name for a number": (renamed(61, "Ses01F_impro01"), "'Ses01F_impro01' is no number from 0 to 1432.*another corpus"),
    "two names of one": (renamed(61, "0"), "dialogue train/dia0 stands there under two names"),
}


@pytest.mark.parametrize("name", BAD_MELD)
def test_a_meld_file_that_does_not_fit_writes_nothing(name, data_folder):
    layout, (apply, message) = find_layout("mmgcn-features", "meld"), BAD_MELD[name]
    parts = content(layout)
    if apply is None:
        path = write(layout, data_folder)
        path.write_bytes(pickle.dumps({"ids": 1}))
    else:
        if name == "an entry less":
            parts = {k: v for k, v in parts.items() if k != "one more"}
        else:
            apply(parts)
        write(layout, data_folder, parts)
    with pytest.raises(DataError, match=message) as caught:
        join(layout)
    assert SECRET not in str(caught.value) and "\n" not in str(caught.value)
    assert FeatureStore().list() == []


A, B = "Ses01F_impro01", "Ses05F_impro02"
BAD_IEMOCAP = {
    "wrong label": (change("labels", A, [0, 5, 3]), f"of utterance {A}/2 \\(angry there, neutral here\\)"),
    "longer": (
        lambda p: [p["ids"][A].append("x"), p["speakers"][A].append("F"), p["labels"][A].append(2)] + [p[m][A].append(p[m][A][0]) for m in ("text", "audio", "visual")],
        f"have other numbers of utterances in dialogue {A} \\(4 there, 3 here\\)",
    ),
    "other speakers": (change("speakers", A, ["M", "F", "M"]), f"disagree about who speaks in dialogue {A}"),
    "one-hot": (change("speakers", A, hot(0, 1, 0)), f"dialogue '{A}', utterance 0: the speaker is not one of M, F"),
    "missing dialogue": (lambda p: p[SPLITS[0]].remove(A) or [v.pop(A) for v in p.values() if isinstance(v, dict) and A in v], f"only ours has utterance {A}/0, {A}/1, {A}/2 \\(3 in all\\)"),
    "unknown dialogue": (lambda p: [p["ids"].update({A: ["x", "y", "z"]}), renamed(A, "Ses09F_impro01")(p)], "only the file has dialogue Ses09F_impro01"),
    "a number for a name": (lambda p: [p["ids"].update({A: ["x", "y", "z"]}), renamed(A, 3)(p)], "dialogue 3 has no name of IEMOCAP's"),
    "another split": (moved(A), f"split of dialogue {A}"),
    "another dialogue's utterance": (change("ids", A, [f"{A}_F000", f"{B}_M000", f"{A}_F001"]), f"dialogue '{A}' holds utterance '{B}_M000'"),
    "width": (change("audio", A, [np.ones(100)] * 3), "audio features are 100 wide, not 1582"),
}


@pytest.mark.parametrize("name", BAD_IEMOCAP)
def test_an_iemocap_file_that_does_not_fit_writes_nothing(name, data_folder):
    layout, (apply, message) = find_layout("mmgcn-features", "iemocap"), BAD_IEMOCAP[name]
    parts = content(layout)
    apply(parts)
    write(layout, data_folder, parts)
    with pytest.raises(DataError, match=message) as caught:
        join(layout)
    assert SECRET not in str(caught.value) and FeatureStore().list() == []


@pytest.mark.parametrize("modality", ["text", "audio", "visual"])
def test_multiemo_s_own_files_are_held_to_theirs(modality, data_folder):
    layout = find_layout("multiemo-features", "meld")
    for value, message in ((np.ones((3, 5)), f"{modality.title()}Features.pkl, dialogue 0: {modality} features are 5 wide"), (None, "dialogue 0 has no")):
        parts = content(layout)
        change(modality, 0, value)({**parts, "text": {}, "audio": {}, "visual": {}, "beside": parts["beside"]})
        write(layout, data_folder, parts)
        with pytest.raises(DataError, match=message):
            join(layout)
    write(layout, data_folder, parts | {"beside": parts["beside"] | {modality: [1, 2]}})
    with pytest.raises(DataError, match=f"{modality.title()}Features.pkl is no dictionary dialogue -> features but list"):
        join(layout)
    assert FeatureStore().list() == []


def test_a_file_in_the_place_of_another(data_folder):
    for source, corpus, wrong in (("mmgcn-features", "meld", "iemocap"), ("mmgcn-features", "iemocap", "meld")):
        layout, other = find_layout(source, corpus), find_layout(source, wrong)
        path = write(layout, data_folder)
        path.write_bytes(write(other, data_folder / "aside").read_bytes())
        with pytest.raises(DataError, match="entries instead of .*another file or corpus"):
            join(layout)
    layout = find_layout("conv-emotion-features", "meld")  # nine entries, as IEMOCAP's, but not the same nine
    path = write(layout, data_folder)
    path.write_bytes(write(find_layout("mmgcn-features", "iemocap"), data_folder / "aside").read_bytes())
    with pytest.raises(DataError, match="the training dialogues are no list of dialogues but dict|the sentiments are no dictionary"):
        join(layout)


def test_where_nobody_says_the_width_there_must_be_one(data_folder):
    layout = find_layout("conv-emotion-features", "iemocap", "conv-emotion-gcn")
    parts = content(layout)
    parts["visual"][B] = [np.ones(5)] * 2
    write(layout, data_folder, parts)
    with pytest.raises(DataError, match="visual features are 5 wide, not 7"):
        join(layout)


@pytest.mark.parametrize("content_, message", [(b"\x80\x02(", "no readable pickle or is cut short"), (b"version https://git-lfs.github.com/spec/v1", "is a pointer of git-lfs")])
def test_a_damaged_file(content_, message, data_folder):
    layout = find_layout("mmgcn-features", "meld")
    write(layout, data_folder).write_bytes(content_)
    with pytest.raises(DataError, match=message):
        join(layout)


def test_a_file_that_is_not_the_pinned_one(data_folder, monkeypatch):
    layout = find_layout("mmgcn-features", "meld")
    write(layout, data_folder)
    monkeypatch.setattr("erc_lib.data.sources.PinnedFile.hash_of", lambda self, file: "git blob 0")
    with pytest.raises(DataError, match="has the git blob 0, but git blob 55873a.* is pinned.*erc data fetch mmgcn-features"):
        join(layout)


def test_what_only_one_side_has_can_be_dropped_and_filled(data_folder):
    layout = find_layout("mmgcn-features", "meld")
    parts = content(layout)
    for name in ("ids", "speakers", "labels", "text", "audio", "visual"):
        parts[name][1154] = [*parts[name][1154], {"ids": 7, "labels": 0}.get(name, parts[name][1154][0])]  # one utterance more
        parts[name][0] = list(parts[name][0])[:2]  # one less: our utt3
        parts[name][60] = parts[name][61]  # and a dialogue that MELD lacks
    parts[SPLITS[0]].append(60)
    write(layout, data_folder, parts)
    with pytest.raises(DataError, match="only the file has dialogue train/dia60"):
        join(layout)
    text = join(layout, utterances="fill")[0]
    assert [text.card[k] for k in ("filled_utterances", "dropped_utterances", "dropped_dialogues")] == [1, 1, 1]
    at = dict(zip(text.ids, text.array[:, 0].tolist(), strict=True))
    assert len(at) == 10 and at["train/dia0_utt3"] == pytest.approx(np.mean([0, 10, 100, 110])) and at["test/dia1_utt2"] == 320
    assert "1 that the file lacks" in text.card["empty"]


def test_a_file_that_lacks_too_much_is_not_filled(data_folder):
    layout = find_layout("mmgcn-features", "meld")
    parts = content(layout)
    parts[SPLITS[0]].remove(61)
    write(layout, data_folder, parts)
    with pytest.raises(DataError, match="lacks 2 of our 10 utterances of meld, too many to fill"):
        join(layout, utterances="fill")
    assert FeatureStore().list() == []


def test_filling_never_joins_what_is_numbered_anew(data_folder):
    layout = find_layout("mmgcn-features", "meld")
    parts = content(layout)
    parts["ids"] = {k: list(range(len(v))) for k, v in parts["ids"].items()}
    write(layout, data_folder, parts)
    with pytest.raises(DataError, match="number the utterances differently in dialogue train/dia0, train/dia61 \\(2 in all\\)"):
        join(layout, utterances="fill")
    text = join(layout, numbering="positions")[0]
    assert text.card["numbering"] == "positions" and text.array[:3, 0].tolist() == [0, 10, 20]
    parts["ids"][0] = [0, 1, 3]  # MELD's own numbers are no positions
    write(layout, data_folder, parts)
    with pytest.raises(DataError, match="number the utterances differently in dialogue train/dia0 .*its numbers are no positions"):
        join(layout, numbering="positions")
    for name in ("ids", "speakers", "labels", "text", "audio", "visual"):
        parts[name][0] = parts[name][0][:2]
    write(layout, data_folder, parts)
    with pytest.raises(DataError, match="other numbers of utterances in dialogue train/dia0 \\(2 there, 3 here\\)"):
        join(layout, numbering="positions")


def test_other_speakers_can_be_passed_over_and_are_counted(data_folder):
    layout = find_layout("mmgcn-features", "meld")
    parts = content(layout)
    parts["speakers"][0] = hot(0, 1, 2)
    write(layout, data_folder, parts)
    assert join(layout, check_speakers=False)[0].card["other_speakers"] == 1


def test_the_order_in_the_file_plays_no_part(data_folder):
    layout = find_layout("mmgcn-features", "meld")
    write(layout, data_folder)
    straight = join(layout)[0]
    parts = content(layout)
    for name in ("ids", "speakers", "labels", "text", "audio", "visual"):
        parts[name] = {k: v[::-1] for k, v in reversed(parts[name].items())}
    parts[SPLITS[0]] = parts[SPLITS[0]][::-1]
    write(layout, data_folder, parts)
    turned = join(layout)[0]
    assert turned.ids == straight.ids and (turned.array == straight.array).all() and turned.card_hash == straight.card_hash


def test_numbers_of_utterances():
    assert [utterance_number(x) for x in (3, "3", "12_3", "dia12_utt3", "utt", "")] == [3, 3, 3, 3, None, None]


def test_merged_numbers_of_dialogues():
    file = published.PublishedFile(find_layout("mmgcn-features", "meld"), Path("x.pkl"), {})
    names = [published.our_dialogue(file, k) for k in (0, 1038, 1039, "1152", np.int64(1153), 1432)]
    assert names == ["train/dia0", "train/dia1038", "dev/dia0", "dev/dia113", "test/dia0", "test/dia279"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mmgcn-feature", "meld"), "did you mean 'mmgcn-features'"), (("mosi", "meld"), "holds no published features"),
        (("mmgcn-features", "mosi"), "has no features of corpus 'mosi'"), (("conv-emotion-features", "avec"), "--corpus avec-dialogues"),
        (("mmgcn-features", "meld", "mmgnc"), "did you mean 'mmgcn'"),
    ],
)  # fmt: skip
def test_names_that_are_none(arguments, message):
    with pytest.raises(ConfigError, match=message):
        find_layout(*arguments)
    with pytest.raises(ConfigError, match="utterances is one of exact, fill"):
        store_published("mmgcn-features", "meld", utterances="drop")


def test_tuples_are_as_documented():
    assert TEN[:7] == ("ids", "speakers", "labels", "text", "audio", "visual", "sentences") and len(TEN) == 10
    assert [len(x.fields) for x in LAYOUTS] == [10, 9, 10, 9, 9, 9, 9]
    assert find_layout("conv-emotion-features", "meld").fields[-1] == "sentiments"
    assert {p.git_blob for x in LAYOUTS for p in x.pinned().values()} <= {f.git_blob for n in ("multiemo-features", "mmgcn-features", "conv-emotion-features") for f in find_source(n).files}


def test_the_command(data_folder, monkeypatch, capsys):
    command = ["features", "published", "--source", "mmgcn-features", "--corpus", "meld"]
    monkeypatch.setattr("erc_lib.features.published.load_corpus", ours)
    assert main(command) == 2
    error = capsys.readouterr().err
    assert "is not there; fetch it first: `erc data fetch mmgcn-features`" in error and error.count("\n") == 1
    write(find_layout("mmgcn-features", "meld"), data_folder)
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "meld text mmgcn: 10 x 600" in out and "meld visual mmgcn: 10 x 342" in out and "filled utterances: 0" in out
    assert main(["features", "list"]) == 0 and "mmgcn" in capsys.readouterr().out
