"""What signs, units, letters and abbreviations are called in Spanish. Data alone."""

from __future__ import annotations

from typing import NamedTuple


class Unit(NamedTuple):
    one: str
    many: str
    feminine: bool = False


class Money(NamedTuple):
    one: str
    many: str
    cent: str
    cents: str
    feminine: bool = False


SIGNS = {
    ".": "punto", "/": "barra", "@": "arroba", "%": "por ciento", "‰": "por mil", "&": "y", "+": "más", "++": "más más",
    "*": "por", "×": "por", "÷": "entre", "=": "igual a", "==": "igual a", "≠": "distinto de", "<": "menor que",
    ">": "mayor que", "≤": "menor o igual que", "≥": "mayor o igual que", "≈": "aproximadamente",
    "~": "aproximadamente",
    "±": "más menos", "√": "raíz de", "∞": "infinito", "^": "elevado a", "²": "al cuadrado", "³": "al cubo",
    "§": "sección", "°": "grados", "€": "euros", "$": "dólares", "£": "libras", "¥": "yenes", "¢": "centavos",
    "#": "número", "♯": "sharp", "minus": "menos", "k": "mil", "point": "punto", "to": "a", "and": "y",
    "version": "versión", "port": "puerto",
    "hashtag": "etiqueta", "code": "código omitido", "digits": "número de {} cifras",
}  # fmt: skip

LETTERS = {
    "a": "a", "b": "be", "c": "ce", "d": "de", "e": "e", "f": "efe", "g": "ge", "h": "hache", "i": "i", "j": "jota",
    "k": "ka", "l": "ele", "m": "eme", "n": "ene", "ñ": "eñe", "o": "o", "p": "pe", "q": "cu", "r": "erre", "s": "ese",
    "t": "te", "u": "u", "v": "uve", "w": "uve doble", "x": "equis", "y": "i griega", "z": "zeta",
    "á": "a", "é": "e", "í": "i", "ó": "o", "ú": "u",
}  # fmt: skip

SAID_AS_WORDS = frozenset(
    "ONU OTAN NASA UNESCO UNICEF FIFA UEFA IVA AVE RAE ESO RAM ROM LED SIM PIN OVNI ERE ERTE NIE IBAN BIC COVID SIDA "  # noqa: SIM905
    "RENFE OPEP PYME PYMES APA IKEA SEAT USA JSON SAP YAML LAN WAN WIFI TAC PET UCI UVI TALGO FUNDEU INE MIR TIC "
    "NO SÍ SI YA MUY HOY MÁS TODO TODOS NADA NUNCA SIEMPRE SOLO SON EL LA LOS LAS UN UNA DE EN POR PARA CON SIN QUE "
    "ALSA AENA BOE GIF JAVA BASIC LASER RADAR CAPTCHA SONAR".split()
)  # fmt: skip

FRACTION_SIGNS = {
    "½": "un medio", "⅓": "un tercio", "⅔": "dos tercios", "¼": "un cuarto", "¾": "tres cuartos", "⅕": "un quinto",
    "⅛": "un octavo", "⅜": "tres octavos", "⅝": "cinco octavos", "⅞": "siete octavos",
}  # fmt: skip

GREEK = {
    "α": "alfa", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "épsilon", "η": "eta", "θ": "theta", "λ": "lambda",
    "μ": "mu", "π": "pi", "ρ": "ro", "σ": "sigma", "τ": "tau", "φ": "fi", "χ": "ji", "ψ": "psi", "ω": "omega",
}  # fmt: skip

SHORT_MONTHS = {
    "ene": "enero", "feb": "febrero", "mar": "marzo", "abr": "abril", "may": "mayo", "jun": "junio", "jul": "julio",
    "ago": "agosto", "sept": "septiembre", "sep": "septiembre", "set": "septiembre", "oct": "octubre",
    "nov": "noviembre", "dic": "diciembre",
}  # fmt: skip

_EURO = Money("euro", "euros", "céntimo", "céntimos")
_DOLLAR = Money("dólar", "dólares", "centavo", "centavos")
_POUND = Money("libra", "libras", "penique", "peniques", feminine=True)
_YEN = Money("yen", "yenes", "sen", "sen")
CURRENCIES = {
    "€": _EURO, "EUR": _EURO, "$": _DOLLAR, "US$": _DOLLAR, "USD": _DOLLAR, "£": _POUND, "GBP": _POUND, "¥": _YEN,
    "JPY": _YEN, "MXN": Money("peso mexicano", "pesos mexicanos", "centavo", "centavos"),
    "ARS": Money("peso argentino", "pesos argentinos", "centavo", "centavos"),
    "COP": Money("peso colombiano", "pesos colombianos", "centavo", "centavos"),
    "CLP": Money("peso chileno", "pesos chilenos", "centavo", "centavos"),
    "CHF": Money("franco suizo", "francos suizos", "céntimo", "céntimos"),
}  # fmt: skip

