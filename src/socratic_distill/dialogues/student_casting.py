"""Opens the simulated students of a run."""

from collections.abc import Awaitable, Callable

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.reasoning import TemplateChoice
from socratic_distill.config.students import Student
from socratic_distill.dialogues.prompts import Prompts
from socratic_distill.dialogues.remote_speaker import RemoteSpeaker
from socratic_distill.dialogues.rendering import Renderer
from socratic_distill.dialogues.speaker import Speaker
from socratic_distill.dialogues.students import SimulatedStudent, Students, own_profile, own_prompts
from socratic_distill.service.connect import Service, open_sampling_client
from socratic_distill.service.endpoints import open_endpoint
from socratic_distill.service.interface import SamplingClient

MakeRenderer = Callable[[SamplingClient, str, TemplateChoice], Awaitable[Renderer]]


async def open_students(config: SocraticConfig, prompts: Prompts, service: Service, renderer: MakeRenderer) -> Students:
    """Opens every student's model.

    Args:
        config: names models in full.
        prompts: the run's.
        service: runs the models that are on no other endpoint.
        renderer: makes the renderer of a model from its client, its name and the choice of its template.

    Raises:
        ConfigError: a profile, a prompt, a tokenizer or a key cannot be read.
        UntrustedConfig: the config was read from a file, and names an endpoint that the user did not.
        OpenAIExtraMissing: an endpoint needs a package that is not installed.
        ServiceError: the service failed a call.
    """
    if not config.students:
        template = TemplateChoice(
            config.student_enable_thinking,
            config.student_reasoning,
            config.student_template_options,
            config.student_chat_template_file,
        )
        speaker = await _speaker(config, None, config.student_model_name, template, service, renderer)
        return Students.single(SimulatedStudent(speaker, prompts, config.student_profile))
    opened = {
        student.name: SimulatedStudent(
            await _open(config, student, service, renderer),
            own_prompts(student, prompts, config),
            config.student_profile,
            student.name,
            student.share,
            own_profile(student),
        )
        for student in config.students
    }
    return Students(opened, config.seed)


async def _open(
    config: SocraticConfig, student: Student, service: Service, renderer: MakeRenderer
) -> Speaker | RemoteSpeaker:
    name = student.model_name or config.student_model_name
    if student.endpoint is not None:
        client = open_endpoint(config, student.endpoint, name)
        return RemoteSpeaker(
            "student", client, _max_tokens(config, student), _temperature(config, student), student.top_p
        )
    own_switch = student.enable_thinking is not None or student.reasoning is not None
    options = config.student_template_options if student.template_options is None else student.template_options
    template = TemplateChoice(
        bool(student.enable_thinking) if own_switch else config.student_enable_thinking,
        student.reasoning if own_switch else config.student_reasoning,
        options,
        config.student_chat_template_file,
    )
    return await _speaker(config, student, name, template, service, renderer)


async def _speaker(
    config: SocraticConfig,
    student: Student | None,
    name: str,
    template: TemplateChoice,
    service: Service,
    renderer: MakeRenderer,
) -> Speaker:
    client = await open_sampling_client(service.client, f"the student's model {name!r}", base_model=name)
    return Speaker(
        "student",
        client,
        await renderer(client, name, template),
        _max_tokens(config, student),
        _temperature(config, student),
        top_p=1.0 if student is None else student.top_p,
    )


def _max_tokens(config: SocraticConfig, student: Student | None) -> int:
    own = None if student is None else student.max_tokens
    return own or config.student_max_tokens or config.max_tokens


def _temperature(config: SocraticConfig, student: Student | None) -> float:
    return config.temperature if student is None or student.temperature is None else student.temperature
