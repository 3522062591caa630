"""Words of both languages, without their accents: what is an operator, what is a unit, and what says nothing."""

from __future__ import annotations

# Phrase → operator of `grammar`. Longest first when read. "" says nothing to a calculation.
_PHRASES = {
    "+": "plus, mas, sumado a, added to",
    "-": "minus, menos, restado",
    "*": "times, por, multiplied by, multiplicado por, x, veces",
    "/": "divided by, over, per, dividido por, dividido entre, dividido",
    "//": "div",
    "mod": "mod, modulo, modulus",
    "^": "to the power of, to the power, raised to the power of, raised to, elevado a la, elevado a",
    "squared": "squared, al cuadrado",
    "cubed": "cubed, al cubo",
    "%": "percent, per cent, por ciento, porciento",
    "of": "of, de, del, of the, de los, de las, de la",
    "off": "off, de descuento de, de descuento en, de descuento sobre",
    "and": "and, y",
    "to": "to, into, in, en, a, as, expressed in, expresado en, hasta",
    "between": "between, from, desde",
    "entre": "entre",
    "until": "until, till, left until, hasta el, que faltan para, faltan para, para",
    "since": "since, have passed since, desde el, han pasado desde",
    "after": "after, despues de, despues del, desde hoy mas",
    "before": "before, antes de, antes del",
    "ago": "ago, atras",
    "from now": "from now, from today, a partir de hoy",
    "in time": "dentro de",
    "hace": "hace",
    "weekday": "weekday of, weekday on, weekday for, day of the week of, day of the week on, day of week of, "
    "what day of the week is, what day of the week was, what day of the week will be, what day is, what day was, "
    "what weekday is, what weekday was, which weekday is, dia de la semana de, dia de la semana del, "
    "que dia de la semana es, que dia de la semana fue, que dia de la semana sera, que dia de la semana cae, "
    "que dia de la semana es el, que dia es, que dia fue, que dia sera, que dia cae, que dia es el, que dia cae el",
    "what percent": "what percent, what percentage, que porcentaje, que tanto por ciento",
    "how many": "how many, how much, cuantos, cuantas, cuanto, a cuantos, a cuantas",
    "is": "is, are, are in, are there, are there in, is in, equals, son, es, "
    "equivale a, equivalen a, hay en, hay, tiene, tienen",
    "degC": "degrees celsius, degree celsius, degrees c, deg c, grados celsius, grado celsius, grados centigrados, "
    "centigrados, grados c, celsius, c",
    "degF": "degrees fahrenheit, degree fahrenheit, degrees f, deg f, grados fahrenheit, grado fahrenheit, grados f, "
    "fahrenheit, f",
    "": "what is the result of, what is the value of, what is, whats, cuanto es, cuanto son, cuanto vale, cual es, "
    "cual es el resultado de, el resultado de, result of, the result of, calculate, compute, evaluate, calcula, "
    "calcular, calculame, dime, tell me, convert, convierte, convertir, por favor, please, the, el, la, los, las, "
    "an, un, una, unos, unas, number of, numero de, equals to",
}
PHRASES: dict[tuple[str, ...], str] = {
    tuple(phrase.strip().split()): meaning for meaning, listed in _PHRASES.items() for phrase in listed.split(",")
}
LONGEST_PHRASE = max(len(phrase) for phrase in PHRASES)

FUNCTION_WORDS = {
    "sqrt": "sqrt", "square root": "sqrt", "raiz cuadrada": "sqrt", "raiz": "sqrt", "cbrt": "cbrt",
    "cube root": "cbrt", "raiz cubica": "cbrt", "abs": "abs", "absolute value": "abs", "valor absoluto": "abs",
    "round": "round", "redondear": "round", "redondea": "round", "floor": "floor", "ceil": "ceil", "trunc": "trunc",
    "min": "min", "minimum": "min", "minimo": "min", "max": "max", "maximum": "max", "maximo": "max",
    "sum": "sum", "suma": "sum", "product": "product", "producto": "product", "mean": "mean", "average": "mean",
    "media": "mean", "promedio": "mean", "median": "median", "mediana": "median", "factorial": "factorial",
    "gcd": "gcd", "mcd": "gcd", "lcm": "lcm", "mcm": "lcm", "comb": "comb", "binomial": "comb", "perm": "perm",
    "pow": "pow", "mod": "mod", "exp": "exp", "log": "log", "ln": "ln", "log10": "log10", "log2": "log2",
    "sin": "sin", "sen": "sin", "cos": "cos", "tan": "tan", "asin": "asin", "arcsin": "asin", "acos": "acos",
    "arccos": "acos", "atan": "atan", "arctan": "atan", "sinh": "sinh", "cosh": "cosh", "tanh": "tanh",
    "hypot": "hypot", "frac": "frac", "date": "date", "weekday": "weekday",
}  # fmt: skip
FUNCTION_PHRASES = {tuple(phrase.split()): name for phrase, name in FUNCTION_WORDS.items()}