UNITS = {
    "km/h": Unit("kilómetro por hora", "kilómetros por hora"), "m/s": Unit("metro por segundo", "metros por segundo"),
    "km": Unit("kilómetro", "kilómetros"), "m": Unit("metro", "metros"), "cm": Unit("centímetro", "centímetros"),
    "mm": Unit("milímetro", "milímetros"), "μm": Unit("micrómetro", "micrómetros"),
    "nm": Unit("nanómetro", "nanómetros"),
    "km²": Unit("kilómetro cuadrado", "kilómetros cuadrados"), "km2": Unit("kilómetro cuadrado",
    "kilómetros cuadrados"),
    "m²": Unit("metro cuadrado", "metros cuadrados"), "m2": Unit("metro cuadrado", "metros cuadrados"),
    "cm²": Unit("centímetro cuadrado", "centímetros cuadrados"), "m³": Unit("metro cúbico", "metros cúbicos"),
    "m3": Unit("metro cúbico", "metros cúbicos"), "cm³": Unit("centímetro cúbico", "centímetros cúbicos"),
    "ha": Unit("hectárea", "hectáreas", feminine=True),
    "kg": Unit("kilo", "kilos"), "Kg": Unit("kilo", "kilos"), "g": Unit("gramo", "gramos"), "gr": Unit("gramo",
    "gramos"),
    "mg": Unit("miligramo", "miligramos"), "t": Unit("tonelada", "toneladas", feminine=True),
    "l": Unit("litro", "litros"), "L": Unit("litro", "litros"), "ml": Unit("mililitro", "mililitros"),
    "mL": Unit("mililitro", "mililitros"), "cl": Unit("centilitro", "centilitros"),
    "°C": Unit("grado Celsius", "grados Celsius"), "ºC": Unit("grado Celsius", "grados Celsius"),
    "° C": Unit("grado Celsius", "grados Celsius"), "º C": Unit("grado Celsius", "grados Celsius"),
    "°F": Unit("grado Fahrenheit", "grados Fahrenheit"), "ºF": Unit("grado Fahrenheit", "grados Fahrenheit"),
    "°": Unit("grado", "grados"),
    "KB": Unit("kilobyte", "kilobytes"), "kB": Unit("kilobyte", "kilobytes"), "MB": Unit("megabyte", "megabytes"),
    "GB": Unit("gigabyte", "gigabytes"), "TB": Unit("terabyte", "terabytes"), "KiB": Unit("kibibyte", "kibibytes"),
    "MiB": Unit("mebibyte", "mebibytes"), "GiB": Unit("gibibyte", "gibibytes"),
    "Mbps": Unit("megabit por segundo", "megabits por segundo"), "Gbps": Unit("gigabit por segundo",
    "gigabits por segundo"),
    "MB/s": Unit("megabyte por segundo", "megabytes por segundo"), "Hz": Unit("hercio", "hercios"),
    "kHz": Unit("kilohercio", "kilohercios"), "MHz": Unit("megahercio", "megahercios"),
    "GHz": Unit("gigahercio", "gigahercios"), "W": Unit("vatio", "vatios"), "kW": Unit("kilovatio", "kilovatios"),
    "kWh": Unit("kilovatio hora", "kilovatios hora"), "V": Unit("voltio", "voltios"),
    "mAh": Unit("miliamperio hora", "miliamperios hora"),
    "dB": Unit("decibelio", "decibelios"), "kcal": Unit("kilocaloría", "kilocalorías", feminine=True),
    "px": Unit("píxel", "píxeles"), "dpi": Unit("punto por pulgada", "puntos por pulgada"),
    "h": Unit("hora", "horas", feminine=True), "hs": Unit("hora", "horas", feminine=True),
    "hrs": Unit("hora", "horas", feminine=True), "min": Unit("minuto", "minutos"), "s": Unit("segundo", "segundos"),
    "seg": Unit("segundo", "segundos"), "ms": Unit("milisegundo", "milisegundos"),
}  # fmt: skip

PRICED = {
    "h": " por hora", "hora": " por hora", "día": " al día", "mes": " al mes", "año": " al año", "kg": " por kilo",
    "m²": " por metro cuadrado", "persona": " por persona", "noche": " por noche", "l": " por litro",
    "kWh": " por kilovatio hora",
}  # fmt: skip

BEFORE_NUMBERS = {
    "n": "número", "núm": "número", "num": "número", "": "número", "pág": "página", "págs": "páginas", "p": "página",
    "pp": "páginas", "art": "artículo", "arts": "artículos", "cap": "capítulo", "fig": "figura", "vol": "volumen",
    "tel": "teléfono", "ext": "extensión",
}  # fmt: skip

