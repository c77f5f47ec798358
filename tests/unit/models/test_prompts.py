"""Prompts are begun as the model was trained to read a text, and their tokens are the model's own."""

import io
import time

import pytest
import yaml
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, PreTrainedTokenizerFast

from experiment_jobs import measured
from inferbench.experiments.batching.measure import unequal_prompts
from inferbench.experiments.grid import measure as cell
from inferbench.experiments.kv_cache import measure as kv_cache
from inferbench.experiments.kv_cache.settings import Cache
from inferbench.experiments.kv_cache.settings import Settings as KvCache
from inferbench.experiments.quality import measure as quality
from inferbench.experiments.quality.settings import Settings as Quality
from inferbench.measure.stages import Stages
from inferbench.models.load import load_tokenizer
from inferbench.models.prompts import make_batch
from inferbench.models.requests import request_ids
from inferbench.settings.job import Fault, Lengths, MeasureConfig, ModelConfig, Source
from inferbench.settings.outcomes import Unsupported
from inferbench.settings.repository import in_repository
from tiny_models import CPU, benchmark_config, tiny_llama

PROMPTS = "config/prompts.yaml"
TEXTS = yaml.safe_load(in_repository(PROMPTS).read_text())
BOS, EOS = 1, 2


def characters(template="<s> $A </s>"):
    """A tokenizer with a token per character, whose texts have this form."""
    signs = sorted(set("".join(TEXTS)) | set(in_repository("config/quality.txt").read_text()) | {"\n"})
    vocabulary = {sign: number for number, sign in enumerate(["<unk>", "<s>", "</s>", *signs])}
    made = Tokenizer(WordLevel(vocabulary, "<unk>"))
    made.pre_tokenizer = Split(Regex(r"[\s\S]"), "isolated")
    made.add_special_tokens(["<s>", "</s>"])
    made.post_processor = TemplateProcessing(single=template, special_tokens=[("<s>", BOS), ("</s>", EOS)])
    return made


def wrapped(template="<s> $A </s>"):
    return PreTrainedTokenizerFast(tokenizer_object=characters(template))


def said(ids, tokenizer):
    return "".join(tokenizer.convert_ids_to_tokens(ids))


def is_joined(text):
    """Whether the text is shipped prompts with an empty line between them, the last one cut off."""
    *whole, cut = text.split("\n\n")
    return all(part in TEXTS for part in whole) and any(one.startswith(cut) for one in TEXTS)


@pytest.mark.parametrize("template", ["<s> $A", "<s> $A </s>"])
def test_joined_prompts_have_one_bos_at_the_start_and_no_eos(template):
    tokenizer = wrapped(template)
    workload = benchmark_config().workload
    workload.prompt_tokens, workload.lengths = 400, Lengths.unequal
    batch = make_batch(workload, 3, 0, tokenizer, tiny_llama())
    for row, length in zip(batch.input_ids.tolist(), batch.lengths):
        ids = row[-length:]
        assert (ids[0], ids.count(BOS), ids.count(EOS)) == (BOS, 1, 0)
        text = said(ids[1:], tokenizer)
        assert len(text) == length - 1 and "\n\n" in text and is_joined(text)


def test_a_tokenizer_that_adds_nothing_begins_with_the_text():
    workload = benchmark_config().workload
    workload.prompt_tokens = 300
    [ids] = make_batch(workload, 1, 0, wrapped("$A"), tiny_llama()).input_ids.tolist()
    assert len(ids) == 300 and is_joined(said(ids, wrapped()))


def test_whole_prompts_and_requests_are_begun_and_not_ended():
    tokenizer = wrapped()
    for ids in (
        *unequal_prompts(PROMPTS, 2, 0, tokenizer, tiny_llama()),
        request_ids("What is it?", tokenizer),
    ):
        assert (ids[0], ids.count(BOS), ids.count(EOS)) == (BOS, 1, 0)
    assert said(request_ids("What is it?", tokenizer)[1:], tokenizer) == "What is it?"


def test_windows_begin_with_the_bos_and_do_not_end():
    settings = Quality(text="config/quality.txt", windows=3, window_tokens=20)
    text = in_repository("config/quality.txt").read_text()
    for window in quality.text_windows(settings, wrapped()):
        ids = window.tolist()
        assert (len(ids), ids[0], ids.count(BOS), ids.count(EOS)) == (20, BOS, 1, 0)
        assert said(ids[1:], wrapped()) in text


