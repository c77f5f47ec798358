"""Small real models for tests, made in memory."""

import torch
from hydra import compose, initialize_config_dir
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from inferbench.engines.by_name import engine_module
from inferbench.engines.captured_decoder import CompileOptions
from inferbench.engines.sequences import GrowingSequence, StaticSequence
from inferbench.engines.speculative import ModelDraft, NoDraft, PromptLookup, SpeculativeDecoder
from inferbench.models.prompts import pad_left
from inferbench.run.compose import register, resolve
from inferbench.settings.job import (
    AttentionConfig,
    BenchmarkConfig,
    Dtype,
    ExecutionConfig,
    MeasureConfig,
    ModelConfig,
    PrecisionConfig,
    Source,
    WorkloadConfig,
)
from inferbench.settings.repository import HYDRA_DIR
from inferbench.settings.strategy import Strategy

CPU = torch.device("cpu")


def tiny_llama(attention="sdpa", dtype=torch.float32, device=CPU, head_dim=32):
    """Two layers, grouped-query attention, seeded weights large enough that logits differ clearly."""
    torch.manual_seed(0)
    config = LlamaConfig(
        num_hidden_layers=2,
        hidden_size=128,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=head_dim,
        intermediate_size=256,
        vocab_size=512,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        initializer_range=0.1,
    )
    model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention)
    model.generation_config.pad_token_id = 0
    return model.to(device).eval()


def unequal_batch(device=CPU):
    """Three prompts of 7, 4 and 5 tokens."""
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randint(1, 512, (length,), generator=generator).tolist() for length in (7, 4, 5)]
    return pad_left(rows, padding=0, device=device)


def attention_config(name: str) -> AttentionConfig:
    """What config/hydra/attention/<name>.yaml says."""
    register()
    with initialize_config_dir(str(HYDRA_DIR), version_base="1.3"):
        return resolve(compose("benchmark", [f"attention={name}", "output=none"])).attention


def benchmark_config(mode="loop", attention="sdpa", dtype=Dtype.float32, **changes):
    config = BenchmarkConfig(
        model=ModelConfig(name="tiny", source=Source.synthetic, path="models/tiny"),
        precision=PrecisionConfig(name=dtype.value, dtype=dtype, library="plain"),
        attention=attention_config(attention),
        execution=execution(mode),
        workload=WorkloadConfig(name="tiny", prompt_tokens=7, new_tokens=6, prompts="config/prompts.yaml"),
        measure=MeasureConfig(),
    )
    for key, value in changes.items():
        setattr(config, key, value)
    return config


#: A backend that compiles fast and to the same numbers.
COMPILE = CompileOptions("aot_eager")


def execution(name):
    """What config/hydra/execution/<name>.yaml says, but for the compiler."""
    if name == "compiled":
        return ExecutionConfig(name, "captured", {"compile_backend": COMPILE.compile_backend})
    return ExecutionConfig(name, "captured" if name == "cuda_graph" else name)


def engine_with(name, model, batch, new_tokens=6):
    """The engine of an execution with this model, ready for runs of this shape."""
    engine = engine_module(execution(name)).Engine(benchmark_config(name), model.device)
    engine.model = model
    engine.prepare(batch, new_tokens)
    return engine


def generated(model, batch, new_tokens):
    """The timeline of `generate()`."""
    return engine_with("generate", model, batch).run(batch, new_tokens)


def perturbed(model, size):
    """A draft: the same model with seeded noise on its weights."""
    draws = torch.Generator().manual_seed(5)
    for parameter in model.parameters():
        parameter.data += size * torch.randn(parameter.shape, generator=draws).to(parameter)
    return model


def word_tokenizer(*words):
    vocabulary = {word: index for index, word in enumerate(words)}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel(vocabulary, words[0])))


def growing(model):
    return GrowingSequence(model)


def static(model):
    """Room for 100 tokens."""
    return StaticSequence(model, 100)


def speculation(kind, model, draft, length=4, strategy=None, seed=0):
    """A decoder of sequences of this kind; greedy by default. draft: a model, or the name of one that is
    none."""
    strategy = strategy or Strategy(do_sample=False)
    draws = torch.Generator(model.device).manual_seed(seed)
    vocabulary = model.config.vocab_size
    if draft == "prompt_lookup":
        proposing = PromptLookup(length, vocabulary, model.device)
    elif draft is None:
        proposing = NoDraft(vocabulary, model.device)
    else:
        proposing = ModelDraft(kind(draft), length, vocabulary, strategy, draws)
    return SpeculativeDecoder(kind(model), proposing, strategy, draws)


#: New tokens of `naive_tokens`.
NEW = 6


def naive_tokens(model, row):
    """The definition: the whole sequence through the model for every token, no cache, no padding."""
    ids = torch.tensor([row])
    for _ in range(NEW):
        with torch.inference_mode():
            ids = torch.cat([ids, model(ids).logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    return ids[0, len(row) :].tolist()


def rows_of(batch):
    mask = torch.ones_like(batch.input_ids) if batch.attention_mask is None else batch.attention_mask
    return [ids[keep.bool()].tolist() for ids, keep in zip(batch.input_ids, mask)]