# By their letters in lower case, without the last dot.
ABBREVIATIONS = {
    "sr": "señor", "sra": "señora", "srta": "señorita", "sres": "señores", "sras": "señoras", "dr": "doctor",
    "dra": "doctora", "dres": "doctores", "d.ª": "doña", "dª": "doña", "dña": "doña", "prof": "profesor",
    "profa": "profesora", "lic": "licenciado", "arq": "arquitecto", "ud": "usted", "uds": "ustedes", "vd": "usted",
    "vds": "ustedes", "etc": "etcétera", "p. ej": "por ejemplo", "p.ej": "por ejemplo", "p. e": "por ejemplo",
    "ee. uu": "Estados Unidos", "ee.uu": "Estados Unidos", "ee uu": "Estados Unidos", "eeuu": "Estados Unidos",
    "jj. oo": "Juegos Olímpicos", "rr. hh": "recursos humanos", "rrhh": "recursos humanos", "rr.hh": "recursos humanos",
    "avda": "avenida", "av": "avenida", "pza": "plaza", "plza": "plaza", "ctra": "carretera", "c/": "calle",
    "pág": "página", "págs": "páginas", "núm": "número", "nro": "número", "tel": "teléfono", "tfno": "teléfono",
    "tlf": "teléfono", "aprox": "aproximadamente", "máx": "máximo", "mín": "mínimo", "dpto": "departamento",
    "depto": "departamento", "cía": "compañía", "s. a": "ese a", "s.a": "ese a", "s. l": "ese ele", "s.l": "ese ele",
    "a. c": "antes de Cristo", "a.c": "antes de Cristo", "d. c": "después de Cristo", "d.c": "después de Cristo",
    "vs": "contra", "e.g": "por ejemplo", "i.e": "es decir", "p. d": "posdata", "p.d": "posdata", "dcha": "derecha",
    "izda": "izquierda", "izq": "izquierda", "sto": "santo", "sta": "santa", "gral": "general", "ppal": "principal",
    "n.º": "número", "nº": "número", "ntra": "nuestra", "ilmo": "ilustrísimo", "excmo": "excelentísimo",
    "a. m": "de la mañana", "a.m": "de la mañana", "p. m": "de la tarde", "p.m": "de la tarde", "y/o": "y o",
    "c.c": "con copia", "cta": "cuenta", "ref": "referencia", "admón": "administración", "atte": "atentamente",
    "km/h": "kilómetros por hora", "s/n": "sin número", "ok": "okey",
}  # fmt: skip

COUNTED = (
    "siglo|s\\.|capítulo|cap\\.|tomo|volumen|acto|fase|título|parte|nivel|tipo|guerra mundial|anexo|apéndice|sección"
)
ROYAL = frozenset(
    "Felipe Carlos Alfonso Fernando Isabel Pío Benedicto Pablo León Enrique Luis Jorge Pedro Jaime Napoleón Francisco "  # noqa: SIM905
    "Sancho Ramiro Guillermo Eduardo Federico Catalina Margarita Sixto Clemente Gregorio Inocencio "
    "Urbano Nicolás".split()
)
QUEENS = frozenset(["Isabel", "Catalina", "Margarita"])
NUMBERED_EVENTS = frozenset(
    "guerra congreso edición jornadas jornada premio premios concurso feria festival encuentro semana república "  # noqa: SIM905
    "internacional cumbre plan convenio simposio seminario foro maratón torneo campeonato copa certamen bienal".split()
)

# Words that are no noun to be counted, though they follow a number.
NO_NOUNS = frozenset(
    "a al de del y e o u en por para con sin que es son era fue está están hay no si se más menos entre el la los las "  # noqa: SIM905
    "igual a mil millones millón coma punto como pero ya ni según desde hasta sobre ante tras durante mediante".split()
)
MASCULINE = frozenset(
    "día días problema problemas sistema sistemas programa programas tema temas idioma idiomas mapa mapas planeta "  # noqa: SIM905
    "planetas diagrama diagramas clima esquema esquemas poema poemas turista turistas artista artistas kilos".split()
)
FEMININE = frozenset(
    "veces vez mujeres mujer noches noche tardes tarde clases clase calles calle llaves llave partes parte imágenes "  # noqa: SIM905
    "imagen órdenes orden manos mano fotos foto motos moto redes red leyes ley claves clave fases fase series serie "
    "bases base sedes sede frases frase variables variable peticiones lecciones".split()
)

ORDINALS = (
    "primero segundo tercero cuarto quinto sexto séptimo octavo noveno décimo undécimo duodécimo decimotercero "  # noqa: SIM905
    "decimocuarto decimoquinto decimosexto decimoséptimo decimoctavo decimonoveno".split()
)
TENTHS = (
    "vigésimo trigésimo cuadragésimo quincuagésimo sexagésimo septuagésimo octogésimo nonagésimo".split()  # noqa: SIM905
)
PARTS = "medio tercio cuarto quinto sexto séptimo octavo noveno décimo".split()  # noqa: SIM905
