from __future__ import annotations

import pytest

from metier.core import Host, Mistake


@pytest.mark.parametrize(
    ("said", "cluster"), [(None, None), ("", None), ("ray", "auto"), ("ray://head:10001", "ray://head:10001")]
)
def test_the_cluster_is_what_the_environment_names(
    monkeypatch: pytest.MonkeyPatch, said: str | None, cluster: str | None
) -> None:
    monkeypatch.delenv("METIER_CLUSTER", raising=False)
    if said is not None:
        monkeypatch.setenv("METIER_CLUSTER", said)
    assert Host.here().cluster == cluster


def test_the_environment_lowers_the_number_of_threads_and_never_raises_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METIER_THREADS", "1")
    assert Host.here().threads == 1
    monkeypatch.setenv("METIER_THREADS", "100000")
    here = Host.here()
    assert here.threads == here.cores
    monkeypatch.setenv("METIER_THREADS", "two")
    with pytest.raises(Mistake, match="METIER_THREADS is not a positive number"):
        Host.here()
