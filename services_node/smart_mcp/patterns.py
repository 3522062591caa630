"""The words and shapes that questions are looked through for, in Spanish and English, as folded text has them."""

from __future__ import annotations

import re
from collections.abc import Callable


def any_of(*patterns: str) -> Callable[[str], bool]:
    """Whether a text has one of them."""
    compiled = re.compile("|".join(f"(?:{pattern})" for pattern in patterns))
    return lambda text: compiled.search(text) is not None


RUN_ID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
ADDRESS = re.compile(r"https?://\S+|\bwww\.[a-z0-9-]+\.\S+")
_TOP = r"com|org|net|io|dev|edu|gov|eu|es|uk|de|fr|mx|ar|co|ai|app|info|example"
BARE_ADDRESS = re.compile(rf"(?<![@\w.-])(?:[a-z0-9-]+\.)+(?:{_TOP})(?:/\S*)?(?![\w-])")

MONTH = (
    r"(?:enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|setiembre|octubre|noviembre|diciembre|january|"
    r"february|march|april|may|june|july|august|september|october|november|december)"
)
DATE = re.compile(
    r"\d{4}-\d{2}-\d{2}|\b\d{1,2}/\d{1,2}/\d{2,4}\b|"
    rf"\d{{1,2}}(?:st|nd|rd|th)?(?: de| of)? {MONTH}|{MONTH} \d{{1,2}}"
)
DAY = (
    r"(?:lunes|martes|miercoles|jueves|viernes|sabado|domingo|monday|tuesday|wednesday|thursday|friday|saturday|sunday)"
)
FEAST = (
    r"(?:navidad|nochevieja|fin de ano|ano nuevo|reyes|semana santa|verano|medianoche|halloween|christmas|new year|"
    r"easter|midnight|noon|summer|the weekend|fin de semana)"
)
NUMBER = re.compile(
    r"\d+(?:[.,]\d+)*|\b(?:dos|tres|cuatro|cinco|seis|siete|ocho|nueve|diez|two|three|four|five|six|seven|eight|nine|ten)\b"
)
UNITS = (
    r"(?:km|kilometros?|kilometers?|millas?|miles?|metros?|meters?|cm|centimetros?|centimeters?|mm|inches|inch|"
    r"pulgadas?|feet|foot|pies|yards?|yardas?|kilos?|kg|kilogramos?|kilograms?|gramos?|grams?|g|lbs?|pounds?|libras?|"
    r"onzas?|ounces?|oz|litros?|liters?|litres?|ml|gal(?:ones|lons?)|tazas?|cups?|celsius|fahrenheit|kelvin|grados|"
    r"degrees|segundos?|seconds?|minutos?|minutes?|horas?|hours?|dias?|days?|semanas?|weeks?|hectareas?|acres?|kw?h|"
    r"km/h|mph|nudos|knots|joules?|calorias?|calories|[kmgt]i?b|bytes?|bits?|psi|bar|pascales|pascals?)"
)
_MONEY = r"(?:€|\$|£|euros?|dolares|dollars?|pesos|libras|pounds|eur|usd)"

