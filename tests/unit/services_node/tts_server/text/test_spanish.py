"""Spanish: what is written, and how it is spoken. Of two readings that are possible, the one taken stands here."""

from __future__ import annotations

import pytest

from services_node.tts_server.text import read_text

NUMBERS = [
    ("Quedan 0 y 7", "Quedan cero y siete"),
    ("Son 1.200.000", "Son un millón doscientos mil"),
    ("Son 1 200 000", "Son un millón doscientos mil"),
    ("Mide 1.200", "Mide mil doscientos"),
    ("Vale 3,14", "Vale tres coma catorce"),
    ("Vale 3.14", "Vale tres coma catorce"),
    ("Vale 3,05 o 0,5", "Vale tres coma cero cinco o cero coma cinco"),
    ("Son 1.234,56", "Son mil doscientos treinta y cuatro coma cincuenta y seis"),
    ("Son 1,234.56", "Son mil doscientos treinta y cuatro coma cincuenta y seis"),
    ("Estamos a -5", "Estamos a menos cinco"),
    ("Sube un 25% o un 2,5 %", "Sube un veinticinco por ciento o un dos coma cinco por ciento"),
    ("De 10-20 km", "De diez a veinte kilómetros"),
    ("10 - 3 = 7", "diez menos tres igual a siete"),
    ("Ganó 3-1", "Ganó tres a uno"),
    ("1/2, 3/4 y 7/12", "un medio, tres cuartos y siete doceavos"),
    ("2½ y ¼", "dos y medio y un cuarto"),
    ("1.º, 2ª, 3er y 5.º", "primero, segunda, tercer y quinto"),
    ("el 1.er piso y la 21ª vez", "el primer piso y la vigésima primera vez"),
    ("21 personas y 21 libros", "veintiuna personas y veintiún libros"),
    ("200 páginas, 500 casas, 1 mesa", "doscientas páginas, quinientas casas, una mesa"),
    ("31 días y 21.000 euros", "treinta y un días y veintiún mil euros"),
    ("Hay 1 de 3", "Hay uno de tres"),
    ("El 007", "El cero cero siete"),
    ("Pedido 12345678901", "Pedido uno dos tres cuatro cinco seis siete ocho nueve cero uno"),
    ("El ratio 16:9", "El ratio dieciséis a nueve"),
    ("π ≈ 3,14", "pi aproximadamente tres coma catorce"),
    ("2 + 2 = 4 y 3 × 4", "dos más dos igual a cuatro y tres por cuatro"),
    ("x < y, z >= 3 y 2*3", "x menor que y, z mayor o igual que tres y dos por tres"),
    ("Siglo XXI y siglos XV y XVI", "Siglo veintiuno y siglos quince y dieciséis"),
    ("Felipe VI, Isabel II y Alfonso XIII", "Felipe sexto, Isabel segunda y Alfonso trece"),
    ("Capítulo IV y la II Guerra Mundial", "Capítulo cuatro y la segunda Guerra Mundial"),
]
TIMES = [
    ("El 27/11/2026", "El veintisiete de noviembre de dos mil veintiséis"),
    ("El 2026-11-27", "El veintisiete de noviembre de dos mil veintiséis"),
    ("El 1/2/26", "El uno de febrero de dos mil veintiséis"),
    ("El 11/27/2026", "El veintisiete de noviembre de dos mil veintiséis"),  # no other month is possible
    ("El 5/11, y 5/11 del total", "El cinco de noviembre, y cinco onceavos del total"),
    ("27 de noviembre de 2026", "veintisiete de noviembre de dos mil veintiséis"),
    ("El 3 dic 2025", "El tres de diciembre de dos mil veinticinco"),
    ("Desde 1984", "Desde mil novecientos ochenta y cuatro"),
    ("Los años 80", "Los años ochenta"),
    ("A las 9:30", "A las nueve y media"),
    ("A las 9.30 h", "A las nueve y media"),
    ("A las 14:05", "A las catorce y cinco"),
    ("A la 1:15 y a las 21:45", "A la una y cuarto y a las veintiuna cuarenta y cinco"),
    ("A las 3 p. m. o 9 a.m", "A las tres de la tarde o nueve de la mañana"),
    ("De 9:00-10:30", "De nueve a diez y media"),
    ("En 2 h y 5 min", "En dos horas y cinco minutos"),
]
THINGS = [
    ("Son 12,50 €", "Son doce euros con cincuenta"),
    ("Son 1 € y 21 €", "Son un euro y veintiún euros"),
    ("Son 1.200.000 €", "Son un millón doscientos mil euros"),
    ("Son 1.000.000 €", "Son un millón de euros"),
    ("Son 0,99 €", "Son noventa y nueve céntimos"),
    ("$12.50, £3 y USD 5", "doce dólares con cincuenta, tres libras y cinco dólares"),
    ("Son 2,5 M€ y 10 €/h", "Son dos coma cinco millones de euros y diez euros por hora"),
    ("$5 millones", "cinco millones de dólares"),
    ("3,5 kg, 120 km/h y 20 °C", "tres coma cinco kilos, ciento veinte kilómetros por hora y veinte grados Celsius"),
    ("16 GB, 50 m² y 1 l", "dieciséis gigabytes, cincuenta metros cuadrados y un litro"),
    ("Llama al 600 123 456", "Llama al seis cero cero, uno dos tres, cuatro cinco seis"),
    ("Tel. +34 91 234 56 78", "teléfono más tres cuatro, nueve uno, dos tres cuatro, cinco seis, siete ocho"),
    ("Python 3.11.2 y v2", "Python tres punto once punto dos y versión dos"),
    ("192.168.1.10", "ciento noventa y dos punto ciento sesenta y ocho punto uno punto diez"),
    ("Ve a https://www.ejemplo.com.", "Ve a ejemplo punto com."),
    ("Ve a ejemplo.com/docs?x=1#y", "Ve a ejemplo punto com barra docs"),
    ("Ve a http://ejemplo.com/a/b/c/d/e", "Ve a ejemplo punto com"),
    ("En localhost:5002", "En localhost puerto cinco mil dos"),
    ("ana.gil@ejemplo.com", "ana punto gil arroba ejemplo punto com"),
    ("get_user_name y getUserName", "get user name y get User Name"),
    ("main.py en /etc/hosts", "main punto pe i griega en e te ce barra hosts"),
    ("#fiesta con @ana", "etiqueta fiesta con arroba ana"),
    ("Es el n.º 5, pág. 12", "Es el número cinco, página doce"),
    ("#1 y art. 25", "número uno y artículo veinticinco"),
    ("El Sr. Gil, la Sra. Ruiz y la Dra. Vega", "El señor Gil, la señora Ruiz y la doctora Vega"),
    ("D.ª Ana vive en EE. UU. desde niña", "doña Ana vive en Estados Unidos desde niña"),
    ("Pan, leche, etc.", "Pan, leche, etcétera."),
    ("Frutas, p. ej. peras", "Frutas, por ejemplo peras"),
    ("Avda. de la Paz, C/ Mayor", "avenida de la Paz, calle Mayor"),
    ("Una API, la CPU y el DNI", "Una a pe i, la ce pe u y el de ene i"),
    ("La ONU, la OTAN y la NASA", "La Onu, la Otan y la Nasa"),
    ("COVID-19, MP3 y B2B", "Covid diecinueve, eme pe tres y be dos be"),
    ("NO LO HAGAS NUNCA MÁS", "no lo hagas nunca más"),
    ("NO lo hagas", "No lo hagas"),
    ("Tú & yo (y ella) y/o él", "Tú y yo, y ella, y o él"),
    ("a -> b", "a, b"),
    ("ES91 2100 0418 4502 0005 1332", "e ese, nueve uno, dos uno cero cero, cero cuatro uno ocho, "
     "cuatro cinco cero dos, cero cero cero cinco, uno tres tres dos"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "spoken"), NUMBERS + TIMES + THINGS)
def test_what_is_written_is_spoken_so(written: str, spoken: str) -> None:
    assert [segment.text for segment in read_text(written, language="es")] == [spoken]
