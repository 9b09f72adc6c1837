"""GGUF files: conversion, header, quantisation, cuts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from metier.core import Failure, Mistake
from metier.core.gguf_header import Header, Tensor, gguf_header, gguf_metadata
from metier.core.llamacpp import Llama, Sampling
from metier.core.pretokenizers import PRETOKENIZERS, pretokenizer_name
from metier.deploy.convert import hf_to_gguf
from metier.deploy.quantise import F16, F32, MIXTURES, Q4_K, Q5_0, Q6_K, Q8_0, fitting_type, quantise, wanted_type


def test_the_header_is_what_the_gguf_library_reads(tiny_gguf: Path) -> None:
    from gguf import GGUFReader

    reader, header = GGUFReader(tiny_gguf), gguf_header(tiny_gguf)
    for key, value in header.metadata.items():
        assert value == reader.fields[key].contents(), key
    assert [t.name for t in header.tensors] == [t.name for t in reader.tensors]
    assert [t.offset for t in header.tensors] == [t.data_offset for t in reader.tensors]


def test_licence_template_and_end_token_are_in_the_file(tiny_gguf: Path, tiny_model_folder: Path) -> None:
    metadata = gguf_metadata(tiny_gguf)
    assert metadata["general.license"] == "apache-2.0"
    assert metadata["tokenizer.chat_template"] == (tiny_model_folder / "chat_template.jinja").read_text()
    assert metadata["tokenizer.ggml.eos_token_id"] == 2


def test_a_tokenizer_unknown_to_the_converter_is_named_by_how_it_cuts(tiny_gguf: Path) -> None:
    assert gguf_metadata(tiny_gguf)["tokenizer.ggml.pre"] == "smollm"


def test_a_cut_is_recognised_whatever_its_offsets() -> None:
    for name, cut in PRETOKENIZERS.items():
        assert (
            pretokenizer_name(json.loads(json.dumps(cut).replace('"trim_offsets": true', '"trim_offsets": false')))
            == name
        )
    assert pretokenizer_name({"type": "Whitespace"}) is None


def test_an_architecture_that_llama_cpp_lacks_is_a_failure(tiny_model_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["NoSuchModel"]}))
    with pytest.raises(Failure, match="NoSuchModel"):
        hf_to_gguf(folder, tmp_path / "out.gguf", {}, threads=1)
    assert not list(tmp_path.glob("*gguf*"))


def test_quantising_keeps_every_metadata_but_the_file_type(tiny_gguf: Path, tmp_path: Path) -> None:
    made = quantise(tiny_gguf, tmp_path / "small.gguf", "Q8_0")
    before, after = gguf_metadata(tiny_gguf), gguf_metadata(tmp_path / "small.gguf")
    assert {key for key in before if before[key] != after[key]} == {"general.file_type"}
    assert after["general.file_type"] == 7
    assert made.file_bytes < tiny_gguf.stat().st_size
    # 2 layers of 7 matrices and the embedding; 5 norms stay as they are
    assert made.types == {"Q8_0": 15, "F32": 5}
    assert made.fallbacks == {}


def test_q8_0_moves_a_weight_by_at_most_half_a_step_of_its_block(tiny_gguf: Path, tmp_path: Path) -> None:
    import numpy as np
    from gguf import GGMLQuantizationType, GGUFReader
    from gguf.quants import dequantize

    quantise(tiny_gguf, tmp_path / "small.gguf", "Q8_0")
    whole, small = GGUFReader(tiny_gguf).tensors[0], GGUFReader(tmp_path / "small.gguf").tensors[0]
    weights = np.asarray(whole.data, np.float32).reshape(-1, 32)
    rounded = dequantize(small.data, GGMLQuantizationType.Q8_0).reshape(-1, 32)
    step = np.abs(weights).max(axis=1, keepdims=True) / 127
    # the scale itself is kept in 16 bits: 127 steps of a scale that is off by 2**-11
    assert (np.abs(weights - rounded) <= (0.5 + 127 / 2**11) * step).all()


def test_rows_that_do_not_fit_a_k_quants_blocks_fall_back_and_are_told(tiny_gguf: Path, tmp_path: Path) -> None:
    made = quantise(tiny_gguf, tmp_path / "small.gguf", "Q4_K_M")
    assert set(made.fallbacks.values()) == {"Q5_0", "Q8_0"}
    with Llama(tmp_path / "small.gguf", threads=1, context_tokens=64) as llama:
        assert llama.tokenize("a")


def test_a_file_that_is_already_quantised_is_refused(tiny_gguf: Path, tmp_path: Path) -> None:
    quantise(tiny_gguf, tmp_path / "q8.gguf", "Q8_0")
    with pytest.raises(Failure, match="not a 16-bit file"):
        quantise(tmp_path / "q8.gguf", tmp_path / "q4.gguf", "Q4_0")


def header(*tensors: Tensor, layers: int = 30) -> Header:
    return Header({"general.architecture": "llama", "llama.block_count": layers}, {}, 0, list(tensors))


def test_the_mixture_spends_bits_where_llama_cpp_does() -> None:
    def tensor(name: str, *shape: int) -> Tensor:
        return Tensor(name, shape or (256, 256), F16, 0)

    mixture = MIXTURES["Q4_K_M"]
    tied = header(tensor("token_embd.weight"))
    assert wanted_type(tensor("token_embd.weight"), tied, mixture) == Q6_K
    untied = header(tensor("token_embd.weight"), tensor("output.weight"))
    assert wanted_type(tensor("token_embd.weight"), untied, mixture) == Q4_K
    assert wanted_type(tensor("output.weight"), untied, mixture) == Q6_K
    # 30 layers: the first 3, then 5, 8, ... 23, and all from 26: 14 of 30, as llama.cpp's own file of this model has
    finer = [n for n in range(30) if wanted_type(tensor(f"blk.{n}.ffn_down.weight"), tied, mixture) == Q6_K]
    assert finer == [0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 26, 27, 28, 29]
    assert wanted_type(Tensor("blk.0.attn_norm.weight", (256,), F32, 0), tied, mixture) == F32
    assert wanted_type(tensor("blk.0.ffn_gate_inp.weight"), tied, mixture) == F16


def test_a_type_that_fits_is_taken() -> None:
    assert fitting_type(Tensor("a", (512, 2), F16, 0), Q4_K) == Q4_K
    assert fitting_type(Tensor("a", (576, 2), F16, 0), Q4_K) == Q5_0
    assert fitting_type(Tensor("a", (576, 2), F16, 0), Q6_K) == Q8_0
    assert fitting_type(Tensor("a", (100, 2), F16, 0), Q6_K) == F16


def test_a_damaged_header_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF\x03\x00\x00\x00" + b"\xff" * 64)
    with pytest.raises(Mistake, match="not a whole GGUF file"):
        gguf_metadata(tmp_path / "a.gguf")
    (tmp_path / "b.gguf").write_bytes(b"GGUF\x01\x00\x00\x00" + bytes(16))
    with pytest.raises(Mistake, match="version 1"):
        gguf_metadata(tmp_path / "b.gguf")


def test_sampling_is_greedy_unless_the_model_says_otherwise(tmp_path: Path) -> None:
    assert Sampling.of_model(tmp_path) == Sampling(0.0, 1.0, 0, 0.0)
    path = tmp_path / "generation_config.json"
    path.write_text('{"temperature": 0.6, "top_p": 0.9}')
    assert Sampling.of_model(tmp_path) == Sampling()
    path.write_text('{"do_sample": true, "temperature": 0.6, "top_p": 0.9}')
    assert Sampling.of_model(tmp_path) == Sampling(0.6, 0.9, 50, 0.0)
    path.write_text('{"do_sample": false, "repetition_penalty": 1.1, "max_new_tokens": 200, "top_k": 5}')
    assert Sampling.of_model(tmp_path) == Sampling(repetition_penalty=1.1, max_tokens=200)