# --- arithmetic ---
operation = any_of(
    r"\d\)?\s*[*+×÷^]\s*[-(]?\d", r"\d\)?\s+[-/x]\s+\(?\d", r"\d\)\s*[-/]\s*\(?\d", r"\d\s*\*\*\s*\d", r"\d\s*!(?!\w)",
    r"(?<![\d/])(?!24/7)\d+\s*/\s*\d+(?![\d/])", r"\b(?:sqrt|log\d*|ln|sin|cos|tan|exp)\s*\(",
)  # fmt: skip
reckoning_words = any_of(
    r"\braiz (?:cuadrada|cubica)\b", r"\b(?:square|cube) root\b", r"\belevad[oa] (?:a|al)\b", r"\bto the power\b",
    r"\bfactorial\b", r"\blog(?:aritmo)? (?:base|en base|natural)\b", r"\bsquared\b", r"\bcubed\b", r"\bal cuadrado\b",
    r"\bmultiplic\w+", r"\bmultipl(?:y|ied)\b", r"\bdivid\w+", r"\bsum(?:a|ame|an|ar|as|en)\b",
    r"\brest(?:a|ar|ale|ame)\b", r"\badd (?:up|together)\b", r"\bsubtract\b", r"\bsplit\b", r"\bsum of\b",
    r"\b\d\S* (?:times|plus|minus|por|mas|menos|entre) \d", r"\bmitad de\b", r"\bhalf of\b", r"\b(?:doble|triple) de\b",
    r"\b(?:media|promedio|average|mean) (?:de|of)\b", r"\bcalcul\w+", r"\bwork out\b", r"\bcompute\b", r"\btotal\b",
    r"\bround\w*\b", r"\bredonde\w+", r"\brepart(?:e|ir|imos)\b.*\bentre\b",
)  # fmt: skip
percent = any_of(r"\d\s*(?:%|por ciento\b|percent\b|per cent\b)", r"\bporcentaje\b", r"\bwhat percent\w*\b")
money_matters = any_of(
    r"\bintere(?:s|ses|st)\b", r"\bdescuent\w+", r"\bdiscount\b", r"\btip\b", r"\bpropina\b", r"\b(?:iva|vat)\b",
    r"\bsueldo\b", r"\bsalar\w+", r"\bpay(?:ment)?\b", r"\bpag(?:o|a|as|ar)\b", r"\bcuesta\w*", r"\bcosts?\b",
    r"\bgast\w+", r"\bspen[dt]\w*", r"\bprestamo\b", r"\bloan\b", r"\bmortgage\b", r"\bhipoteca\b",
)  # fmt: skip
quantity = any_of(
    r"\bcuant[oa]s?\b", r"\bhow (?:much|many|long|far|fast|old|tall)\b", r"\bque (?:porcentaje|parte|proporcion)\b"
)
measure = any_of(rf"\d\s*{UNITS}\b")
to_unit = any_of(
    rf"\b(?:a|en|to|in|into|son|are) {UNITS}\b", rf"\bcuant[oa]s {UNITS}\b", rf"\bhow many {UNITS}\b", r"\bconvert\w*",
    r"\bconviert\w+", r"\bequival\w+",
)  # fmt: skip
money = any_of(rf"{_MONEY}\s?\d", rf"\d\s?{_MONEY}(?!\w)")
wants_result = any_of(
    r"\?",
    r"\b(?:dime|tell me|find|calcul\w*|work out)\b",
    r"\b(?:interes|interest|tip|descuento|discount|off|iva|vat)\b",
)
rate = any_of(
    r"\b(?:al|per|a|por|cada|/) ?(?:mes|ano|dia|semana|hora|month|year|yr|day|week|hour|mo)\b", r"\b(?:mph|km/h|m/s)\b",
    r"\d\s?mil\b",
)  # fmt: skip
_ASKED = r"\b(?:que|cual|cuanto|which|whats?|how much|how many|when|should)\b"
weighed = any_of(
    rf"\?|{_ASKED}.*\b(?:sale|deb[ea]|conviene|combiene|mejor|vender|pago|elijo|probabilidad)\b",
    rf"{_ASKED}.*\b(?:worth|better|cheaper|odds|chance|probability|meet|expected|add|choose|take)\b",
    r"\b(?:hazme|echame) (?:las )?cuentas\b",
    r"\b(?:work out|show the maths?|do the maths?)\b",
)
_SPANS = r"(?:dias|semanas|meses|anos|days|weeks|months|years)"
span = any_of(rf"\b(?:{_SPANS}|tiempo|long)\b")
days_from = any_of(r"\b\d+ (?:dia|seman|mes|ano|day|week|month|year)")

