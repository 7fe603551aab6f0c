"""What gives and what reveals an answer, by kind: a table of replies."""

from collections.abc import Callable

import pytest
from tests.support.answers import amount, expression, number, text

from socratic_distill.dialogues.answers.kinds import rule_of, solves
from socratic_distill.dialogues.seed import Seed

CHOICES = ("Cell wall", "Mitochondria", "Ribosome", "Cell")


def choice(answer: str) -> Seed:
    return Seed("s", "?", answer, answer_kind="choice", choices=CHOICES)


# Each answer with (reply, whether it gives the answer, whether it reveals the answer).
NUMBERS = {
    "3.5": [
        ("3,5", True, True),
        ("It is 3.5.", True, True),
        ("3,5 kg", True, True),
        ("3 1/2", True, True),
        ("7/2", True, True),
        ("350%", True, True),
        ("the point (3,5)", False, False),
        ("3, 5", False, False),
        ("1,3,5", False, False),
        ("-3,5", False, False),
        ("10-3,5", True, True),
        ("3,5 is more than 2", False, True),
        ("3.5 + 1 = 4.5", False, True),
        ("no number", False, False),
    ],
    "5": [("3,5", True, True), ("3, 5", True, True), ("5,0", True, True), ("5 km", True, True), ("5 m2", True, True)],
    "3": [("3,5", False, True), ("3", True, True), ("3 or 5", False, True), ("3,0", True, True), ("x_3", False, False)],
    "-3.5": [("-3,5 kg", True, True), ("10 - 3,5", False, False), ("= \u22123,5", True, True)],
    "12.15": [("12,15", True, True), ("12,15,18", False, False), ("12.15", True, True), ("12:15", False, False)],
    "1234": [
        ("1.234", False, False),
        ("1,234", True, True),
        ("1 234", True, True),
        ("1'234", True, True),
        ("1.234,0", True, True),
        ("0 1 234", False, False),
        ("1 2345", False, False),
    ],
    "1.234": [("1,234", False, False), ("1.234", True, True)],
    "1234.5": [
        ("1.234,5", True, True),
        ("1,234.5", True, True),
        ("1 234,5", True, True),
        ("1'234.5", True, True),
        ("1\u2019234,5", True, True),
        ("1\u202f234,5", True, True),
        ("Das sind 1.234,50 \u20ac.", True, True),
        ("1.234,6", False, False),
    ],
    "1234567": [
        ("1.234.567", True, True),
        ("12,34,567", True, True),
        ("1 234 567", True, True),
        ("1.234.567,5", False, False),
        ("1 234 567 8", False, False),
    ],
}
AMOUNTS = {
    "5 km": [
        ("5 km", True, True),
        ("5-km", True, True),
        ("5 KM", True, True),
        ("5 kilometres", True, True),
        ("5 kilometers long", True, True),
        ("5000 m", True, True),
        ("5 000 m", True, True),
        ("500000 centimetres", True, True),
        ("$5$ km", True, True),
        (r"$5\text{ km}$", True, True),
        ("5,0 km", True, True),
        ("5", False, False),
        ("5 m", False, False),
        ("5 km/h", False, False),
        ("5 km^2", False, False),
        ("5 km is 3 miles", False, True),
        ("km 5", False, False),
    ],
    "5 m": [("500 cm", True, True), ("5 m/s", False, False), ("5 min", False, False), ("5 metres", True, True)],
    "$5": [
        ("5 dollars", True, True),
        ("5$", True, True),
        (r"\$5", True, True),
        ("500 cents", True, True),
        ("$5 and not $6", False, True),
        ("$x=5$", False, False),
        ("5 \u20ac", False, False),
        ("\u00a35", False, False),
    ],
    "150 p": [("\u00a31.50", True, True), ("1.50 pounds", True, True)],
    "1.5 h": [("90 min", True, True), ("90 minutes", True, True), ("5400 seconds", True, True), ("1.5", False, False)],
    "72 km/h": [("20 m/s", True, True), ("72 kilometres per hour", True, True), ("72 kph", True, True)],
    "0.0025 m^2": [("25 cm\u00b2", True, True), ("25 square centimetres", True, True), ("25 cm2", True, True)],
    "1000 cm^3": [("1 l", True, True), ("1 litre", True, True), ("1000 ml", True, True), ("1000 cc", True, True)],
    "50%": [("50 percent", True, True), ("50 per cent", True, True), (r"$50\%$", True, True), ("0.5", False, False)],
    "20 \u00b0C": [
        ("20 degrees Celsius", True, True),
        (r"$20^\circ C$", True, True),
        ("20\u00b0C", True, True),
        ("20 \u00b0F", False, False),
        ("20\u00b0", False, False),
    ],
    "30 degrees": [(r"30^\circ", True, True), ("30\u00b0", True, True), ("30 rad", False, False)],
    "9.8 m/s^2": [("9.8 metres per second squared", True, True), ("9.8 m/s", False, False)],
    "12 eggs": [
        ("12 brown eggs", True, True),
        ("12 egg", True, True),
        ("12 apples", False, False),
        ("12", False, False),
    ],
    "5 MW": [("5 mW", False, False), ("5000 kW", True, True), ("5 megawatts", True, True)],
    "$3 per pizza": [("$3/pizza", True, True), ("3 dollars per pizza", True, True), ("$3", False, False)],
}
CHOICE = {
    "B": [
        ("B", True, True),
        ("b", True, True),
        ("b.", True, True),
        ("(b)", True, True),
        ("B)", True, True),
        ("**B**", True, True),
        (r"\boxed{B}", True, True),
        (r"\boxed{\text{B}}", True, True),
        ("Answer: B", True, True),
        ("The answer is b.", True, True),
        ("option b", True, True),
        ("I'd say B.", True, True),
        ("Go with B", True, True),
        ("B. Mitochondria", True, True),
        ("mitochondria", True, True),
        ("It's the MITOCHONDRIA!", True, True),
        ("It's not A, it's B", True, True),
        ("A is wrong, so B", True, True),
        ("I'd say B because C is a plant.", True, True),
        ("I thought the answer was C, but B makes sense", True, False),
        ("The correct answer is B, while C makes proteins.", True, True),
        ("Answer: B\nExplanation: A cell wall is for plants.", True, True),
        ("I'm not sure, but B", True, True),
        ("Why not look at B?", True, True),
        ("Not B.", False, False),
        ("B is wrong", False, False),
        ("It isn't really B", False, False),
        ("C because B is a plant", False, False),
        ("Why did you choose C rather than B?", False, False),
        ("B or C", False, False),
        ("A and B", False, False),
        ("Is it A, B, C or D?", False, False),
        ("A. Cell wall\nB. Mitochondria\nC. Ribosome\nD. Cell\nWhich one?", False, False),
        ("Compare B with C.", False, False),
        ("vitamin B", False, False),
        ("point B", False, False),
        ("B = 3", False, False),
        ("B's", False, False),
        ("B-cells", False, False),
        ("Let b be 3", False, False),
        ("the Ribosome", False, False),
        ("What do you know of ribosomes?", False, False),
        ("", False, False),
    ],
    "A": [
        ("A", True, True),
        ("a", True, True),
        ("a)", True, True),
        ("option a", True, True),
        ("It's A", True, True),
        ("A is right", True, True),
        ("A because it is hard", True, True),
        ("A cell wall is it", True, True),
        ("the answer is a", True, True),
        ("the answer is a cell", False, False),
        ("A cell is alive", False, False),
        ("This is a Ribosome", False, False),
        ("What a day!", False, False),
    ],
    "Ribosome": [("C", True, True), ("ribosome", True, True), ("B", False, False)],
}
TEXTS = {
    "photosynthesis": [
        ("It's Photosynthesis.", True, True),
        ("PHOTOSYNTHESIS!", True, True),
        ("photosynthesis's role", True, True),
        ("I'm not sure, photosynthesis", True, True),
        ("not only photosynthesis", True, True),
        ("not photosynthesis", False, True),
        ("It isn't really photosynthesis", False, True),
        ("it's not the photosynthesis", False, True),
        ("respiration instead of photosynthesis", False, True),
        ("Photosynthesis. No, not photosynthesis", False, True),
        ("photosynthetic", False, False),
        ("", False, False),
    ],
    "ion": [("a station", False, False), ("an ion", True, True), ("ions", False, False)],
    "carbon dioxide | CO2": [
        ("carbon-dioxide", True, True),
        ("carbon\n  dioxide", True, True),
        ("CO\u2082!", True, True),
        ("co2", True, True),
        ("carbon, then dioxide", False, False),
        ("carbon monoxide", False, False),
    ],
    "the cell wall": [("A cell wall", True, True), ("cell the wall", True, True), ("cell", False, False)],
    "Newton's second law": [("newtons second law", True, True), ("Newton\u2019s second law", True, True)],
    "vitamin A": [("vitamin A is", True, True), ("vitamin C", False, False), ("a vitamin", False, False)],
    "caf\u00e9": [("cafe\u0301", True, True), ("cafe", False, False)],
    "Stra\u00dfe": [("STRASSE", True, True)],
    "\u5149\u5408\u6210": [("\u7b54\u3048\u306f\u5149\u5408\u6210\u3067\u3059", True, True)],
    "C#": [("I use C# daily", True, True), ("I use C daily", False, False)],
    "1,000 men": [("1,000 men", True, True), ("1000 men", False, False)],
    "\u00bd cup": [("1\u20442 cup", True, True)],
}
EXPRESSIONS = {
    r"\frac{1}{2}": [
        ("So it is $0.5$.", True, True),
        (r"\boxed{\frac12}", True, True),
        ("1/2", True, True),
        ("50%", True, True),
        (r"\frac{2}{4}", True, True),
        ("0.25 + 0.25 = 0.5", True, True),
        ("0.51", False, False),
        ("", False, False),
    ],
    "x = 2y + 1": [
        ("So x = 2y + 1.", True, True),
        ("y = (x-1)/2", True, True),
        ("2y + 1", True, True),
        ("x = 2y", False, False),
    ],
    "(x-1)(x+1)": [("I get x^2 - 1", True, True), ("$x^2-1$", True, True), ("x\u00b2 \u2212 1", True, True)],
    "{1, 2}": [
        (r"the solutions are $\{2, 1\}$", True, True),
        ("{1, 2}", True, True),
        ("x = 1 or x = 2", True, True),
        ("1 and 2", True, True),
        ("{1, 3}", False, False),
    ],
    "[0, 3)": [("I think it's [0, 3)", True, True), ("[0, 3]", False, False), ("$[0,3)$", True, True)],
    "(1, 2)": [("the point (1, 2)", True, True), ("(2, 1)", False, False)],
    "x > 3": [("so x>3", True, True), ("3 < x", True, True), ("x >= 3", False, False), ("x > 4", False, False)],
    "2/3": [("two thirds is 2/3", True, True), ("4/6", True, True), ("0.67", False, False)],
    "sqrt(2)": [
        ("\u221a2", True, True),
        (r"it's $\sqrt{2}$", True, True),
        ("2^(1/2)", True, True),
        ("2", False, False),
    ],
    "\u03c0/2": [(r"$\frac{\pi}{2}$", True, True), ("pi/2", True, True)],
    "1/2 x": [("x/2", True, True), ("0.5x", True, True)],
    "3": [
        ("x = 3", True, True),
        ("2 + 1 = 3", True, True),
        ("x = 3 because I divided by 2", True, True),
        ("x + 3 = 7", False, False),
        ("Is it $x = 3$?", True, True),
        ("That costs $3 and $4.", False, True),
    ],
    "4": [("$3$ or $4$", False, True), ("3 or 4", False, True), ("4", True, True)],
    "10": [("Since 2+3 = 5, my answer is 10.", True, True), ("2 * 5", True, True)],
    "6": [(r"\boxed{5} is wrong, \boxed{6}", True, True), (r"6, so \boxed{7}", False, True)],
    "b = 3": [("so $a = 2, b = 3$", True, True), ("so $a = 3, b = 2$", False, True)],
    "x+1": [(r"We get \[ x^2+x = x(x+1) \implies x+1 \]", True, True), ("x + 1?", True, True)],
    r"\begin{pmatrix}1\\2\end{pmatrix}": [(r"$\begin{pmatrix}1\\2\end{pmatrix}$", True, True)],
    "12": [("12 m", True, True), ("12 km", True, True), ("a dozen of 12.5", False, False), ("1,2", False, False)],
    "3.5": [("3,5", True, True), ("3.50", True, True)],
    "2 1/2": [("5/2", True, True), ("2.5", True, True)],
    "12x": [("`12x`", True, True), ("12 x", True, True), ("12", False, False)],
    "2^{10}": [("1024", True, True), ("9**9**9**9", False, False)],
}
KINDS: tuple[tuple[Callable[[str], Seed], dict[str, list[tuple[str, bool, bool]]]], ...] = (
    (number, NUMBERS),
    (amount, AMOUNTS),
    (choice, CHOICE),
    (text, TEXTS),
    (expression, EXPRESSIONS),
)
TABLE = [
    pytest.param(make(answer), *row, id=f"{make.__name__} {answer} - {row[0][:30]}")
    for make, answers in KINDS
    for answer, rows in answers.items()
    for row in rows
]


