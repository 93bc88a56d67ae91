"""Many runs: killed workers, failing runs, and the order of what comes back."""

from __future__ import annotations

import dask
import pytest

from erc_lib.errors import ConfigError
from erc_lib.runs import RunsFailed, run_many


def test_in_this_process(store, make, tmp_path):
    lines = []
    good, bad = make(seed=1), make(model={"fails": "no such luck"})
    with pytest.raises(RunsFailed, match="no such luck") as error:
        run_many([bad, good, good], store, workers=0, report=lines.append)
    assert [f.spec for f in error.value.failures] == [bad] and "Traceback" in error.value.failures[0].trace
    assert [r.spec for r in error.value.finished] == [good, good]
    assert len(lines) == 2 and "FAILED" in lines[0] and "FAILED" not in lines[1]
    assert [r.spec.seed for r in run_many([good], store, workers=0, report=lines.append)] == [1] and len(lines) == 2


def test_mistakes_are_found_before_anything_starts(store, make):
    with pytest.raises(ConfigError, match="did you mean 'width'"):
        run_many([make(), make(model={"widht": 1})], store, workers=0)
    with pytest.raises(ConfigError, match="workers"):
        run_many([make()], store, workers=-1)
    assert not store.root.exists()


def test_no_scheduler_there(store, make, monkeypatch):
    from dask.distributed import Client

    def refuse(*arguments, **named):
        raise OSError("timed out")

    monkeypatch.setattr(Client, "__init__", refuse)
    monkeypatch.setattr(Client, "__del__", lambda self: None, raising=False)
    with pytest.raises(ConfigError, match="tcp://nowhere:1.*dask scheduler"):
        run_many([make()], store, scheduler="tcp://nowhere:1")


def test_killed_workers_and_failing_runs(store, make, tiny, tmp_path):
    """A run that kills its worker once is done again and goes on; one that does so twice is reported; the others finish."""

    def killer(name: str, kills: int):
        return make(name=name, model={"log": str(tmp_path / name), "kills": kills, "kill_at": 5})

    once, twice, broken = killer("once", 1), killer("twice", 9), make(name="broken", model={"fails": "no such luck"})
    fine = [make(seed=s, name="fine") for s in range(2)]
    lines = []
    with dask.config.set({"distributed.worker.preload": [str(tiny)]}), pytest.raises(RunsFailed) as error:
        run_many([once, twice, broken, *fine], store, workers=2, report=lines.append)
    reasons = {f.spec.name: f.reason for f in error.value.failures}
    assert set(reasons) == {"twice", "broken"}
    assert "killed 2 times" in reasons["twice"] and "no such luck" in reasons["broken"]
    assert [(r.spec.name, r.spec.seed) for r in error.value.finished] == [("once", 0), ("fine", 0), ("fine", 1)]
    assert (tmp_path / "once").read_text().count("k") == 1
    assert (tmp_path / "twice").read_text().count("k") == 2  # and not a third time
    assert all(store.has(s) for s in [once, *fine]) and not store.has(twice) and not store.has(broken)
    assert len(lines) == 5 and sum("FAILED" in line for line in lines) == 2
    assert not list(store.partial.glob("*.attempts"))
    assert store.find(name="fine")[0].environment["threads"] == 1
