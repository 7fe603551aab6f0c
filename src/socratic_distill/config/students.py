"""The simulated students of a config, where there are several, and models on other endpoints."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from socratic_distill.config.values import (
    ModelName,
    PathText,
    Positive,
    Reasoning,
    Setting,
    Share,
    TemplateOptions,
    Tokens,
)
from socratic_distill.text import refuse_secrets

PersonaName = Literal["careless", "guesser", "confident_misconception", "gives_up", "asks_for_the_answer"]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class Endpoint(Setting):
    """A server of the OpenAI API (chat completions), of any provider or of your own."""

    base_url: Annotated[str, Field(pattern=r"^https?://\S+$", max_length=2000), AfterValidator(refuse_secrets)] = Field(
        description="Its URL, such as http://gpu-box:8000/v1."
    )
    api_key_variable: Annotated[str, Field(pattern=r"^(OPENAI_API_KEY|SOCRATIC_[A-Z0-9_]*KEY)$")] = Field(
        default="OPENAI_API_KEY",
        description="Environment variable that holds its key: OPENAI_API_KEY, or one named SOCRATIC_…KEY.",
    )
    max_concurrent_requests: Annotated[int, Field(ge=1, le=10_000, strict=True)] = Field(
        default=32, description="Requests that are sent to it at once."
    )
    max_retries: Annotated[int, Field(ge=0, le=100, strict=True)] = Field(
        default=8, description="How often a request is sent again that it answers with 429 or 5xx, or not at all."
    )


class Student(Setting):
    """One of several simulated students."""

    name: Annotated[str, Field(pattern=f"^{_NAME.pattern}$")] = Field(
        description="Name of the student, in rows and measures."
    )
    share: Positive = Field(
        default=1.0, description="Share of the dialogues that it has, relative to the other students' shares."
    )
    model_name: ModelName | None = Field(default=None, description="Its model. None: the config's student_model_name.")
    endpoint: Endpoint | None = Field(
        default=None, description="Another server that its model is on. None: the config's service."
    )
    persona: PersonaName | None = Field(
        default=None, description="A packaged profile. None: profile, or that of the seed or the config."
    )
    profile: Annotated[str, Field(min_length=1, pattern=r"\S")] | None = Field(
        default=None, description="Who it is. None: persona, or the profile of the seed or the config."
    )
    profile_file: PathText | None = Field(
        default=None, description="Text file with its profile. None: profile or persona."
    )
    prompt_file: PathText | None = Field(
        default=None, description="Text file with its system prompt. None: the config's student_prompt_file."
    )
    max_tokens: Tokens | None = Field(
        default=None, description="Length limit of its turns, in tokens. None: student_max_tokens."
    )
    temperature: Annotated[float, Field(ge=0.0, le=100.0, strict=True)] | None = Field(
        default=None, description="Sampling temperature. None: the config's temperature."
    )
    top_p: Annotated[Share, Field(gt=0.0)] = Field(
        default=1.0, description="Sample from the likeliest tokens that hold this share of the probability."
    )
    enable_thinking: bool | None = Field(
        default=None, description="Render its prompts with thinking enabled. None: as student_enable_thinking."
    )
    reasoning: Reasoning | None = Field(default=None, description="Its reasoning. None: as student_reasoning.")
    template_options: TemplateOptions | None = Field(
        default=None, description="Other variables of its chat template. None: student_template_options."
    )

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        given = [name for name in ("persona", "profile", "profile_file") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"student {self.name!r} has {' and '.join(given)}; keep one")
        if self.endpoint is None:
            return self
        if self.model_name is None:
            raise ValueError(f"student {self.name!r} is on another endpoint; give its model_name there")
        templated = [
            name for name in ("enable_thinking", "reasoning", "template_options") if getattr(self, name) is not None
        ]
        if templated:
            raise ValueError(
                f"student {self.name!r} has {templated[0]}, but its endpoint renders the chat template; leave it out"
            )
        return self
