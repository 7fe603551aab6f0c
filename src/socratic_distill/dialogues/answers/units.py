r"""Units of numbers: which unit a number has, and the factors between units. Pure.

A unit is what stands after a number (`5 km`, `5-km`, `5\text{ km}`, `50 %`, `30°`), and a currency may stand before it
(`$5`). Units may be raised, multiplied and divided: `m^2`, `m²`, `m2`, `square metres`, `km/h`, `kilometres per hour`,
`$/kg`, `N·m`. Symbols keep their case (`mW` is not `MW`) unless the other case means nothing else (`KM`).

Length, mass, time, volume, and the metric prefixes are converted exactly: `5 km` = `5000 m`, `1 l` = `1000 cm^3`,
`1 ft` = `12 in`, `90 min` = `1.5 h`. So are cents, pence and the named metric units (`kJ`, `mA`, `kPa`);
`N`, `J`, `W` and `Pa` also as products (`kg m/s^2`). Temperatures, currencies, months and gallons have no exact factor
between them: they equal themselves alone. A word that is no known unit (`12 eggs`) is compared as a word, in the
singular; words between number and noun are allowed (`12 brown eggs`).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from socratic_distill.dialogues.answers.numbers import Number


@dataclass(frozen=True, slots=True)
class Unit:
    """One meaning of a unit.

    Attributes:
        dimensions: (base unit, power), sorted; the bases are metre, gram, second and those that nothing converts to.
        factor: the size of the unit in its base units.
    """

    dimensions: tuple[tuple[str, int], ...]
    factor: Fraction

    def times(self, other: "Unit", power: int) -> "Unit":
        """The product of this unit and a power of another one."""
        powers = dict(self.dimensions)
        for base, exponent in other.dimensions:
            powers[base] = powers.get(base, 0) + exponent * power
        return Unit(tuple(sorted((base, n) for base, n in powers.items() if n)), self.factor * other.factor**power)


_ONE = Unit((), Fraction(1))
_PREFIXES = {
    "": ("", 0), "k": ("kilo", 3), "d": ("deci", -1), "c": ("centi", -2), "m": ("milli", -3), "\u00b5": ("micro", -6),
    "\u03bc": ("micro", -6), "n": ("nano", -9), "M": ("mega", 6), "G": ("giga", 9),
}  # fmt: skip
# Symbols, names, base unit, its power, and the factor.
_METRIC: tuple[tuple[str, str, str, int, str], ...] = (
    ("m", "metre meter", "m", 1, "1"), ("g", "gram gramme", "g", 1, "1"), ("s sec", "second", "s", 1, "1"),
    ("l L", "litre liter", "m", 3, "1/1000"), ("N", "newton", "N", 1, "1"), ("J", "joule", "J", 1, "1"),
    ("W", "watt", "W", 1, "1"), ("V", "volt", "V", 1, "1"), ("A", "ampere amp", "A", 1, "1"),
    ("Hz", "hertz", "Hz", 1, "1"), ("Pa", "pascal", "Pa", 1, "1"), ("mol", "mole", "mol", 1, "1"),
    ("\u03a9 \u2126", "ohm", "ohm", 1, "1"), ("cal", "calorie", "cal", 1, "1"), ("Wh", "watthour", "Wh", 1, "1"),
    ("B", "byte", "byte", 1, "1"),
)  # fmt: skip
# Names, base unit, its power, and the factor.
_OTHERS: tuple[tuple[str, str, int, str], ...] = (
    ("in inch inches", "m", 1, "0.0254"), ("ft foot feet", "m", 1, "0.3048"), ("yd yard", "m", 1, "0.9144"),
    ("mi mile", "m", 1, "1609.344"), ("lb lbs pound", "g", 1, "453.59237"), ("oz ounce", "g", 1, "28.349523125"),
    ("t tonne", "g", 1, "1000000"), ("min minute", "s", 1, "60"), ("h hr hrs hour", "s", 1, "3600"),
    ("day", "s", 1, "86400"), ("kilo", "g", 1, "1000"),
    ("week wk", "s", 1, "604800"), ("month", "month", 1, "1"), ("yr year", "month", 1, "12"),
    ("ha hectare", "m", 2, "10000"),
    ("acre", "acre", 1, "1"), ("gal gallon", "gallon", 1, "1"), ("cup", "cup", 1, "1"), ("dozen", "dozen", 1, "1"),
    ("% percent pct", "%", 1, "1"), ("\u00b0 degree deg", "\u00b0", 1, "1"), ("rad radian", "rad", 1, "1"),
    ("\u00b0C \u2103 \u00b0celsius celsius \u00b0centigrade degC C", "\u00b0C", 1, "1"), ("K kelvin", "K", 1, "1"),
    ("\u00b0F \u2109 \u00b0fahrenheit fahrenheit degF F", "\u00b0F", 1, "1"),
    ("$ dollar USD buck", "$", 1, "1"), ("\u20ac euro EUR", "\u20ac", 1, "1"),
    ("\u00a3 pound GBP quid", "\u00a3", 1, "1"),
    ("\u00a2 cent ct", "$", 1, "1/100"), ("cent ct", "\u20ac", 1, "1/100"), ("p penny pence", "\u00a3", 1, "1/100"),
    ("\u00a5 yen JPY", "\u00a5", 1, "1"), ("\u20b9 rupee INR Rs", "\u20b9", 1, "1"),
)  # fmt: skip
# Units that are products of others: dimensions, and the factor to gram, metre and second.
_COMPOSED = {
    "N": ((("g", 1), ("m", 1), ("s", -2)), 1000), "J": ((("g", 1), ("m", 2), ("s", -2)), 1000),
    "W": ((("g", 1), ("m", 2), ("s", -3)), 1000), "Pa": ((("g", 1), ("m", -1), ("s", -2)), 1000),
    "Wh": ((("g", 1), ("m", 2), ("s", -2)), 3_600_000),
}  # fmt: skip
_SQUARED = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_TWO_UNITS = {
    "mph": "mi/h",
    "kph": "km/h",
    "kmh": "km/h",
    "kmph": "km/h",
    "mps": "m/s",
    "Nm": "N*m",
    "cc": "cm^3",
    "kms": "km",
    "kgs": "kg",
    "cms": "cm",
    "kWh": "kW*h",
}


def _in_lower_case(units: dict[str, frozenset[Unit]]) -> dict[str, frozenset[Unit]]:
    """The meanings of what has one meaning in any case."""
    meanings: dict[str, set[frozenset[Unit]]] = {}
    for name, named in units.items():
        meanings.setdefault(name.lower(), set()).add(named)
    return {name: next(iter(several)) for name, several in meanings.items() if len(several) == 1}


def _table() -> dict[str, frozenset[Unit]]:
    """The meanings of each symbol and of each name in lower case."""
    meanings: dict[str, set[Unit]] = {}
    for symbols, names, base, power, factor in _METRIC:
        for prefix, (word, exponent) in _PREFIXES.items():
            dimensions, size = _COMPOSED.get(base, (((base, power),), 1))
            unit = Unit(dimensions, Fraction(factor) * size * Fraction(10) ** exponent)
            for name in (*(prefix + symbol for symbol in symbols.split()), *(word + name for name in names.split())):
                meanings.setdefault(name, set()).add(unit)
    for names, base, power, factor in _OTHERS:
        for name in names.split():
            meanings.setdefault(name, set()).add(Unit(((base, power),), Fraction(factor)))
    return {name: frozenset(units) for name, units in meanings.items()}


_UNITS = _table()
_IN_LOWER_CASE = _in_lower_case(_UNITS)
_CURRENCIES = frozenset("$\u20ac\u00a3\u00a5\u20b9")
_CODES = {"USD": "$", "EUR": "\u20ac", "GBP": "\u00a3", "JPY": "\u00a5", "INR": "\u20b9", "Rs": "\u20b9"}
_CODE = re.compile(rf"\b({'|'.join(_CODES)})\.?\s?\Z")
_LATEX = re.compile(
    r"""
    (?P<degree> \^\{?\s?\\circ\s?\}? | \\degree )
  | (?P<dot> \\cdot | [*\u00b7\u22c5] )
  | (?P<blank> \\(?:text|mathrm|mbox|operatorname|rm)\b\s?\{? | \\[,;:!\ ] | ~ | [{}] )
  | (?P<sign> \\(?=[%$]) )
  | (?P<percent> \bper\ cent\b )
    """,
    re.VERBOSE,
)
_DEGREE_OF = re.compile(r"(?:\u00b0\s?|\bdeg(?:ree)?s?\s)(?=(?:C|F|celsius|fahrenheit|centigrade)\b)", re.IGNORECASE)
_DOLLAR = re.compile(r"(?<!\\)\$")
_CLOSING = re.compile(r"(?<!\\)\$(?!\d)")
_DIGITS = str.maketrans("\u00b2\u00b3\u2070\u00b9", "2301")
_WORD = r"[^\W\d_\u00b2\u00b3]+"
_FACTOR = re.compile(
    rf"""
    [ -]{{0,3}} (?:(?P<join>/|\*|\b(?:per|an?)\b)[ ]?)? (?P<prefix>(?:square|sq|cubic|cu)\b\.?[ ])?
    (?P<name>\u00b0(?:celsius|fahrenheit|centigrade|C|F)?(?![^\W\d_])|[$\u20ac\u00a3\u00a5\u20b9\u00a2%\u2103\u2109]|{_WORD})
    (?: (?:[ ]?(?:\^|\*\*)[ ]?)?(?P<power>-?[0-9\u00b2\u00b3](?!\d)) | [ ](?P<word>squared|cubed)\b )?
    """,
    re.VERBOSE | re.IGNORECASE,
)
_NEXT_WORDS = re.compile(rf"[ -]{{0,3}}({_WORD})")
# Words that end the noun of an amount.
_NO_NOUN = frozenset((
    "in", "of", "per", "each", "for", "on", "at", "to", "a", "an", "the", "left", "and", "or", "is", "are", "was",
    "were", "more", "less", "total", "altogether", "if", "because", "so",
))  # fmt: skip
_WINDOW = 80  # characters after a number
_JOINT = re.compile(rf"[ -]{{0,2}}(?P<unit>(?!and\b){_WORD})?\.?(?:,\s)?\s?(?:and\s)?", re.IGNORECASE)


def units_of(text: str, number: Number) -> frozenset[Unit]:
    """The meanings of a number's unit; without a known unit, the words after the number; empty if it has neither."""
    before = text[max(0, number.start - 2) : number.start]
    after = text[number.stop : number.stop + _WINDOW].partition("\n")[0]
    if code := _CODE.search(text, max(0, number.start - 5), number.start):
        return _units_in(_CODES[code[1]], after)
    currency = next((sign for sign in text[number.start : number.stop] if sign in _CURRENCIES), before[-1:])
    if currency == " " and before[0] in _CURRENCIES and not _in_formula(text, number.start - 2):
        currency = before[0]
    if currency == "$" and before != "\\$" and _CLOSING.search(after):
        currency = ""
    if currency not in _CURRENCIES:
        currency = ""
        if _in_formula(text, number.start):
            after = _CLOSING.sub(" ", after)
    return _units_in(currency, after)


def _in_formula(text: str, start: int) -> bool:
    """Whether a dollar sign before an index on its line opens a formula, so that the next one closes it."""
    line = text[max(0, start - _WINDOW) : start].rpartition("\n")[2]
    return len(_DOLLAR.findall(line)) % 2 == 1


@lru_cache(maxsize=4096)
def _units_in(currency: str, after: str) -> frozenset[Unit]:
    plain = _DEGREE_OF.sub("\u00b0", _LATEX.sub(_plain_sign, after))
    known = _product(plain, _UNITS[currency]) if currency else _product(plain, frozenset({_ONE}), first=True)
    return known if known != {_ONE} else frozenset(_nouns(plain))


def _plain_sign(match: re.Match[str]) -> str:
    return {"degree": "\u00b0", "dot": "*", "blank": " ", "sign": "", "percent": "%"}[match.lastgroup or ""]


def _product(after: str, units: frozenset[Unit], first: bool = False) -> frozenset[Unit]:
    """The product of the given units and of the factors that follow, up to the first that is none."""
    position = 0
    for _ in range(6):
        match = _FACTOR.match(after, position)
        joined = match is not None and match["join"]
        if match is None or not (joined or first or _continues(after, match)):
            break
        factor = _named(match["name"])
        if not factor and joined in ("/", "per"):
            factor = frozenset(_words(match["name"]))
        if not factor:
            break
        sign = 1 if not joined or joined == "*" else -1
        power = sign * _power(match)
        units = frozenset(unit.times(meaning, power) for unit in units for meaning in factor)
        position, first = match.end(), False
    return units


def _continues(after: str, match: re.Match[str]) -> bool:
    """Whether a unit without a sign before it is a factor, as in `kg m/s^2`: a sign of a product follows."""
    return (
        match["name"] in _UNITS and len(match["name"]) < 3 and (bool(match["power"]) or after[match.end() :][:1] == "/")
    )


def _power(match: re.Match[str]) -> int:
    if match["prefix"]:
        return _SQUARED[match["prefix"].strip(" .").lower()]
    if match["word"]:
        return 2 if match["word"].lower() == "squared" else 3
    return int((match["power"] or "1").translate(_DIGITS))


def _named(name: str) -> frozenset[Unit]:
    """The meanings of a symbol or a name, in singular or plural; empty if it is no known unit."""
    if name in _TWO_UNITS or name.lower() in _TWO_UNITS:
        return _product(_TWO_UNITS.get(name) or _TWO_UNITS[name.lower()], frozenset({_ONE}), first=True)
    if name in _UNITS:
        return _UNITS[name]
    lower = name.lower()
    for word in (lower, *_singulars(lower)):
        if word in _UNITS and (len(word) > 2 or word == lower):
            return _UNITS[word]
    return _IN_LOWER_CASE.get(lower, frozenset())


def _singulars(word: str) -> Iterator[str]:
    """What a word may be in the singular; at least the word itself."""
    yield word
    if word.endswith("s") and len(word) > 3:
        yield word[:-1]
        if word.endswith("es"):
            yield word[:-2]
        if word.endswith("ies"):
            yield f"{word[:-3]}y"


def _words(word: str) -> Iterator[Unit]:
    """A word as a unit of its own, in each form that may be its singular."""
    return (Unit(((f"word {form}", 1),), Fraction(1)) for form in _singulars(word.lower()))


def _nouns(after: str) -> Iterator[Unit]:
    """The words after a number that may be what it counts: at most three."""
    position = 0
    for _ in range(3):
        match = _NEXT_WORDS.match(after, position)
        if match is None or match[1].lower() in _NO_NOUN:
            return
        yield from _words(match[1])
        position = match.end()


def same_quantity(number: Number, units: frozenset[Unit], other: Number, other_units: frozenset[Unit]) -> bool:
    """Whether two numbers with units are the same amount."""
    return any(
        unit.dimensions == wanted.dimensions and number.value * unit.factor == other.value * wanted.factor
        for unit in units
        for wanted in other_units
    )


def joined_amounts(text: str, numbers: Sequence[Number]) -> list[Number]:
    """The numbers of a text, where those of one amount in several units are one: `1 h 30 min`, `5 feet and 3 inches`.

    A joined number spans all parts. Its value is in the unit that `units_of` reads for it: the last part's, or the
    currency before the first.
    """
    joined: list[Number] = []
    for number in numbers:
        total = _together(text, joined[-1], number) if joined else None
        if total is None:
            joined.append(number)
        else:
            joined[-1] = total
    return joined


def _together(text: str, first: Number, second: Number) -> Number | None:
    """Two numbers as one amount, in the unit of the second; None if they are two amounts."""
    if second.start - first.stop > _WINDOW or first.is_percent or not second.value > 0:
        return None
    match = _JOINT.fullmatch(text, first.stop, second.start)
    if match is None or (match["unit"] and not _named(match["unit"])):
        return None
    for unit in units_of(text, first):
        for smaller in units_of(text, second):
            ratio = unit.factor / smaller.factor
            if unit.dimensions == smaller.dimensions and second.value < ratio and ratio > 1 and first.value > 0:
                # `units_of` reads a currency before a number first.
                is_money = bool(_CURRENCIES & set(text[max(0, first.start - 1) : first.stop]))
                value = first.value + second.value / ratio if is_money else first.value * ratio + second.value
                return Number(value, first.start, second.stop, False, None)
    return None
