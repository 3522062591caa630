"""What signs, units and abbreviations are called in English. Data alone."""

from __future__ import annotations

from typing import NamedTuple


class Unit(NamedTuple):
    one: str
    many: str


class Money(NamedTuple):
    one: str
    many: str
    cent: str
    cents: str


SIGNS = {
    ".": "dot", "/": "slash", "@": "at", "%": "percent", "‰": "per thousand", "&": "and", "+": "plus",
    "++": "plus plus",
    "*": "times", "×": "times", "÷": "divided by", "=": "equals", "==": "equals", "≠": "is not equal to",
    "<": "less than", ">": "greater than", "≤": "less than or equal to", "≥": "greater than or equal to",
    "≈": "approximately", "~": "about", "±": "plus or minus", "√": "square root of", "∞": "infinity",
    "^": "to the power of", "²": "squared", "³": "cubed", "§": "section", "°": "degrees", "€": "euros",
    "$": "dollars", "£": "pounds", "¥": "yen", "¢": "cents", "#": "number", "♯": "sharp", "minus": "minus",
    "k": "thousand", "point": "point",
    "to": "to", "and": "and", "version": "version", "port": "port", "hashtag": "hashtag", "code": "code omitted",
    "digits": "a number of {} digits",
}  # fmt: skip

SAID_AS_WORDS = frozenset(
    "NASA NATO UNESCO UNICEF FIFA UEFA OPEC RAM ROM LED SIM PIN COVID AIDS GIF JPEG JSON YAML LASER RADAR SONAR SCUBA "  # noqa: SIM905
    "LAN WAN WIFI ASAP POSIX CRUD REST SOAP BIOS DOS CAD SWAT NAFTA ASCII IKEA SAP JAVA BASIC CAPTCHA NASDAQ NIMBY "
    "NO NOT ALL AND OR YES MUST NEVER ALWAYS ONLY NOW NEW FREE IS ARE THE TO IN ON OF FOR WITH DO THIS THAT VERY STOP "
    "OSHA FEMA HIPAA".split()
)  # fmt: skip

FRACTION_SIGNS = {
    "½": "a half", "⅓": "a third", "⅔": "two thirds", "¼": "a quarter", "¾": "three quarters", "⅕": "a fifth",
    "⅛": "an eighth", "⅜": "three eighths", "⅝": "five eighths", "⅞": "seven eighths",
}  # fmt: skip

GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "η": "eta", "θ": "theta", "λ": "lambda",
    "μ": "mu", "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau", "φ": "phi", "χ": "chi", "ψ": "psi", "ω": "omega",
}  # fmt: skip

SHORT_MONTHS = {
    "Jan": "January", "Feb": "February", "Mar": "March", "Apr": "April", "Jun": "June", "Jul": "July", "Aug": "August",
    "Sept": "September", "Sep": "September", "Oct": "October", "Nov": "November", "Dec": "December",
}  # fmt: skip

_EURO = Money("euro", "euros", "cent", "cents")
_DOLLAR = Money("dollar", "dollars", "cent", "cents")
_POUND = Money("pound", "pounds", "penny", "pence")
_YEN = Money("yen", "yen", "sen", "sen")
CURRENCIES = {
    "€": _EURO, "EUR": _EURO, "$": _DOLLAR, "US$": _DOLLAR, "USD": _DOLLAR, "£": _POUND, "GBP": _POUND, "¥": _YEN,
    "JPY": _YEN, "CHF": Money("Swiss franc", "Swiss francs", "cent", "cents"),
    "MXN": Money("Mexican peso", "Mexican pesos", "cent", "cents"),
}  # fmt: skip
SCALES = {"bn": "billion", "B": "billion", "M": "million", "m": "million", "K": "thousand", "k": "thousand"}

