"""Who a simulated student is: common types of misconception and of help-seeking, each as a text in the second person.

| file | the student |
|---|---|
| `careless.txt` | understands, and makes slips |
| `guesser.txt` | guesses in place of reasoning |
| `confident_misconception.txt` | holds a wrong idea, and defends it |
| `gives_up.txt` | expects to fail |
| `asks_for_the_answer.txt` | wants the answer told |
"""

from importlib.resources import files

from socratic_distill.config.students import PersonaName


def persona(name: PersonaName) -> str:
    """The text of a packaged persona."""
    return files(__name__).joinpath(f"{name}.txt").read_text(encoding="utf-8").strip()
