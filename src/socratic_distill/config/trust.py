"""Checks the requests of a config that was read from a file against its `Grant`."""

import os
from collections.abc import Iterator
from typing import Literal

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.grant import Files
from socratic_distill.config.known_servers import known_servers, origin
from socratic_distill.config.objectives import CustomObjective
from socratic_distill.config.paths import GivenPath, resolved
from socratic_distill.config.rewards import judge_rewards
from socratic_distill.config.seed_sources import listed_files
from socratic_distill.errors import UntrustedConfig

# Functions of the user that a config names, by what they are for.
Code = Literal["seeds and recordings", "answers", "endings", "rewards", "losses"]


def check_server(config: SocraticConfig) -> None:
    """Returns if requests, which carry the key, may go to a config's server.

    Raises:
        UntrustedConfig: the config was read from a file, and the user named no such server.
    """
    grant, url = config.grant, config.base_url
    if grant is None or url is None or url == "local":
        return
    from tinker.lib.base_url import DEFAULT_BASE_URL

    own = (DEFAULT_BASE_URL, os.environ.get("TINKER_BASE_URL"), grant.base_url)
    named = {origin(server) for server in own if server} | known_servers()
    if (wanted := origin(url)) is None or wanted not in named:
        raise UntrustedConfig(
            f"{grant.source} names the server {url!r}. A run directory is data: no request and no key go to a server "
            f"that you did not name. If you trust it, give --base-url {wanted or 'URL'} (in Python base_url=…)"
        )


def check_endpoint(config: SocraticConfig, url: str) -> None:
    """Returns if requests, with its key, may go to an endpoint that a config names.

    Raises:
        UntrustedConfig: the config was read from a file, and the user named no such server.
    """
    grant = config.grant
    if grant is None:
        return
    named = {origin(server) for server in (*grant.servers, grant.base_url) if server} | known_servers()
    if (wanted := origin(url)) is None or wanted not in named:
        raise UntrustedConfig(
            f"{grant.source} names the endpoint {url!r}. A run directory is data: no request and no key go to a server "
            f"that you did not name. If you trust it, give --allow-server {wanted or 'URL'} (in Python allow_servers=…)"
        )


def check_files(config: SocraticConfig, *parts: Files) -> None:
    """Returns if the files that a config names may be read.

    Args:
        config: the config.
        *parts: kinds of files to check.

    Raises:
        UntrustedConfig: the config was read from a file, and names a file outside its run directory.
    """
    if config.grant is not None:
        for part in parts:
            for field, path in _named_files(config, part):
                config.grant.check_file(field, path)


def runs_remote_code(config: SocraticConfig) -> bool:
    """Whether the local engine may run code that its models' files contain."""
    return config.trust_remote_code and (config.grant is None or config.grant.allow_code)


def check_remote_code(config: SocraticConfig) -> None:
    """Returns if code in the models' files may run, or the config does not ask for it.

    Raises:
        UntrustedConfig: the config was read from a file and asks for code, which is not allowed.
    """
    if config.grant is not None and config.base_url == "local" and config.trust_remote_code:
        config.grant.check_code("code among its models' files (trust_remote_code=True)")


def check_code(config: SocraticConfig, part: Code) -> None:
    """Returns if the functions of a part of a config may be imported.

    Args:
        config: the config.
        part: which functions.

    Raises:
        UntrustedConfig: the config was read from a file, and code is not allowed.
    """
    functions = [function for function in _functions(config, part) if function is not None]
    if config.grant is not None and functions:
        config.grant.check_code(f"the functions of {part} {', '.join(map(repr, functions))}")


def _functions(config: SocraticConfig, part: Code) -> list[str | None]:
    match part:
        case "seeds and recordings":
            recorded = config.recordings.map if config.recordings else None
            return [*(file.map for _, file in listed_files(config)), recorded]
        case "answers":
            return [config.answer_function]
        case "endings":
            return [ending.function for ending in config.endings if ending.kind == "function"]
        case "rewards":
            return [reward.function for reward in config.rewards if reward.kind == "function"]
        case "losses":
            return [objective.function for objective in custom_objectives(config)]


def custom_objectives(config: SocraticConfig) -> list[CustomObjective]:
    """The objectives that call a function of the user, for played and for recorded dialogues."""
    recorded = config.recordings.objective.custom if config.recordings else ()
    return [*config.objective.custom, *recorded]


def _named_files(config: SocraticConfig, part: Files) -> Iterator[tuple[str, str]]:
    for field, path in _paths(config, part):
        if path is not None:
            yield field, path


def _paths(config: SocraticConfig, part: Files) -> Iterator[tuple[str, str | None]]:
    """The fields that name a file, with the file."""
    match part:
        case "prompts":
            yield "tutor_prompt_file", config.tutor_prompt_file
            yield "student_prompt_file", config.student_prompt_file
            yield "teacher_prompt_file", config.teacher_prompt_file
            yield "tutor_chat_template_file", config.tutor_chat_template_file
            yield "student_chat_template_file", config.student_chat_template_file
            yield "teacher_chat_template_file", config.teacher_chat_template_file
            for number, teacher in enumerate(config.teachers):
                yield f"teachers[{number}].prompt_file", teacher.prompt_file
            for number, student in enumerate(config.students):
                yield f"students[{number}].prompt_file", student.prompt_file
                yield f"students[{number}].profile_file", student.profile_file
        case "judge":
            yield "judge.prompt_file", config.judge.prompt_file if config.judge else None
        case "answer_judge":
            yield "answer_judge.prompt_file", config.answer_judge.prompt_file if config.answer_judge else None
        case "rewards":
            for number, judge in judge_rewards(config.rewards):
                yield f"rewards[{number}].prompt_file", judge.prompt_file
                yield f"rewards[{number}].rubric_file", judge.rubric_file
        case "seeds":
            for field, file in listed_files(config):
                yield field, file.path
        case "recordings":
            for number, path in enumerate(config.recordings.files if config.recordings else ()):
                yield f"recordings.files[{number}]", path
        case "load_checkpoint_path":
            path = config.load_checkpoint_path
            if path is not None and not path.startswith("tinker://"):
                absolute = resolved(path)  # `<run directory>#<name>`, or a directory with a "#" in its name
                journal = absolute.rpartition("#")[0]
                if journal and not os.path.lexists(absolute):
                    yield part, GivenPath(path.rpartition("#")[0], journal)
                else:
                    yield part, GivenPath(path, absolute)
        case "log_path":
            yield part, config.log_path
