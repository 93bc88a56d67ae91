"""Sound into vectors: openSMILE's functionals, one vector per utterance."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import opensmile

from erc_lib.errors import ConfigError, DataError
from erc_lib.features.media import SOUND_RATE, Piece, sound

# name -> (openSMILE's set, width, who uses it)
SETS = {
    "ComParE_2016": ("ComParE_2016", 6373, "MultiEMO 3.3.2"),
    "IS10": ("IS10", 1582, "MMGCN's IEMOCAP file, DF-ERC 3.1"),
    "emobase": ("emobase", 988, "the smallest of openSMILE's own emotion sets"),
    "eGeMAPSv02": ("eGeMAPSv02", 88, "the AVEC features among this project's sources"),
}
SHORTEST = 0.1  # s; what is shorter is padded with silence, for openSMILE then answers NaN
EMPTY = "zeros, for an utterance without sound"


class AudioExtractor:
    """Functionals of one utterance's sound, 16 kHz mono, over its whole length.

    Args:
        name: a name of :data:`SETS`.

    Raises:
        ConfigError: no such set.
    """

    modality = "audio"

    def __init__(self, name: str = "ComParE_2016") -> None:
        if name not in SETS:
            raise ConfigError(f"no set of audio features {name!r}; there are {', '.join(SETS)}")
        self.name = name
        self.feature_set, self.dims, self.used_by = SETS[name]

    @cached_property
    def _smile(self) -> opensmile.Smile:
        return opensmile.Smile(feature_set=opensmile.FeatureSet[self.feature_set], feature_level=opensmile.FeatureLevel.Functionals)

    def __call__(self, pieces: Sequence[Piece]) -> tuple[np.ndarray, str]:
        """float32 (D,) and a remark: ``"no sound"`` where the vector is zeros for want of any.

        Raises:
            DataError: a file cannot be decoded, or openSMILE gives something that is not finite.
        """
        return self.of_signal(sound(pieces), where=str(pieces[0].path))

    def of_signal(self, signal: np.ndarray, *, where: str = "signal") -> tuple[np.ndarray, str]:
        """As :meth:`__call__`, of float32 (N,) at 16 kHz."""
        if not len(signal):
            return np.zeros(self.dims, np.float32), "no sound"
        padded = np.pad(signal, (0, max(0, round(SHORTEST * SOUND_RATE) - len(signal))))
        vector = self._smile.process_signal(padded, SOUND_RATE).to_numpy(np.float32)[0]
        if vector.shape != (self.dims,) or not np.isfinite(vector).all():
            raise DataError(f"{where}: openSMILE's {self.name} gave {vector.shape} with {int((~np.isfinite(vector)).sum())} values that are not finite")
        return vector, ""

    def card(self) -> dict[str, Any]:
        """For :meth:`erc_lib.features.store.FeatureStore.save`."""
        return {
            "extractor": f"openSMILE {self.feature_set}, functionals", "version": f"opensmile {opensmile.__version__}", "units": "openSMILE's own, not scaled", "empty": EMPTY,
            "sampling": f"{SOUND_RATE} Hz, mono, the whole utterance; at least {SHORTEST} s", "used_by": self.used_by, "recipe": {"audio": self.name},
        }  # fmt: skip