UNITS = {
    "km/h": Unit("kilometer per hour", "kilometers per hour"), "kph": Unit("kilometer per hour", "kilometers per hour"),
    "mph": Unit("mile per hour", "miles per hour"), "m/s": Unit("meter per second", "meters per second"),
    "km": Unit("kilometer", "kilometers"), "m": Unit("meter", "meters"), "cm": Unit("centimeter", "centimeters"),
    "mm": Unit("millimeter", "millimeters"), "μm": Unit("micrometer", "micrometers"), "nm": Unit("nanometer",
    "nanometers"),
    "km²": Unit("square kilometer", "square kilometers"), "m²": Unit("square meter", "square meters"),
    "m2": Unit("square meter", "square meters"), "m³": Unit("cubic meter", "cubic meters"),
    "m3": Unit("cubic meter", "cubic meters"), "ft²": Unit("square foot", "square feet"),
    "kg": Unit("kilogram", "kilograms"), "g": Unit("gram", "grams"), "mg": Unit("milligram", "milligrams"),
    "lb": Unit("pound", "pounds"), "lbs": Unit("pound", "pounds"), "oz": Unit("ounce", "ounces"),
    "ft": Unit("foot", "feet"), "mi": Unit("mile", "miles"), "yd": Unit("yard", "yards"),
    "l": Unit("liter", "liters"), "L": Unit("liter", "liters"), "ml": Unit("milliliter", "milliliters"),
    "mL": Unit("milliliter", "milliliters"), "°C": Unit("degree Celsius", "degrees Celsius"),
    "°F": Unit("degree Fahrenheit", "degrees Fahrenheit"), "°": Unit("degree", "degrees"),
    "KB": Unit("kilobyte", "kilobytes"), "kB": Unit("kilobyte", "kilobytes"), "MB": Unit("megabyte", "megabytes"),
    "GB": Unit("gigabyte", "gigabytes"), "TB": Unit("terabyte", "terabytes"), "KiB": Unit("kibibyte", "kibibytes"),
    "MiB": Unit("mebibyte", "mebibytes"), "GiB": Unit("gibibyte", "gibibytes"),
    "Mbps": Unit("megabit per second", "megabits per second"), "Gbps": Unit("gigabit per second",
    "gigabits per second"),
    "MB/s": Unit("megabyte per second", "megabytes per second"), "Hz": Unit("hertz", "hertz"),
    "kHz": Unit("kilohertz", "kilohertz"), "MHz": Unit("megahertz", "megahertz"), "GHz": Unit("gigahertz", "gigahertz"),
    "W": Unit("watt", "watts"), "kW": Unit("kilowatt", "kilowatts"), "kWh": Unit("kilowatt hour", "kilowatt hours"),
    "V": Unit("volt", "volts"), "mAh": Unit("milliamp hour", "milliamp hours"), "dB": Unit("decibel", "decibels"),
    "px": Unit("pixel", "pixels"), "h": Unit("hour", "hours"), "hr": Unit("hour", "hours"), "hrs": Unit("hour",
    "hours"),
    "min": Unit("minute", "minutes"), "mins": Unit("minute", "minutes"), "s": Unit("second", "seconds"),
    "sec": Unit("second", "seconds"), "ms": Unit("millisecond", "milliseconds"),
}  # fmt: skip

BEFORE_NUMBERS = {
    "no": "number", "nos": "numbers", "": "number", "fig": "figure", "figs": "figures", "p": "page", "pp": "pages",
    "vol": "volume", "ch": "chapter", "sec": "section", "ext": "extension",
}  # fmt: skip

# By their letters in lower case, without the last dot. They need that dot, or the sentence's end.
ABBREVIATIONS = {
    "mr": "mister", "mrs": "missus", "ms": "miz", "dr": "doctor", "prof": "professor", "rev": "reverend",
    "gen": "general", "sgt": "sergeant", "capt": "captain", "lt": "lieutenant", "jr": "junior", "sr": "senior",
    "etc": "et cetera", "e.g": "for example", "i.e": "that is", "vs": "versus", "approx": "approximately",
    "dept": "department", "est": "established", "inc": "incorporated", "ltd": "limited", "co": "company",
    "corp": "corporation", "govt": "government", "a.m": "A-M", "p.m": "P-M", "u.s": "U-S", "u.s.a": "U-S-A",
    "u.k": "U-K", "u.n": "U-N", "e.u": "E-U", "ph.d": "P-H-D", "mt": "mount", "ft": "fort", "fig": "figure",
    "no": "no", "cf": "compare", "al": "al", "misc": "miscellaneous", "max": "maximum", "min": "minimum",
    "avg": "average",
    "tel": "telephone", "ext": "extension", "jan": "January", "feb": "February", "aug": "August", "sept": "September",
    "oct": "October", "nov": "November", "dec": "December", "mon": "Monday", "tue": "Tuesday", "wed": "Wednesday",
    "thu": "Thursday", "fri": "Friday",
}  # fmt: skip
WITHOUT_DOT = {
    "Mr": "mister", "Mrs": "missus", "Ms": "miz", "Dr": "doctor", "vs": "versus", "w/o": "without", "w/": "with",
    "and/or": "and or", "n/a": "not applicable", "N/A": "not applicable", "eg": "for example", "etc": "et cetera",
    "PhD": "P-H-D", "a.m": "A-M", "p.m": "P-M", "b/c": "because",
}  # fmt: skip
STREETS = {"St": "Street", "Ave": "Avenue", "Rd": "Road", "Blvd": "Boulevard"}

COUNTED = (
    "Chapter|chapter|Part|part|Volume|volume|Act|act|Phase|phase|Section|section|World War|Type|type|Appendix|Level"
    "|Title|Book"
)
ROYAL = frozenset(
    "Henry Elizabeth George Charles Edward James Louis William Richard Mary Philip Francis Benedict Pius Leo Paul "  # noqa: SIM905
    "Catherine Frederick Napoleon Alexander Nicholas Ferdinand Alfonso Felipe Victoria Gregory Clement Peter".split()
)
