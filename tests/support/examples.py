"""How many examples a property is tried on: by default a quarter, all of them with `--hypothesis-profile full`."""

from hypothesis import settings


def register() -> None:
    """Makes the profiles and loads the quick one; the profile that the command line names is loaded after it."""
    settings.register_profile("full", settings.get_profile("default"))
    settings.register_profile("quick", max_examples=25)
    settings.load_profile("quick")


def examples(most: int) -> int:
    """The number of examples for a property that is tried on so many, if the profile takes all."""
    quick = settings.get_current_profile_name() == "quick"
    return max(10, most // 4) if quick else most
