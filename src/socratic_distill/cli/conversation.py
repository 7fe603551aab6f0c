"""Talk to the tutor of a run: the person at the keyboard is the student."""

import asyncio
import os
from collections.abc import Callable
from typing import Unpack

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.grant import Allowed
from socratic_distill.config.named_models import with_known_names
from socratic_distill.dialogues.casting import tutor_renderer
from socratic_distill.dialogues.dialogue import Message, Turn
from socratic_distill.dialogues.prompts import load_prompts
from socratic_distill.dialogues.randomness import stable_seed
from socratic_distill.dialogues.seed import asked_seed
from socratic_distill.dialogues.seeds import seeds_of
from socratic_distill.dialogues.speaker import Speaker
from socratic_distill.run.checkpoints import newest_sampler
from socratic_distill.run.directory import config_of
from socratic_distill.service.connect import connect, open_sampling_client
from socratic_distill.service.failures import failure
from socratic_distill.service.interface import ServiceClient
from socratic_distill.text import show, shown


def chat(
    log_path: str | os.PathLike[str],
    question: str | None = None,
    *,
    service_client: ServiceClient | None = None,
    read: Callable[[str], str] = input,
    write: Callable[[str], None] = show,
    **allowed: Unpack[Allowed],
) -> None:
    """Talks with the tutor of a run's newest sampler weights until the person sends an empty line.

    Args:
        log_path: directory of the run.
        question: the problem; None takes the run's first seed.
        service_client: as for `train`; None opens the run's own service.
        read: asks the person for a line.
        write: shows lines, whose control characters are escaped already.
        **allowed: `base_url`, `allow_files` and `allow_code`, as for `load_config`.

    Raises:
        ConfigError: there is no run in log_path, or the question holds no text.
        UntrustedConfig: the run's config asks for a server, files or code that were not allowed.
        CheckpointNotFound: the run has no sampler weights.
        ServiceError: the service failed to open them, as when they have expired, or failed a reply.
    """
    config = with_known_names(config_of(log_path, **allowed))
    sampler_path, _ = newest_sampler(log_path)
    seed = seeds_of(config)[0] if question is None else asked_seed(question)
    prompt = load_prompts(config).for_tutor(seed)
    service = asyncio.run(connect(config, service_client, None)).client
    write(shown(f"Problem: {seed.problem}\nYou are the student; an empty line ends the talk."))
    speaker = asyncio.run(_open_tutor(service, config, sampler_path))
    talk = [Message("system", prompt)]
    turn = 0
    while line := _ask(read):
        talk.append(Message("user", line))
        sample_seed = stable_seed(config.seed, "chat", turn)
        (reply,) = asyncio.run(_speak(speaker, speaker.renderer.prompt(talk), sample_seed))
        talk.append(Message("assistant", tokens=reply.history))
        write(shown(f"tutor> {reply.text}"))
        turn += 1


async def _open_tutor(service: ServiceClient, config: SocraticConfig, sampler_path: str) -> Speaker:
    client = await open_sampling_client(service, f"the sampler weights {sampler_path}", model_path=sampler_path)
    return Speaker("tutor", client, await tutor_renderer(config, client), config.max_tokens, config.temperature)


async def _speak(speaker: Speaker, prompt: tuple[int, ...], seed: int) -> list[Turn]:
    try:
        return await speaker.speak(prompt, seed)
    except Exception as error:
        raise failure("the tutor's reply", error) from error


def _ask(read: Callable[[str], str]) -> str:
    try:
        return read("you> ").strip()
    except EOFError:
        return ""
