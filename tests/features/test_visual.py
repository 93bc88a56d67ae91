"""Faces in a real photograph, made into a film: found, cut out, embedded, averaged."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from erc_lib.errors import ConfigError, DataError
from erc_lib.features.backbones import BACKBONES, load_backbone, prepared, weights_hash
from erc_lib.features.media import Piece, pictures
from erc_lib.features.visual import ClipExtractor, FaceExtractor
from tests.features.film import film, grey, portrait, tone


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("visual")


@pytest.fixture(scope="module")
def clip(folder):
    """A face for six frames, then none for six."""
    face = portrait()
    return film(folder / "face.mp4", [face] * 6 + [np.zeros_like(face)] * 6, tone(0.5))


@pytest.fixture(scope="module")
def extractor():
    return FaceExtractor("densenet342", "none", frames=4)


def test_mtcnn_finds_the_face_in_the_photograph(extractor):
    face = portrait()
    boxes = extractor.find_faces(face)
    assert boxes.shape[1] == 4 and len(boxes) >= 1
    left, top, right, bottom = boxes[0]
    assert 0 <= left < right <= face.shape[1] and 0 <= top < bottom <= face.shape[0] and 0.1 < (right - left) / face.shape[1] < 0.6
    flipped = extractor.find_faces(np.ascontiguousarray(face[:, ::-1]))[0]  # the face is where the mirror puts it
    assert flipped[0] == pytest.approx(face.shape[1] - right, abs=15) and flipped[2] == pytest.approx(face.shape[1] - left, abs=15)
    assert extractor.find_faces(np.zeros((120, 160, 3), np.uint8)).shape == (0, 4)


def test_boxes_are_in_the_pixels_of_the_large_picture(extractor):
    face = portrait()
    large = np.kron(face, np.ones((3, 3, 1), np.uint8))
    assert np.allclose(extractor.find_faces(large)[0] / 3, extractor.find_faces(face)[0], atol=20)


def test_visextnet_by_hand(clip, extractor):
    """Four frames, two with a face: the mean of two vectors, each of the face cut out with its margin."""
    vector, remark = extractor([Piece(clip)])
    assert vector.shape == (342,) and remark == "" and np.isfinite(vector).all()
    network, kind = load_backbone("densenet342", "none")[0], BACKBONES["densenet342"]
    by_hand = []
    for _, picture in pictures([Piece(clip)], 4):
        per_face = []
        for left, top, right, bottom in extractor.find_faces(picture):
            margin = 0.1 * max(right - left, bottom - top)
            l, t = int(max(0, left - margin)), int(max(0, top - margin))
            r, b = int(min(picture.shape[1], np.ceil(right + margin))), int(min(picture.shape[0], np.ceil(bottom + margin)))
            cut = torch.from_numpy(picture[t:b, l:r].copy()).permute(2, 0, 1)[None]
            with torch.no_grad():
                per_face.append(network(prepared(cut, kind))[0].numpy())
        if per_face:
            by_hand.append(np.mean(per_face, axis=0))
    assert len(by_hand) == 2 and np.allclose(vector, np.mean(by_hand, axis=0), atol=1e-5)
    assert np.array_equal(vector, extractor([Piece(clip)])[0]), "the same twice"


def test_several_faces_averaged_largest_or_side_by_side(folder):
    face = portrait()
    half = face[::2, ::2]
    small = np.zeros_like(face)
    small[: half.shape[0], : half.shape[1]] = half
    clip = film(folder / "two.mp4", [np.concatenate([face, small], axis=1)] * 3)
    average, largest, joined = (FaceExtractor("densenet342", "none", frames=1, faces=f, most_faces=3, longest_side=None) for f in ("average", "largest", "concatenate"))
    found = average.find_faces(pictures([Piece(clip)], 1)[0][1])
    if len(found) != 2:
        pytest.skip(f"MTCNN sees {len(found)} faces in this photograph and its smaller copy")
    a, b, c = (e([Piece(clip)])[0] for e in (average, largest, joined))
    assert c.shape == (3 * 342,) and joined.dims == 1026
    first, second, third = c.reshape(3, 342)
    assert np.allclose(first, b, atol=1e-6) and not third.any() and np.allclose((first + second) / 2, a, atol=1e-5)


def test_no_face_is_zeros_and_says_so(folder, extractor):
    vector, remark = extractor([Piece(film(folder / "grey.mp4", [grey(90, 128)] * 5))])
    assert vector.shape == (342,) and not vector.any() and remark == "no face"


def test_the_speaker_s_box_is_taken_instead_of_seeking(clip, extractor):
    boxes = {i: (10.0, 20.0, 200.0, 220.0) for i in range(12)}
    with_boxes, remark = extractor([Piece(clip)], boxes, 25.0)
    assert remark == "" and not np.allclose(with_boxes, extractor([Piece(clip)])[0])
    assert extractor([Piece(clip)], {}, 25.0)[1] == "no face", "where the speaker is not seen nobody else is taken"
    picture = pictures([Piece(clip)], 4)[0][1]
    only_first = {round(pictures([Piece(clip)], 4)[0][0] * 25 - 0.5): (10.0, 20.0, 200.0, 220.0)}
    assert np.allclose(extractor([Piece(clip)], only_first, 25.0)[0], extractor._of_frame(picture, np.array([[10.0, 20.0, 200.0, 220.0]])), atol=1e-6)
    with pytest.raises(ConfigError, match="frame_rate"):
        extractor([Piece(clip)], boxes)


def test_whole_clips_by_r3d_18(clip, folder):
    extractor = ClipExtractor("none")
    vector, _ = extractor([Piece(clip)])
    assert vector.shape == (512,) and np.isfinite(vector).all() and np.array_equal(vector, ClipExtractor("none")([Piece(clip)])[0])
    backwards = film(folder / "backwards.mp4", [np.zeros_like(portrait())] * 6 + [portrait()] * 6)
    assert not np.allclose(vector, extractor([Piece(backwards)])[0], atol=1e-3), "a 3D-CNN sees the order of frames"
    assert extractor([Piece(film(folder / "one.mp4", [grey(3, 128)]))])[0].shape == (512,)


@pytest.mark.parametrize("name", BACKBONES)
def test_backbones_have_their_widths_and_random_weights_are_always_the_same(name):
    network, card = load_backbone(name, "none")
    kind = BACKBONES[name]
    x = torch.zeros(1, 3, 4, kind.side, kind.side) if name == "r3d_18" else torch.zeros(1, 3, kind.side, kind.side)
    with torch.no_grad():
        assert network(x).shape == (1, kind.dims)
    assert "not a trained network" in card["weights"] and card["weights_sha256"] == weights_hash(load_backbone(name, "none")[0])
    assert not any(p.requires_grad for p in network.parameters()) and not network.training


def test_weights_from_a_file(tmp_path):
    network, _ = load_backbone("densenet342", "none")
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.01)
    torch.save({"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()} | {"module.classifier.weight": torch.zeros(8, 342)}}, tmp_path / "w.pt")
    loaded, card = load_backbone("densenet342", tmp_path / "w.pt")
    assert card["weights_sha256"] == weights_hash(network) and card["weights"] == "w.pt"
    with pytest.raises(DataError, match="does not fit densenet121: [0-9]+ of [0-9]+ tensors are missing"):
        load_backbone("densenet121", tmp_path / "w.pt")
    (tmp_path / "bad.pt").write_text("no weights")
    with pytest.raises(DataError, match="no weights can be read"):
        load_backbone("densenet342", tmp_path / "bad.pt")
    with pytest.raises(DataError, match="no weights can be read"):
        load_backbone("densenet342", tmp_path / "nowhere.pt")


def test_loading_leaves_the_random_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    load_backbone("densenet342", "none")
    assert torch.equal(torch.rand(1), expected)


def test_names_tell_random_weights(extractor):
    assert extractor.name == "faces-densenet342-4frames-random" and ClipExtractor("none").name == "r3d_18-random"
    assert FaceExtractor("vggface2", "x.pt", faces="concatenate").name == "visextnet-vggface2-concatenate4-x" and FaceExtractor().name == "visextnet-vggface2"
    card = extractor.card()
    assert card["weights"].startswith("none") and len(card["detector_sha256"]) == 64 and "facenet-pytorch" in card["version"]


@pytest.mark.parametrize(("make", "words"), [
    (lambda: FaceExtractor("vggface"), "no face backbone 'vggface'"),
    (lambda: FaceExtractor("r3d_18"), "no face backbone 'r3d_18'"),
    (lambda: FaceExtractor(faces="all"), "faces is 'all'"),
    (lambda: FaceExtractor(frames=0), "frames must be at least 1"),
    (lambda: load_backbone("densenet342", "download"), "no weights to download"),
])  # fmt: skip
def test_bad_settings(make, words):
    with pytest.raises(ConfigError, match=words):
        make()
