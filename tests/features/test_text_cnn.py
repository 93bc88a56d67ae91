"""The text CNN of DIMMN 3.1.1: the network against loops, its words, what the store gets."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from erc_lib.data.conversation import Corpus, Dialogue
from erc_lib.errors import ConfigError, DataError
from erc_lib.features.store import FeatureStore, attach
from erc_lib.features.text_cnn import PADDING, TextCNN, TextCNNConfig, read_vectors, text_cnn_corpus, tokens

QUICK = {"epochs": 15, "maps": 6, "features": 10, "word_dim": 8, "learning_rate": 1e-2, "batch_size": 16, "progress": False}


def network(filters=(2, 3), seed=0) -> TextCNN:
    torch.manual_seed(seed)
    vectors = torch.randn(9, 5)
    vectors[PADDING] = 0
    return TextCNN(vectors, TextCNNConfig(filters=filters, maps=4, features=6), 3).eval()


def by_hand(net: TextCNN, sentence: list[int]) -> torch.Tensor:
    """Every place at which an utterance has a word, one by one, zeros after its end."""
    x = [net.words.weight[w] for w in sentence] or [net.words.weight[PADDING]]
    pooled = []
    for convolution in net.filters:
        size = convolution.weight.shape[-1]
        places = []
        for start in range(len(x)):
            window = [x[start + k] if start + k < len(x) else torch.zeros(5) for k in range(size)]
            places.append(torch.stack([(convolution.weight[m].T * torch.stack(window)).sum() + convolution.bias[m] for m in range(4)]))
        pooled.append(torch.relu(torch.stack(places).amax(dim=0)))
    return torch.relu(net.fc(torch.cat(pooled)))


def test_the_network_word_by_word_whatever_its_company():
    net = network()
    sentences = [[3], [4, 5, 6, 7, 8], [], [2, 3, 1]]
    together = net(sentences)[0]
    for row, sentence in zip(together, sentences, strict=True):
        assert torch.allclose(row, by_hand(net, sentence), atol=1e-5)
        assert torch.allclose(row, net([sentence])[0][0], atol=1e-5)
    assert torch.allclose(net(sentences)[1], net.classifier(together))


def test_words():
    assert tokens("Oh, DON'T you?", 5) == ["oh", ",", "don", "'", "t"] and tokens("") == []


def test_features_of_every_utterance_learn_the_cue(corpus, tmp_path):
    store = FeatureStore(tmp_path)
    stored = text_cnn_corpus(corpus, store=store, **QUICK)
    assert stored.array.shape == (sum(len(d) for s in ("train", "validation", "test") for d in corpus.split(s)), 10)
    assert (stored.array >= 0).all(), "the last step is a ReLU"
    card = stored.card
    assert card["name"] == "text-cnn/learned/seed0" and card["vectors_sha256"] is None and card["test_weighted_f1"] > 0.9
    history = card["stages"][0]["history"]
    scores = [h["validation_weighted_f1"] for h in history]
    assert card["stages"][0]["best_epoch"] == 1 + int(np.argmax(scores)) and card["validation_weighted_f1"] == max(scores)
    assert card["validation_dialogues"] == [d.id for d in corpus.validation]
    joined = attach(corpus, "text", stored)
    assert joined.dims == {"text": 10}
    # What is stored are the features of the best epoch: a linear classifier on them knows the cues.
    x = torch.cat([d.features["text"] for d in joined.train]).numpy()
    y = torch.cat([d.labels for d in joined.train]).numpy()
    weights = np.linalg.lstsq(np.c_[x, np.ones(len(x))], np.eye(3)[y], rcond=None)[0]
    assert f1_score(y, (np.c_[x, np.ones(len(x))] @ weights).argmax(1), average="weighted") > 0.9


def test_the_same_seed_gives_the_same_and_what_is_there_is_returned(corpus, tmp_path):
    one, other = FeatureStore(tmp_path / "a"), FeatureStore(tmp_path / "b")
    first = text_cnn_corpus(corpus, store=one, **QUICK)
    assert np.array_equal(first.array, text_cnn_corpus(corpus, store=other, **QUICK).array)
    again = text_cnn_corpus(corpus, store=one, **QUICK)
    assert again.card == first.card
    with pytest.raises(ConfigError, match="made with other settings"):
        text_cnn_corpus(corpus, store=one, **{**QUICK, "epochs": 1})
    assert not np.array_equal(first.array, text_cnn_corpus(corpus, store=one, seed=1, **QUICK).array)


def test_given_vectors_are_where_words_begin(corpus, tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text("happy " + " ".join(["0.5"] * 8) + "\nunheard " + " ".join(["1"] * 8) + "\nsad " + " ".join(["-1"] * 8) + "\n", "utf-8")
    with path.open("a", encoding="utf-8") as file:  # GloVe's 840B file has such "words"
        file.write("oh name@domain " + " ".join(["3"] * 8) + "\n")
    found = read_vectors(path, {"happy", "sad", "oh"}, 8)
    assert sorted(found) == ["happy", "sad"] and found["happy"].tolist() == [0.5] * 8
    stored = text_cnn_corpus(corpus, vectors=path, store=FeatureStore(tmp_path), **QUICK)
    assert stored.card["name"] == "text-cnn/glove/seed0" and stored.card["words_with_given_vectors"] == 2

    # Two words with one vector cannot be told apart before anything is learned; two with vectors of their own can.
    def apart(lines: str, name: str) -> float:
        (tmp_path / name).write_text(lines, "utf-8")
        still = {**QUICK, "epochs": 1, "learning_rate": 1e-12, "weight_decay": 0.0}
        x = text_cnn_corpus(replaced, vectors=tmp_path / name, store=FeatureStore(tmp_path / name.split(".")[0]), **still)
        rows = dict(zip(x.ids, x.array, strict=True))
        return float(np.abs(rows["one/0"] - rows["one/1"]).max())

    pair = Dialogue("one", torch.tensor([0, 1]), torch.tensor([0, 1]), {}, ("oh happy 3", "oh sad 3"))
    replaced = Corpus("simulated-tiny", [pair, *corpus.train], corpus.validation, corpus.test, corpus.label_names)
    ones, twos = " ".join(["1"] * 8), " ".join(["-2"] * 8)
    assert apart(f"happy {ones}\nsad {ones}\n", "same.txt") < 1e-6 < apart(f"happy {ones}\nsad {twos}\n", "other.txt")


def test_rare_words_are_unknown(corpus, tmp_path):
    count = Counter(w for d in corpus.train for text in d.texts for w in tokens(text))
    for least in (1, 5):
        stored = text_cnn_corpus(corpus, store=FeatureStore(tmp_path / str(least)), **{**QUICK, "epochs": 1, "min_count": least})
        assert stored.card["vocabulary"] == sum(n >= least for n in count.values()) > 0


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read as word vectors"), ("happy 1 2 3\n", "line 1: 'happy' is not followed by 8 numbers"), ("happy a b\n", "line 1"), ("unheard 1\n", "no word of this corpus")],
)
def test_a_bad_file_of_vectors(tmp_path, content, words):
    path = tmp_path / "vectors.txt"
    if content is not None:
        path.write_text(content, "utf-8")
    with pytest.raises(DataError, match=words):
        read_vectors(path, {"happy"}, 8)


def test_bad_input(corpus, tmp_path):
    store = FeatureStore(tmp_path)
    with pytest.raises(ConfigError, match="setting epochs"):
        text_cnn_corpus(corpus, store=store, epochs=0)
    with pytest.raises(ConfigError, match="setting mps"):
        text_cnn_corpus(corpus, store=store, mps=3)
    with pytest.raises(ConfigError, match="setting filters"):
        text_cnn_corpus(corpus, store=store, filters=(0, 3))
    with pytest.raises(DataError, match="no validation dialogues"):
        text_cnn_corpus(Corpus("x", corpus.train, [], corpus.test, corpus.label_names), store=store)
    assert not store.list()