NUMBER_WORDS = {
    word: number
    for number, words in enumerate(
        "zero cero,uno,two dos,three tres,four cuatro,five cinco,six seis,seven siete,eight ocho,nine nueve,ten diez,"  # noqa: SIM905
        "eleven once,twelve doce,thirteen trece,fourteen catorce,fifteen quince,sixteen dieciseis,"
        "seventeen diecisiete,eighteen dieciocho,nineteen diecinueve,twenty veinte".split(",")
    )
    for word in words.split()
} | {"one": 1, "thirty": 30, "treinta": 30, "forty": 40, "cuarenta": 40, "fifty": 50, "cincuenta": 50, "sixty": 60,
     "sesenta": 60, "seventy": 70, "setenta": 70, "eighty": 80, "ochenta": 80, "ninety": 90, "noventa": 90,
     "hundred": 100, "cien": 100, "ciento": 100, "thousand": 1000, "mil": 1000}  # fmt: skip
SCALES = {"thousand": 10**3, "mil": 10**3, "million": 10**6, "millions": 10**6, "millon": 10**6, "millones": 10**6,
          "billion": 10**9, "billions": 10**9, "trillion": 10**12, "hundred": 100}  # fmt: skip

MONTHS = {
    name: number
    for number, names in enumerate(
        "january jan enero,february feb febrero,march mar marzo,april apr abril,may mayo,june jun junio,"  # noqa: SIM905
        "july jul julio,august aug agosto,september sep sept septiembre setiembre,october oct octubre,"
        "november nov noviembre,december dec diciembre".split(","),
        1,
    )
    for name in names.split()
}
DAY_WORDS = {"today": 0, "hoy": 0, "tomorrow": 1, "manana": 1, "yesterday": -1, "ayer": -1, "now": 0, "ahora": 0}

_UNITS = {
    "meter": "metro metros metre metres meters mts",
    "kilometer": "kilometro kilometros kilometre kilometres kms KM Km",
    "centimeter": "centimetro centimetros cms",
    "millimeter": "milimetro milimetros",
    "mile": "milla millas miles mi",
    "nautical_mile": "nmi",
    "yard": "yarda yardas",
    "foot": "pie pies feet",
    "inch": "pulgada pulgadas inches",
    "gram": "gramo gramos gr grs",
    "kilogram": "kilo kilos kilogramo kilogramos kgs KG Kg",
    "milligram": "miligramo miligramos",
    "metric_ton": "tonelada toneladas tonne tonnes",
    "pound": "libra libras lbs",
    "ounce": "onza onzas",
    "liter": "litro litros litre litres",
    "milliliter": "mililitro mililitros",
    "gallon": "galon galones",
    "second": "segundo segundos seg secs sec",
    "minute": "minuto minutos mins",
    "hour": "hora horas hrs hr",
    "day": "dia dias",
    "week": "semana semanas wk wks",
    "month": "mes meses",
    "year": "ano anos yr yrs",
    "decade": "decada decadas",
    "century": "siglo siglos",
    "hectare": "hectarea hectareas",
    "kilowatt": "kilovatio kilovatios",
    "watt": "vatio vatios",
    "kilowatt_hour": "kwh",
    "joule": "julio julios",
    "calorie": "caloria calorias",
    "kilocalorie": "kilocaloria kilocalorias",
    "kilometer_per_hour": "kmh kmph",
    "knot": "nudo nudos",
    "kelvin": "kelvins",
    "degree": "grado grados °",
    "radian": "radian radianes rad",
    "degree_Celsius": "°C °c degC",
    "degree_Fahrenheit": "°F °f degF",
    "euro": "€ EUR eur euro euros",
    "dollar": "$ USD usd dolar dolares dollar dollars",
    "pound_sterling": "£ GBP gbp",
    "byte": "octeto octetos",
    "cup": "taza tazas",
    "teaspoon": "cucharadita cucharaditas",
    "tablespoon": "cucharada cucharadas",
}
UNIT_WORDS = {word: unit for unit, words in _UNITS.items() for word in words.split()}
