"""Corpora by name, and names and options that are none."""

from __future__ import annotations

import pytest

from erc_lib.data import load_corpus
from erc_lib.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mled", "no corpus is named 'mled'; did you mean 'meld'"),
        ("zzz", "'zzz'. There are: meld, iemocap, mosi, avec, avec-dialogues, simulated-meld, simulated-iemocap, simulated-avec, folder"),
    ],
)
def test_an_unknown_name(name, message):
    with pytest.raises(ConfigError) as caught:
        load_corpus(name)
    assert message in str(caught.value)


def test_an_unknown_option():
    with pytest.raises(ConfigError, match="'mosi' has no option 'sed'; did you mean 'seed'"):
        load_corpus("mosi", sed=1)
    with pytest.raises(ConfigError, match="'meld' has no options, so 'seed' means nothing"):
        load_corpus("meld", seed=1)
    with pytest.raises(ConfigError, match="'simulated-meld' cannot be simulated"):
        load_corpus("simulated-meld", tarin=3)


@pytest.mark.parametrize("preset", ["meld", "iemocap"])
def test_simulated_corpora_are_what_the_simulation_gives(preset):
    from erc_lib.data.sampling import simulate
    from erc_lib.data.simulation import SimulationConfig

    options = {"train": 4, "validation": 2, "test": 3, "seed": 5}
    found = load_corpus(f"simulated-{preset}", **options)
    wanted = simulate(getattr(SimulationConfig, preset)(**options))
    assert (len(found.train), len(found.validation), len(found.test)) == (4, 2, 3)
    assert [d.labels.tolist() for d in found.train] == [d.labels.tolist() for d in wanted.train]
    assert found.name == f"simulated-{preset}"
