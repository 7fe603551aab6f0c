"""`examples/first_replies.py`: which first replies of a tutor are good, and how much alike they are."""

import pytest
from examples.first_replies import FirstReplies, commonest_share, first_replies, is_good, named
from tests.support.talks import talk

from socratic_distill import Evaluation, Seed
from socratic_distill.distillation.scoring import ScoredDialogue

BOXES = Seed("boxes", "Mia has 3 boxes with 14 candies each. She eats 5 candies. How many candies are left?", "37")
CLOCK = Seed("clock", "A train leaves at 7:50 and arrives at 8:15. How many minutes does it take?", "25")


@pytest.mark.parametrize(
    "reply",
    [
        "How many candies are in one box?",
        "What does the 14 stand for?",
        "You added 3 and 5. Why?",
        "Does Mia have more in the end, or fewer?",
        "what happens to the CANDY that she eats?",
    ],
)
def test_reply_that_asks_about_its_problem_is_good(reply):
    assert is_good(reply, BOXES)


@pytest.mark.parametrize(
    ("reply", "lacks"),
    [
        ("Count the candies in one box.", "a question"),
        ("Could there be 37 candies left?", "silence about the answer"),
        ("How did you find that? What did you do first?", "anything of the problem"),
        ("How many pencils are there?", "a thing of this problem"),
        ("What does the 41 stand for?", "a number of this problem"),
        ("What does the 1 in your sum mean?", "a whole number of the problem: 1 is only a digit of 14"),
        ("How many are left?", "a word with content: these stand in every problem"),
        ("", "a question"),
    ],
)
def test_reply_that_lacks_something_is_not_good(reply, lacks):
    assert not is_good(reply, BOXES), f"it lacks {lacks}"


def test_times_and_grouped_digits_are_numbers():
    assert named("What happens between 7:50 and 8?", CLOCK.question) == {"7:50"}
    assert named("Why 2050?", "A stadium has 2,050 seats.") == {"2050"}
    assert named("Why 50?", "A stadium has 2,050 seats.") == set()


@pytest.mark.parametrize(
    ("one", "many"),
    [("box", "boxes"), ("cookie", "cookies"), ("cherry", "cherries"), ("bus", "buses"), ("class", "classes")],
)
def test_singular_and_plural_name_the_same_thing(one, many):
    assert named(f"Which {one}?", f"There are 6 {many}.") and named(f"How many {many}?", f"A {one} is red.")


def test_commonest_share_counts_one_text_however_it_is_spaced():
    assert commonest_share(["How many pens?", "how many  pens?", "Why 4?", "Why 5?"]) == 0.5
    assert commonest_share(["Why 3?", "Why 4?", "Why 5?", "Why 6?"]) == 0.25


def evaluation_of(*dialogues):
    scored = tuple(ScoredDialogue(dialogue) for dialogue in dialogues)
    return Evaluation("tutor", "base", {}, scored, (), lambda tokens: [])


def test_shares_are_over_the_dialogues_that_have_a_reply():
    shares = first_replies(
        evaluation_of(
            talk("It is 11.", "What comes after 5?"),
            talk("It is 11.", "Why?", "Hm.", "What is 5 and 2?"),
            talk("It is 13.", "Why?"),
            talk("It is 13.", "It is 12, not so?"),
            talk("It is 12."),
            talk("It is 13.", "What is 7?", ending="failed"),
        )
    )
    assert shares == FirstReplies(4, 0.25, 0.5)


def test_without_replies_there_are_no_shares():
    assert first_replies(evaluation_of(talk("It is 12."))) == FirstReplies(0, None, None)