# --- code ---
run_verb = any_of(
    r"\b(?:ejecut\w+|corr(?:e|er|elo)|prueb\w+|prob(?:ar|ad)\w*|lanz\w+|comprueb\w+)\b",
    r"\b(?:run|execut\w+|test|try out|evaluate)\b",
    r"\b(?:usa|usando|utiliza\w*) python\b",
    r"\b(?:use|using) python to\b",
)
code_noun = any_of(
    r"\bcodigo\b", r"\bcode\b", r"\bscripts?\b", r"\bsnippet\b", r"\bpython\b", r"\bjavascript\b", r"\bbash\b",
    r"\bprogram(?:a|s)?\b", r"\bfuncion\b", r"\bfunction\b", r"\bnotebook\b", r"\bregex\b",
    r"\bregular expression\b", r"\bexpresion regular\b",
)  # fmt: skip
outcome = any_of(
    r"\bque (?:imprime|devuelve|salida|muestra|resultado)\b", r"\b(?:salida|output)\b", r"\b(?:falla|fallo|crash\w*)\b",
    r"\bwhat (?:does|will|would) (?:this|it|the)\b.*\b(?:print|return|output|do)\b",
)  # fmt: skip
plot = any_of(
    r"\b(?:dibuj|grafic|traz)\w*\b", r"\b(?:plot|chart|graph|histogram|scatter)\w*\b",
    r"\bdiagrama de (?:barras|caja|dispersion)\b",
)  # fmt: skip
data_work = any_of(
    r"\b(?:carg|le[ae]|anali[zc]|orden|filtr|convier|agrup|cuent|limpi|resum|transform|sum|calcul)\w*\b",
    r"\b(?:load|read|analy[sz]e|sort|filter|convert|group|count|clean|merge|compute|parse|run|tell|show|summari[sz]e)\b",
    r"\b(?:grafico|plot|chart|correlat\w+|media|mean|average|mediana|median)\b",
)
heavy = any_of(
    r"\bsimul\w+", r"\bmonte ?carlo\b", r"\bregresion\b", r"\bregression\b", r"\bcorrelac\w+", r"\bfractal\b",
    r"\b(?:primer[oa]s|first) \d+ (?:\w+ ){0,2}(?:primos?|primes?|fibonacci|terminos|terms|numer?os|numbers|digits)\b",
    r"\b(?:gener|make|crea|produc)\w* (?:me )?(?:an? |una? )?(?:png|svg|csv|excel|xlsx|pdf|zip|json|image|imagen)\b",
    r"\bduplicados\b", r"\bduplicates\b", r"\bword count\b", r"\b(?:with a|con un) script\b",
)  # fmt: skip

# --- the clock ---
clock = any_of(
    r"\bque hora (?:es|son|tien\w+|sera)\b(?! (?:una? )?(?:buen|mala|mejor))", r"\bhora actual\b",
    r"\bfecha (?:de hoy|actual|de manana|de ayer)\b", r"\bque (?:dia|fecha|mes|ano) (?:es|sera|fue|estamos)\b",
    r"\ba (?:que|cuantos) (?:fecha |dia )?estamos\b", r"\bque dia de la semana\b",
    r"\ben que (?:semana|mes|ano|dia|fecha) (?:del ano |del mes )?estamos\b",
    r"\bwhat(?:'s| is| was| will be)?(?: the)? (?:time|date|day)\b(?! of day)(?: is it| now| today| next| in | of the "
    r"week|\W*$)",
    r"\b(?:current|local) (?:time|date)\b", r"\b(?:today|yesterday|tomorrow)'?s date\b", r"\btell me the time\b",
    r"\btime (?:is it )?in [a-z ]+ (?:right )?now\b", r"\bwhat time is it\b",
    r"\b(?:what|which) (?:day|month|year|week) (?:is it|is this|are we|of the week)\b",
    rf"\b(?:faltan?|quedan?) (?:para|hasta)\b.*\b(?:{FEAST}|{DAY}|{MONTH}|\d)",
    rf"\b(?:cuanto|cuantos dias) (?:falta|queda)n?\b.*\b(?:{FEAST}|{DAY}|{MONTH})",
    rf"\b(?:how (?:many \w+|long)|time) (?:left )?until\b.*\b(?:{FEAST}|{DAY}|{MONTH}|\d)",
    rf"\b(?:es|is it|is today|hoy es) (?:ya |already |still |todavia )?{DAY}\b", r"\bis it (?:already|still|now)\b",
    r"\bbusiness hours\b", r"\bya es de (?:noche|dia|madrugada)\b", rf"\bdate\b.*\bnext {DAY}",
    rf"\b(?:fecha|dia)\b.*\b(?:proximo|siguiente|que viene)\b.*{DAY}", rf"\bnext {DAY}\b.*\bdate\b",
    r"\b(?:hasta|desde|since|until|till|from|to) (?:hoy|today|ahora|now)\b", r"\bwith today'?s date\b",
    r"\bhow old (?:am|is|are) .*\b(?:today|now|born)\b", r"\bcuantos anos (?:tengo|tiene)\b.*\bnaci\w+",
)  # fmt: skip
clock_perhaps = any_of(
    r"\b(?:hora|time)\b.*\b(?:ahora|now)\b", r"\bahora mismo\b", r"\bright now\b", r"\btoday\b", r"\bhoy\b"
)

