"""Time zones by what people call them: IANA names, cities, countries of both languages, offsets."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, timedelta, timezone, tzinfo
from difflib import get_close_matches
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from services_node.mcp_server.errors import ToolFailed

# Countries (their capital's zone, or the most used), cities whose zone has another name, names people use for zones.
_KNOWN = {
    "Europe/Madrid": "españa spain peninsula espanola barcelona valencia sevilla bilbao zaragoza "
    "malaga cet central european",
    "Atlantic/Canary": "canarias canary islands islas canarias las palmas tenerife",
    "America/Mexico_City": "mexico ciudad de mexico cdmx mexico df",
    "America/Argentina/Buenos_Aires": "argentina",
    "America/Bogota": "colombia medellin",
    "America/Santiago": "chile santiago de chile",
    "America/Lima": "peru",
    "America/Caracas": "venezuela",
    "America/Guayaquil": "ecuador quito",
    "America/La_Paz": "bolivia",
    "America/Asuncion": "paraguay",
    "America/Montevideo": "uruguay",
    "America/Havana": "cuba la habana",
    "America/Santo_Domingo": "republica dominicana dominican republic",
    "America/Costa_Rica": "san jose de costa rica",
    "America/Panama": "panama",
    "America/Guatemala": "guatemala",
    "America/Tegucigalpa": "honduras",
    "America/El_Salvador": "san salvador",
    "America/Managua": "nicaragua",
    "America/Sao_Paulo": "brasil brazil brasilia rio de janeiro rio",
    "America/New_York": "nueva york new york nyc est edt eastern washington boston miami usa estados "
    "unidos united states eeuu",
    "America/Chicago": "cst cdt central texas houston dallas",
    "America/Denver": "mst mdt mountain",
    "America/Los_Angeles": "pst pdt pacific california san francisco seattle los angeles silicon valley",
    "America/Toronto": "canada montreal ottawa",
    "Europe/London": "londres london reino unido uk united kingdom england inglaterra gran bretana "
    "great britain bst edinburgh",
    "Europe/Paris": "francia france",
    "Europe/Berlin": "alemania germany munich hamburg frankfurt",
    "Europe/Rome": "italia italy roma milan",
    "Europe/Lisbon": "portugal lisboa oporto porto",
    "Europe/Dublin": "irlanda ireland",
    "Europe/Amsterdam": "holanda netherlands paises bajos",
    "Europe/Brussels": "belgica belgium bruselas",
    "Europe/Zurich": "suiza switzerland ginebra geneva",
    "Europe/Vienna": "austria viena",
    "Europe/Athens": "grecia greece atenas",
    "Europe/Moscow": "rusia russia moscu",
    "Europe/Kyiv": "ucrania ukraine kiev",
    "Europe/Istanbul": "turquia turkey estambul",
    "Africa/Casablanca": "marruecos morocco rabat",
    "Africa/Cairo": "egipto egypt el cairo",
    "Africa/Johannesburg": "sudafrica south africa",
    "Asia/Dubai": "emiratos emirates abu dhabi",
    "Asia/Jerusalem": "israel tel aviv",
    "Asia/Kolkata": "india delhi new delhi nueva delhi mumbai bombay bangalore bengaluru ist",
    "Asia/Shanghai": "china pekin beijing",
    "Asia/Tokyo": "japon japan tokio jst",
    "Asia/Seoul": "corea korea corea del sur south korea seul",
    "Asia/Singapore": "singapur",
    "Asia/Manila": "filipinas philippines",
    "Australia/Sydney": "australia sidney",
    "Pacific/Auckland": "nueva zelanda new zealand",
    "UTC": "utc gmt z zulu greenwich",
}
_SPACED = ("ciudad de mexico", "mexico df", "peninsula espanola", "canary islands", "islas canarias", "las palmas",
           "santiago de chile", "la habana", "republica dominicana", "dominican republic", "san jose de costa rica",
           "san salvador", "rio de janeiro", "nueva york", "new york", "estados unidos", "united states",
           "san francisco", "los angeles", "silicon valley", "reino unido", "united kingdom", "gran bretana",
           "great britain", "paises bajos", "el cairo", "south africa", "abu dhabi", "tel aviv", "new delhi",
           "nueva delhi", "corea del sur", "south korea", "nueva zelanda", "new zealand",
           "central european")  # fmt: skip
_FILLER = re.compile(
    r"\b(hora|horario|time|zone|zona|horaria|local"
    r"|standard|oficial|current|actual|in|en|de|del|la|el|the|of|at|tz|city)\b"
)
_OFFSET = re.compile(r"(?:utc|gmt)?([+-])(\d{1,2})(?::?(\d{2}))?")


def zone_of(asked: str) -> tuple[tzinfo, str]:
    """The zone and its name. Raises ToolFailed, naming the nearest, for what no zone is called."""
    name = _spelled(asked)
    offset = _OFFSET.fullmatch(name.replace(" ", ""))
    if offset:
        return _by_offset(offset, asked)
    names = _names()
    # The last: `America/Madrid`, for the city is what was meant.
    shorter = " ".join(_FILLER.sub(" ", name).split())
    for form in (name, shorter, name.rsplit(",", 1)[0].strip(), name.rsplit("/", 1)[-1]):
        if form in names:
            found = names[form]
            return (UTC, "UTC") if found == "UTC" else (ZoneInfo(found), found)
    near = get_close_matches(name, names, n=3, cutoff=0.75)
    hint = f" Did you mean {', '.join(dict.fromkeys(names[one] for one in near))}?" if near else ""
    raise ToolFailed(f"`{asked[:100]}` is no time zone that is known here. Give one as Europe/Madrid.{hint}")


def _by_offset(found: re.Match[str], asked: str) -> tuple[tzinfo, str]:
    minutes = int(found[2]) * 60 + int(found[3] or 0)
    if minutes > 14 * 60:
        raise ToolFailed(f"`{asked[:100]}` is no offset: they go from -12:00 to +14:00.")
    sign = -1 if found[1] == "-" else 1
    return timezone(timedelta(minutes=sign * minutes)), f"UTC{found[1]}{minutes // 60:02d}:{minutes % 60:02d}"


@lru_cache(maxsize=1)
def _names() -> dict[str, str]:
    """Every name in small letters without accents or underscores → IANA name."""
    names: dict[str, str] = {}
    for zone in sorted(available_timezones()):
        if zone.startswith(("posix/", "right/")) or zone in ("posixrules", "localtime", "Factory"):
            continue
        names[_spelled(zone)] = zone
        if "/" in zone and not zone.startswith(("Etc/", "SystemV/")):
            names.setdefault(_spelled(zone.rsplit("/", 1)[1]), zone)
    for zone, listed in _KNOWN.items():
        left = _spelled(listed)
        for phrase in _SPACED:
            if phrase in left:
                names[phrase] = zone
                left = left.replace(phrase, " ")
        for word in left.split():
            names[word] = zone
    return names


def _spelled(text: str) -> str:
    plain = "".join(sign for sign in unicodedata.normalize("NFD", text.lower()) if not unicodedata.combining(sign))
    return " ".join(plain.replace("_", " ").replace("−", "-").strip(" ?.¿!\"'`").split())