def test_the_table_has_rows_for_every_kind():
    assert len(TABLE) >= 250 and all(sum(map(len, answers.values())) >= 30 for _, answers in KINDS)


@pytest.mark.parametrize(("seed", "reply", "gives", "reveals"), TABLE)
def test_a_reply_gives_or_reveals_the_answer(seed, reply, gives, reveals):
    rule = rule_of(seed)
    rule.check(seed)
    spans = rule.spans(reply, seed)
    shown = f"{reply!r} for {seed.expected_answer!r}, spans {[reply[start:stop] for start, stop in spans]}"
    assert rule.matches(reply, seed) is gives, shown
    assert rule.reveals(reply, seed) is reveals, shown
    assert bool(spans) is (gives or reveals), shown


@pytest.mark.parametrize(
    ("seed", "said"),
    [
        (number("12"), "12"),
        (number("3.5"), "3,5"),
        (amount("5 km"), "5000 m"),
        (expression("x^2 - 1"), "(x-1)(x+1)"),
        (expression("3"), "$x = 3$"),
        (choice("B"), "B"),
        (choice("B"), "mitochondria"),
        (text("photosynthesis"), "photosynthesis"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.answer_kind,
)
def test_a_question_solves_nothing(seed, said):
    assert solves(f"So it is {said}.", seed)
    assert solves(f"Is it that? Yes, it is {said}", seed)
    assert not solves(f"Is it {said}?", seed)
    assert not solves(f"It is {said}. Or not?", seed)


def test_no_answer_is_never_given():
    seed = Seed("s", "?", "", answer_kind="none")
    rule_of(seed).check(seed)
    assert not solves("42", seed) and not rule_of(seed).reveals("42", seed) and rule_of(seed).spans("42", seed) == []


@pytest.mark.parametrize(
    ("seed", "reply", "said"),
    [
        (number("1234.5"), "It's 1.234,5 \u20ac", ["1.234,5"]),
        (number("3"), "3 + 0 = 3", ["3", "3"]),
        (amount("5 km"), "5 km or 5 m or 5000 m", ["5", "5000"]),
        (expression("3"), "x = $3$, and y = 3", ["3", "y = 3"]),
        (expression(r"\frac12"), r"\[ a = 0.5 \] and $\boxed{\frac{1}{2}}$", ["a = 0.5", r"\frac{1}{2}"]),
        (choice("B"), "The answer is (B) Mitochondria.", ["B) Mitochondria"]),
        (text("Stra\u00dfe | rue"), "\ufb01n STRASSE, Rue", ["STRASSE", "Rue"]),
        (text("cell wall"), "the cell  wall's", ["cell  wall"]),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else None,
)
def test_spans_are_of_the_original_text(seed, reply, said):
    assert [reply[start:stop] for start, stop in rule_of(seed).spans(reply, seed)] == said


SIGNS = ("5", "-5", "2x", "2x + 1")


@pytest.mark.parametrize(
    ("answer", "reply", "gives"),
    [
        ("-5", "-5", True),
        ("-5", "x = -5", True),
        ("-5", "- 5", True),
        ("-5", "B", True),
        ("-5", "5", False),
        ("-5", "it's 10 - 5", False),
        ("5", "-5", False),
        ("2x+1", "so 2x + 1", True),
        ("2x+1", "2x", False),
        ("2x", "2x", True),
        ("2x", "2x+1", False),
    ],
)
def test_choices_with_signs_are_compared_sign_by_sign(answer, reply, gives):
    seed = Seed("s", "?", answer, answer_kind="choice", choices=SIGNS)
    rule_of(seed).check(seed)
    assert rule_of(seed).matches(reply, seed) is gives


@pytest.mark.parametrize("letter", "ABCDEFGHI")
def test_each_letter_is_read_in_each_form(letter):
    seed = Seed("s", "?", letter, answer_kind="choice", choices=tuple(f"word{i}" for i in range(9)))
    rule = rule_of(seed)
    for form in ("{}", "({})", "{}.", "Answer: {}", "option {}", "I'd say {}.", "({}) since", "The answer is **{}**."):
        for written in (letter, letter.lower()):
            reply = form.format(written)
            assert rule.matches(reply, seed) and rule.reveals(reply, seed), reply
    assert rule.matches("I think I would go", seed) is False


@pytest.mark.parametrize(
    ("seed", "reason"),
    [
        (amount("5"), "has none; write it with its unit"),
        (number("five"), "exactly one number"),
        (Seed("s", "?", "B", answer_kind="choice", choices=("x",)), "choices holds 1; give 2 to 26"),
        (Seed("s", "?", "B", answer_kind="choice", choices=("x",) * 27), "choices holds 27"),
        (Seed("s", "?", "B", answer_kind="choice", choices=("The cell", "cell!")), "are the same; make them differ"),
        (Seed("s", "?", "B", answer_kind="choice", choices=("one", "...")), "has no word or number"),
        (Seed("s", "?", "C", answer_kind="choice", choices=("one", "two")), "is none of the choices; write a letter"),
        (Seed("s", "?", "B. one", answer_kind="choice", choices=("one", "two")), "is none of the choices"),
        (Seed("s", "?", "A", answer_kind="choice", choices=("B", "A")), "the letter of another choice"),
        (text("..."), "has no word or number; write the words"),
        (text("one | !"), "accepted_answers has '!'"),
        (Seed("s", "?", "a", answer_kind="text", choices=("a", "b")), "choices are given with a text"),
        (expression("photosynthesis"), "holds words; write one formula"),
        (expression("two"), "holds words"),
        (expression(r"\frac{1}"), "cannot be read as a formula; write one formula"),
        (expression(""), "cannot be read"),
        (expression("(1,"), "cannot be read"),
        (expression("9^(9^9)"), "too large powers"),
        (expression("x" + "+1" * 200), "in at most 300 characters"),
        (expression(r"\int_0^1 x dx"), "too large powers"),
    ],
)
def test_an_answer_that_cannot_be_compared_is_refused(seed, reason):
    with pytest.raises(ValueError) as caught:
        rule_of(seed).check(seed)
    assert reason in str(caught.value)


def test_the_answer_of_a_choice_may_be_written_in_each_form():
    for answer in ("B", "b", "(b)", "B)", "B.", "Mitochondria", "the mitochondria", "B. Mitochondria"):
        rule_of(choice(answer)).check(choice(answer))
        assert rule_of(choice(answer)).matches("(B)", choice(answer)), answer
