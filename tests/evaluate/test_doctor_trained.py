"""The doctor on models that were trained for real: each planted fault is found, and none on a healthy model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metier.core import Workshop
from tests.evaluate.doctor_models import FAULTS, diagnosed, workshop_in

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """One workshop for all: their common origin is trained once."""
    return workshop_in(tmp_path_factory.mktemp("doctor"))


def faults(diagnosis: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {fault["fault"]: fault for fault in diagnosis["faults"] if fault["found"]}


def test_a_healthy_model_has_no_fault(workshop: Workshop) -> None:
    diagnosis = diagnosed(workshop, None, seed=0)
    assert diagnosis["healthy"], faults(diagnosis)
    assert all(fault["checked"] for fault in diagnosis["faults"])


@pytest.mark.parametrize("planted", FAULTS)
def test_a_planted_fault_is_found_with_evidence_and_a_remedy(workshop: Workshop, planted: str) -> None:
    found = faults(diagnosed(workshop, planted, seed=0))
    assert planted in found
    assert found[planted]["evidence"] and found[planted]["remedy"]


def test_the_page_is_beside_the_diagnosis(workshop: Workshop) -> None:
    diagnosed(workshop, "contamination", seed=0)
    pages = [path.read_text() for path in Path(workshop.folder).glob("doctor-*/diagnosis.md")]
    assert any("| Exam questions in the training data | **found** |" in page for page in pages)
