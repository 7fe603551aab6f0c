"""What ends a dialogue: the answer, a phrase, or a function of the user."""

from collections.abc import Callable

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.dialogue_settings import PhraseEnding
from socratic_distill.config.functions import import_function
from socratic_distill.config.trust import check_code
from socratic_distill.dialogues.dialogue import Dialogue, Ending, Ends, by_answer
from socratic_distill.errors import RolloutError

_EXPECTED = "takes a Dialogue and returns True or False, as in `def {name}(dialogue): return len(dialogue.turns) > 8`"


def load_endings(config: SocraticConfig) -> Ends:
    """What ends the dialogues of a config, as one function.

    It raises `RolloutError` if a function of the user raises an error, or returns neither True nor False.

    Raises:
        ConfigError: a function cannot be imported or called; the message says what to write instead.
        UntrustedConfig: the config was read from a run directory, and its code is not allowed.
    """
    check_code(config, "endings")
    rules = [_rule(ending) for ending in config.endings]

    def ends(dialogue: Dialogue) -> Ending | None:
        return next((ending for rule in rules if (ending := rule(dialogue)) is not None), None)

    return ends


def _rule(ending: object) -> Ends:
    if isinstance(ending, PhraseEnding):
        return _by_phrase(ending)
    function = getattr(ending, "function", None)
    return by_answer if function is None else _by_function(function)


def _by_phrase(ending: PhraseEnding) -> Ends:
    phrase = ending.phrase.strip().casefold()

    def ends(dialogue: Dialogue) -> Ending | None:
        last = dialogue.turns[-1]
        if last.role != ending.by or phrase not in last.text.casefold():
            return None
        return "ended_by_tutor" if ending.by == "tutor" else "ended_by_student"

    return ends


def _by_function(path: str) -> Ends:
    function: Callable[[Dialogue], object] = import_function(path, "ending function", _EXPECTED)

    def ends(dialogue: Dialogue) -> Ending | None:
        what = f"dialogue {dialogue.number} on seed {dialogue.seed.id!r}"
        try:
            result = function(dialogue)
        except Exception as error:
            raise RolloutError(f"ending function {path!r} raised {type(error).__name__}: {error}, on {what}") from error
        if not isinstance(result, bool):
            raise RolloutError(f"ending function {path!r} returned {result!r:.60} on {what}; expected True or False")
        return "ended_by_function" if result else None

    return ends
