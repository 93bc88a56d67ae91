"""`erc features ...`: options and what they call."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from erc_lib.errors import ConfigError

if TYPE_CHECKING:  # importing it takes a second, and most commands need none of it
    from erc_lib.data import Corpus

VISUAL = {  # --visual -> backbone of the faces; None: whole clips
    "visextnet": "vggface2", "visextnet-resnet101": "resnet101", "densenet342": "densenet342", "densenet121": "densenet121", "r3d_18": None,
}  # fmt: skip


def features_options(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|text|published|extract|reduce")
    listing = actions.add_parser("list", help="the stored feature sets")
    listing.set_defaults(call=features_list)
    text = actions.add_parser("text", help="encode a corpus' transcripts")
    text.add_argument("--corpus", required=True, help="name of the corpus")
    text.add_argument("--encoder", default="all-MiniLM-L6-v2", help="text encoder")
    text.add_argument(
        "--paradigm", default="utterance", choices=("utterance", "one-stage", "two-stage", "cnn"),
        help="utterance: as published; one-stage, two-stage: fine-tuned on the corpus (MultiEMO 3.3.1); cnn: a text CNN trained on it (DIMMN 3.1.1)",
    )  # fmt: skip
    text.add_argument("--vectors", type=Path, help="of --paradigm cnn: a file of word vectors in GloVe's text format; default: learned")
    text.add_argument("--seed", type=int, default=0, help="of the training")
    text.add_argument("--epochs", type=int, default=argparse.SUPPRESS, help="of the training")
    text.add_argument("--name", help="name in the feature store; default: encoder, or paradigm, encoder and seed")
    text.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="NAME=VALUE",
        help="a setting of the training, or corpus_options.NAME; may be given several times",
    )  # fmt: skip
    for action in (listing, text, *_from_files(actions)):
        action.add_argument("--store", type=Path, default=None, help="feature store; default: below ERC_DATA")
    text.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    text.set_defaults(call=features_text)


def features_list(options: argparse.Namespace) -> int:
    from erc_lib.features.store import FeatureStore, card_hash

    store = FeatureStore(options.store)
    for c in store.list():
        print(f"{c['corpus']:18} {c['modality']:7} {c['name']:40} {c['count']:6} x {c['dims']:<5} {card_hash(c)}")
    print(f"in {store.root}", file=sys.stderr)
    return 0


def features_text(options: argparse.Namespace) -> int:
    from erc_lib.data import load_corpus
    from erc_lib.features.store import FeatureStore
    from erc_lib.runs.study import parse_settings

    settings = parse_settings(options.settings)
    corpus = load_corpus(options.corpus, **settings.pop("corpus_options", {}))
    shared = {"store": FeatureStore(options.store), "name": options.name, "device": options.device}
    if options.vectors is not None and options.paradigm != "cnn":
        raise ConfigError("--vectors gives a text CNN its words; give --paradigm cnn with it")
    if options.paradigm == "utterance":
        if settings or "epochs" in options:
            setting = next(iter(settings), "epochs")
            raise ConfigError(f"{setting} is a setting of the training; give --paradigm one-stage, two-stage or cnn with it")
        from erc_lib.features.text import encode_corpus

        stored = encode_corpus(corpus, options.encoder, **shared)
    else:
        settings |= {"seed": options.seed} | ({"epochs": options.epochs} if "epochs" in options else {})
        if options.paradigm == "cnn":
            from erc_lib.features.text_cnn import text_cnn_corpus

            stored = text_cnn_corpus(corpus, vectors=options.vectors, **shared, **settings)
        else:
            from erc_lib.features.finetune import finetune_corpus

            stored = finetune_corpus(corpus, encoder=options.encoder, paradigm=options.paradigm, **shared, **settings)
    print(f"{stored.card['name']}: {stored.array.shape[0]} x {stored.array.shape[1]}, card {stored.card_hash}")
    return 0


def _from_files(actions: argparse._SubParsersAction) -> tuple[argparse.ArgumentParser, ...]:
    """The commands that read published files and clips."""
    published = actions.add_parser("published", help="join a fetched file of published features to a corpus")
    published.add_argument("--source", required=True, help="mmgcn-features, multiemo-features or conv-emotion-features; `erc data fetch` it first")
    published.add_argument("--corpus", required=True, help="meld or iemocap")
    published.add_argument("--name", help="which of the source's features; default: the first")
    published.add_argument("--utterances", default="exact", choices=("exact", "fill"), help="fill: drop what only the file has, give the mean to what it lacks")
    published.add_argument("--numbering", default="ids", choices=("ids", "positions"), help="positions: the file counts a MELD dialogue's utterances anew")
    published.add_argument("--ignore-speakers", action="store_true", help="join although the file names other speakers")
    published.set_defaults(call=published_command)
    extract = actions.add_parser("extract", help="features of sound and pictures from clips")
    extract.add_argument("--corpus", required=True, help="name of the corpus")
    extract.add_argument("--media", type=Path, required=True, help="folder of the clips, or a table (.csv: utterance, file, start, end)")
    extract.add_argument("--audio", metavar="SET", help="openSMILE's set: ComParE_2016, IS10, emobase, eGeMAPSv02")
    extract.add_argument("--visual", choices=tuple(VISUAL), help="visextnet: MultiEMO's; densenet342: the width of MMGCN's; r3d_18: whole clips")
    extract.add_argument("--weights", default="download", metavar="FILE", help="of --visual: download (default), a file of weights, or none for random ones")
    extract.add_argument("--faces", default="average", choices=("average", "largest", "concatenate"), help="what becomes of several faces in a frame")
    extract.add_argument("--frames", type=int, default=20, help="of which faces are sought")
    extract.add_argument("--alignment", default="original", choices=("original", "fair"), help="fair: MELD's clips cut again by MELD-FAIR")
    extract.add_argument("--workers", type=int, default=1, help="processes, one thread each; 0: none but this")
    extract.set_defaults(call=extract_command)
    reduce = actions.add_parser("reduce", help="stored features made narrower by a step fitted on the training split")
    reduce.add_argument("--corpus", required=True, help="name of the corpus")
    reduce.add_argument("--modality", required=True, choices=("text", "audio", "visual"))
    reduce.add_argument("--name", required=True, help="of the stored features")
    reduce.add_argument("--dims", type=int, required=True, help="how many numbers are left")
    reduce.set_defaults(call=reduce_command)
    for action in (extract, reduce):
        action.add_argument("--set", dest="settings", action="append", default=[], metavar="NAME=VALUE", help="corpus_options.NAME; may be given several times")
    return published, extract, reduce


def extract_command(options: argparse.Namespace) -> int:
    from erc_lib.data.sources import raw_root
    from erc_lib.features.audio import AudioExtractor
    from erc_lib.features.clips import clips_of
    from erc_lib.features.extract import extract_features
    from erc_lib.features.store import FeatureStore
    from erc_lib.features.visual import ClipExtractor, FaceExtractor

    if options.visual == "r3d_18" and (options.frames, options.faces) != (20, "average"):
        raise ConfigError("--frames and --faces are of faces; r3d_18 looks at 16 whole frames: drop them")
    extractors = [AudioExtractor(options.audio)] if options.audio else []
    if options.visual == "r3d_18":
        extractors.append(ClipExtractor(options.weights))
    elif options.visual:
        extractors.append(FaceExtractor(VISUAL[options.visual], options.weights, frames=options.frames, faces=options.faces))
    corpus = _corpus(options)
    clips = clips_of(corpus, options.media, alignment=options.alignment, fair=raw_root() / "meld-fair")
    print(extract_features(corpus, clips, extractors, store=FeatureStore(options.store), workers=options.workers, alignment=options.alignment))
    return 0


def _corpus(options: argparse.Namespace) -> Corpus:
    from erc_lib.data import load_corpus
    from erc_lib.runs.study import parse_settings

    settings = parse_settings(options.settings)
    if stray := [k for k in settings if k != "corpus_options"]:
        raise ConfigError(f"--set {stray[0]}: only corpus_options.NAME can be set here")
    return load_corpus(options.corpus, **settings.get("corpus_options", {}))


def reduce_command(options: argparse.Namespace) -> int:
    from erc_lib.features.reduce import reduce_features
    from erc_lib.features.store import FeatureStore

    stored = reduce_features(_corpus(options), options.modality, options.name, options.dims, store=FeatureStore(options.store))
    print(f"{stored.card['name']}: {stored.array.shape[0]} x {stored.array.shape[1]}, {100 * stored.card['explained_variance']:.1f} % of the variance, card {stored.card_hash}")
    return 0


def published_command(options: argparse.Namespace) -> int:
    from erc_lib.features.published import store_published
    from erc_lib.features.store import FeatureStore

    given = {"name": options.name, "utterances": options.utterances, "numbering": options.numbering}
    written = store_published(
        options.source, options.corpus, store=FeatureStore(options.store), check_speakers=not options.ignore_speakers, **given
    )
    for stored in written:
        c = stored.card
        print(f"{c['corpus']} {c['modality']} {c['name']}: {c['count']} x {c['dims']}, card {stored.card_hash}")
    counted = ("filled_utterances", "dropped_utterances", "dropped_dialogues", "other_speakers")
    print(", ".join(f"{key.replace('_', ' ')}: {written[0].card[key]}" for key in counted))
    return 0