# --- pages ---
page_words = any_of(
    r"\b(?:abre|abrir|entra|entrar|visit\w+|mira|lee|leer|resum\w+|descarg\w+|extra\w+|traduc\w+|consult\w+|compar\w+)\b",
    r"\b(?:open|visit|read|fetch|check|summari[sz]e|download|grab|browse|look at|get|translate|scrape|extract|list)\b",
    r"\b(?:pagina|web|sitio|enlace|link|page|site|website|url|direccion|articulo|article)\b",
)

# --- what was said before ---
_SAID = (
    r"(?:hablamos|hablado|discutimos|comentamos|dijiste|dije|dijimos|mencion\w+|decidimos|acordamos|diste|recomendaste|"
    r"explicaste|pasaste|contaste|conte|pase|ensenaste|propusiste)"
)
_SAID_EN = (
    r"(?:discuss(?:ed)?|talk(?:ed)?|told|tell|said|say|mention(?:ed)?|spoken?|speak|decide[d]?|agreed?|gave|recommended|"
    r"suggested|explained|asked)"
)
_BEFORE = (
    r"(?:ayer|anteayer|anterior\w*|la ultima vez|el otro dia|hace (?:una?|unos|unas|dos|tres|tiempo|dias|poco)|"
    r"(?:semana|mes|ano) pasad[oa]|antes|yesterday|last (?:week|month|year|time|monday|tuesday|wednesday|thursday|"
    r"friday)|earlier|previous\w*|before|ago|the other day|past|ever)"
)
_TO_YOU = r"(?:te|me|nos|que|hemos|habiamos|donde|cuando) (?:lo |la |los |las )?"
_TALKS = r"(?:chats?|conversations?|conversaci\w+)"
said_before = any_of(
    r"\b(?:conversacion(?:es)?|chats?|charlas?)\b.{0,40}\b(?:anterior\w*|pasad\w+|viej\w+|previ\w+|donde)\b",
    r"\b(?:conversacion(?:es)?|chats?|charlas?) en (?:el|la) que\b",
    rf"\b(?:nuestras|mis|our|my|past|previous|old|earlier) (?:\w+ )?(?:{_TALKS}|history|historial)\b",
    r"\b(?:en|in|through|por) (?:el|mi|nuestro|our|my|the) (?:historial|history)\b",
    rf"\b(?:find|search|look|locate|which|pull up)\b.{{0,30}}\b(?:{_TALKS}|thread|history)\b",
    rf"\b(?:busca\w*|encuentra|localiza)\b.{{0,30}}\b(?:{_TALKS}|historial|hilo)\b",
    rf"\b{_TO_YOU}{_SAID}\b.{{0,60}}\b{_BEFORE}\b", rf"\b{_BEFORE}\b.{{0,30}}\b{_TO_YOU}{_SAID}\b",
    rf"\b(?:we|you)\b.{{0,25}}\b{_SAID_EN}\b.{{0,60}}\b{_BEFORE}\b",
    rf"\b{_BEFORE}\b.{{0,30}}\b(?:we|you)\b.{{0,25}}\b{_SAID_EN}\b",
    rf"\bi (?:told|gave|asked|mentioned|said|sent) (?:it |that |this )?(?:to )?you\b.{{0,60}}\b{_BEFORE}\b",
    rf"\b{_BEFORE}\b.{{0,30}}\bi (?:told|gave|asked|sent) you\b", r"\b(?:which|what) conversation\b",
    r"\b(?:hemos|habiamos) (?:hablado|discutido|comentado)\b", r"\bhave we (?:ever )?(?:talked|discussed|spoken)\b",
    rf"\b(?:recuerdas|te acuerdas|recuerdame)\b.{{0,40}}\b(?:te|me|nos|que) {_SAID}\b", r"\bde que hablamos\b",
    rf"\b(?:do you remember|remind me)\b.{{0,50}}\b(?:you|we|i) (?:\w+ )?{_SAID_EN}\b",
    r"\bwhat did (?:i|we|you) (?:tell|say|decide|talk|discuss)\b",
    r"\bwhen did we (?:last )?(?:talk|speak|discuss|decide)\b",
)  # fmt: skip
said_perhaps = any_of(rf"\b{_SAID}\b", r"\brecuerdas\b", r"\bthread\b", r"\bconversations?\b", r"\bconversaci\w+")

