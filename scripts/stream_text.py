"""Stream a model's answer to a terminal, as it comes:

    python scripts/stream_text.py model=smollm2-135m prompt="Why is the sky blue?"

Greedy, in the model's chat format where it has one, until it ends its answer or `new_tokens` are there.
The text goes to standard output, its time to first token and its speed to standard error. Every key of
config/hydra/stream_text.yaml can be set.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import MISSING, DictConfig

from inferbench.models.checkpoint import require_checkpoint
from inferbench.run.compose import resolve
from inferbench.run.worker import environment
from inferbench.settings.job import ConfigError, Fault, RunConfig, at_least


@dataclass
class StreamConfig(RunConfig):
    """What to say to which model, and the most tokens of its answer."""

    prompt: str = MISSING
    new_tokens: int = MISSING
    output: str = ""  # no file is written

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("new_tokens", self.new_tokens, 1)
        if not self.prompt:
            raise ConfigError("prompt is empty: give the model something to answer.")


ConfigStore.instance().store(name="stream_schema", node=StreamConfig)


@hydra.main(version_base="1.3", config_path="../config/hydra", config_name="stream_text")
def main(config: DictConfig) -> None:
    try:
        resolved = resolve(config)
        require_checkpoint(resolved.model)
        # Before torch is imported, which reads most of it once.
        os.environ.update(environment(resolved))
        stream(resolved)
    except (ConfigError, Fault) as error:
        sys.exit(str(error))


def stream(config: StreamConfig) -> None:
    """Write the answer to standard output, piece by piece, and then its speed to standard error."""
    import torch

    from inferbench.device.device import pick_device, set_up
    from inferbench.engines.streaming import TextPieces, TokenStream, new_tokens, stream_tokens
    from inferbench.measure.fastest_decoder import fastest_decoder
    from inferbench.measure.reasons import unsupported_reason
    from inferbench.models.facts import load_config
    from inferbench.models.load import load_model, load_tokenizer
    from inferbench.models.prompts import PromptBatch, require_known
    from inferbench.models.requests import end_tokens, request_ids
    from inferbench.settings.outcomes import Unsupported

    tokenizer = load_tokenizer(config.model)
    if tokenizer is None:
        sys.exit(
            f"model {config.model.name} has no tokenizer, so it has no text to stream; choose another model."
        )
    try:
        device = pick_device(config)
        if reason := unsupported_reason(config, device):
            raise Unsupported(reason)
        load_config(config)
        set_up(config)
        model = load_model(config, device)
    except Unsupported as error:
        sys.exit(str(error))
    request = request_ids(config.prompt, tokenizer)
    require_known([request], model)
    batch = PromptBatch(torch.tensor([request], device=device), None)
    decoder = fastest_decoder(config, model, batch, config.new_tokens)
    answer = new_tokens(decoder, batch, config.new_tokens, end_tokens(model, tokenizer))

    pieces, seconds = TextPieces(tokenizer), [time.perf_counter()]
    with ThreadPoolExecutor(1) as decoding, closing(TokenStream()) as tokens:
        ended = decoding.submit(stream_tokens, tokens, answer)
        for token in tokens:
            print(pieces.add(token), end="", flush=True)
            seconds.append(time.perf_counter())
        print(pieces.end())
        ended.result()
    print(speed(seconds), file=sys.stderr)


def speed(seconds: list[float]) -> str:
    """Of the time of the request and of each token: time to first token, and tokens/s after it."""
    start, first, *_, last = (*seconds, seconds[-1])
    count = len(seconds) - 1
    later = f", then {(count - 1) / (last - first):.1f} tokens/s" if count > 1 else ""
    return f"TTFT {1000 * (first - start):.0f} ms{later} ({count} token{'s' if count > 1 else ''})"


def literal_prompt(arguments: list[str]) -> list[str]:
    """The arguments with the prompt quoted for Hydra, which else takes commas and quotes for grammar."""
    quoted = []
    for argument in arguments:
        key, _, text = argument.partition("=")
        if key == "prompt":
            text = QuotedString(text.replace("${", "\\${"), Quote.single).with_quotes()
        quoted.append(f"prompt={text}" if key == "prompt" else argument)
    return quoted


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as `| head` expects of a filter
    sys.argv[1:] = literal_prompt(sys.argv[1:])
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
