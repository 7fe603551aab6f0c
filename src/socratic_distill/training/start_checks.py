"""What a config names besides models, checked before anything is paid: functions, prompts of judges, endpoints.

A start stops at the first problem; a preflight gathers all of them.
"""

from collections.abc import Callable

from socratic_distill.config.config import SocraticConfig
from socratic_distill.dialogues.endings import load_endings
from socratic_distill.dialogues.rewards import load_rewards
from socratic_distill.dialogues.verdicts import load_answer_function
from socratic_distill.distillation.custom_losses import try_losses
from socratic_distill.service.endpoints import check_endpoints

CHECKS: tuple[Callable[[SocraticConfig], object], ...] = (
    load_rewards,
    load_endings,
    load_answer_function,
    check_endpoints,
    try_losses,
)