def test_contexts_of_every_length_begin_with_the_bos(tmp_path, monkeypatch):
    begun = []
    prefill = kv_cache.LoopDecoder.prefill

    def noted(self, batch):
        begun.append((batch.input_ids.shape[1], batch.input_ids[0, 0].item()))
        return prefill(self, batch)

    monkeypatch.setattr(kv_cache.LoopDecoder, "prefill", noted)
    settings = KvCache(prompts=PROMPTS, cache=Cache.dynamic, lengths=[8, 12], steps=1)
    wrapped().save_pretrained(tmp_path)
    measured(kv_cache, settings, tmp_path)
    assert set(begun) == {(8, BOS), (12, BOS)}


# --- which tokenizer


def checkpoint(folder, config=None):
    """A model's folder without a tokenizer, and how it is configured."""
    (tiny_llama() if config is None else AutoModelForCausalLM.from_config(config)).save_pretrained(folder)
    return ModelConfig(name="own", source=Source.checkpoint, path=str(folder))


@pytest.mark.parametrize("config", [None, GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=512)])
def test_tokenizer_json_alone_is_a_tokenizer(tmp_path, config):
    model = checkpoint(tmp_path, config)
    characters().save(str(tmp_path / "tokenizer.json"))
    found = load_tokenizer(model)
    assert found("What?").input_ids == characters().encode("What?").ids
    assert len(found) == characters().get_vocab_size()


@pytest.fixture
def quick(monkeypatch):
    """Ceilings take seconds to measure."""
    monkeypatch.setattr(cell, "measure_ceilings", lambda device: {})


def record_of(model, **changes):
    config = benchmark_config(measure=MeasureConfig(min_iterations=1, max_iterations=1, min_seconds=0))
    config.model = model
    record = {}
    cell.measure(config, CPU, Stages(io.StringIO(), time.time()), record)
    return record


def test_what_the_prompts_were_is_in_the_record(tmp_path, quick):
    model = checkpoint(tmp_path)
    assert record_of(model)["random_prompts"] is True
    characters().save(str(tmp_path / "tokenizer.json"))
    assert record_of(model)["random_prompts"] is False


def test_a_tokenizer_that_cannot_be_read_is_named(tmp_path):
    model = checkpoint(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(Fault) as caught:
        load_tokenizer(model)
    path = tmp_path / "tokenizer.json"
    assert str(caught.value).startswith(f"the tokenizer of model own ({path}) cannot be read: ")


def test_a_text_has_no_quality_without_a_tokenizer(tmp_path):
    settings = Quality(reference=benchmark_config().precision)
    config = benchmark_config(model=checkpoint(tmp_path), experiment=settings)
    with pytest.raises(Unsupported, match="own has no tokenizer"):
        quality.measure(config, CPU, None, {})


def test_random_ids_are_of_the_vocabulary_and_have_no_role():
    config = LlamaConfig(
        num_hidden_layers=1, hidden_size=16, num_attention_heads=2, num_key_value_heads=1, intermediate_size=32,
        vocab_size=9, bos_token_id=1, eos_token_id=[2, 3], pad_token_id=0,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    model.generation_config.decoder_start_token_id = 8
    workload = benchmark_config().workload
    workload.prompt_tokens = 64
    assert set(make_batch(workload, 2, 0, None, model).input_ids.flatten().tolist()) == {4, 5, 6, 7}
    assert set(sum(unequal_prompts(PROMPTS, 8, 0, None, model), [])) == {4, 5, 6, 7}


def test_a_tokenizer_larger_than_the_vocabulary_is_refused_in_a_sentence(tmp_path, quick):
    small = tiny_llama()
    small.resize_token_embeddings(20)  # of its own ids the tokenizer uses some sixty
    small.save_pretrained(tmp_path)
    characters().save(str(tmp_path / "tokenizer.json"))
    model = ModelConfig(name="own", source=Source.checkpoint, path=str(tmp_path))
    with pytest.raises(
        Fault,
        match=rf"the tokenizer in {tmp_path} gives token \d+, and the model there knows 20: .* put its own",
    ):
        record_of(model)


def test_tokens_that_no_text_uses_may_lie_beyond_the_vocabulary():
    """As Gemma 3's token for images does."""
    tokenizer = wrapped()
    tokenizer.add_tokens([f"<unused{number}>" for number in range(600)])
    workload = benchmark_config().workload
    assert len(tokenizer) > 512
    assert make_batch(workload, 2, 0, tokenizer, tiny_llama()).input_ids.max() < 512