# --- runs, flows, models of this installation ---
_DETERMINER = r"(?:the|this|that|its|last|latest|my|which|in|of|la|el|del|una?|ultima|esta|esa)"
run_noun = any_of(
    r"\bejecucion(?:es)?\b(?! hipotecaria)", r"\brun id\b",
    rf"\b{_DETERMINER} (?:\w+ )?runs?\b(?! (?:a|the|an|out|into|away|to|for|on|una?)\b)",
)  # fmt: skip
run_ask = any_of(
    r"\b(?:pasos?|traza|tiempos|detalles?|herramientas|que paso|fallo|cuanto tardo|modelo|estado|dame|por que)\b",
    r"\b(?:muestra\w*|ensena\w*)\b",
    r"\b(?:happened|show|give|explain|why|status|model)\b",
    r"\b(?:steps?|trace|timings?|details|tools?|failed|wrong|cancel\w+|how long|took)\b",
)
flow_noun = any_of(
    r"\bfluj[oa]s?\b(?! de (?:trabajo en|caja|sangre|agua))", r"\bflows?\b", r"\bworkflows?\b(?! de github)",
    r"\b(?:proceso|trabajo)s? por lotes\b", r"\blotes?\b(?! de)", r"\blote de codigo\b", r"\bbatch(?:es)?\b",
    r"\bautomati[sz]acion(?:es)?\b", r"\bautomations?\b", r"\bbackground (?:job|task)s?\b",
)  # fmt: skip
flow_verb = any_of(
    r"\b(?:lanza|inicia|arranca|dispara)(?:r|lo|me)?\b",
    r"\b(?:pon(?:er)? en marcha|empieza|comienza)\b",
    r"\b(?:ejecut(?:a|ar|e|es)|start|kick off|launch|trigger|run|begin|fire|execute|schedule)\b",
)
_STANDS = r"\b(?:is|has|have|did|check|how is|how's|whether)\b"
flow_state = any_of(
    r"\b(?:como va|han? (?:terminado|acabado)|acabo|termino|estado|progreso|sigue|(?<!pon )(?<!poner )en marcha)\b",
    r"\b(?:fallo|fallado|lance|arranque|inicie)\b",
    rf"{_STANDS}.*\b(?:done|finished|ended|running|failed?|going|started|ready|status|state|progress|complete\w*)\b",
    r"\b(?:status|state|progress) (?:of|is)\b", r"\bwhat state\b",
)  # fmt: skip
_MODEL_ID = r"\b[a-z0-9]+_(?:fast|balanced|coder|multimodal|multilingual|\w*embeddings)\b"
models_noun = any_of(r"\bmodel(?:o|os|s)?\b", r"\bllms?\b", _MODEL_ID)
models_ask = any_of(
    r"\b(?:disponibles?|available|cargad[oa]s?|loaded|catalog\w*|servidor|server|stack|aqui|here|ofrec\w+|offer\w*)\b",
    r"\b(?:elegir|choose|instalad\w+|installed)\b",
    r"\b(?:que|cuales|cual|which|what|list\w*)\b.*\b(?:modelos|models|llms)\b.*\b(?:tien\w+|hay|puedo|have|run\w*|can)\b",
    r"\b(?:vuestr|tus|your)\w* (?:modelos|models)\b", r"\blista\w* (?:los |de )*modelos\b",
    r"\blist (?:the |all )*models\b", _MODEL_ID,
)  # fmt: skip
other_models = any_of(r"\bmodelo de (?:negocio|lenguaje|vida)\b", r"\b(?:business|fashion|role|language) model\b")

# --- a voice ---
_SOUND = r"(?:audio|voz|nota de voz|mensaje de voz|speech|voice (?:note|message|clip)|spoken audio)"
_MADE = r"(?:gener|cre|haz|hacer|grab|produc|prepar)\w*"
_MAKE = r"(?:make|create|generate|record|produce|give me)"
aloud = any_of(
    r"\ben (?:voz alta|alto)\b", r"\b(?:aloud|out loud)\b", r"\bread (?:it|this|that|the following)\b.{0,60}\bto me\b",
    rf"\b{_MADE}\b.{{0,30}}\b(?:un|una|el|la) {_SOUND}\b.{{0,30}}\b(?:con|de|que|diga|donde)\b",
    rf"\b{_MAKE}\b.{{0,20}}\b(?:an?|the) {_SOUND}\b.{{0,30}}\b(?:of|saying|that says|from|with)\b",
    rf"\b(?:convi\w+|pas(?:a|ame|alo|ar)|turn|convert)\b.{{0,80}}\b(?:a|en|into|to) (?:una? |an? )?{_SOUND}\b",
    r"\b(?:text to speech|texto a voz|tts)\b.{0,20}[:«\"]",
)  # fmt: skip
