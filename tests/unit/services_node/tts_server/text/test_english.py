"""English: what is written, and how it is spoken. Of two readings that are possible, the one taken stands here."""

from __future__ import annotations

import pytest

from services_node.tts_server.text import read_text

NUMBERS = [
    ("It is 0 or 7", "It is zero or seven"),
    ("1,200,000", "one million two hundred thousand"),
    ("1,200.50", "one thousand two hundred point five zero"),
    ("3.14 and 0.5", "three point one four and zero point five"),
    ("1.200 litres", "one point two zero zero litres"),  # elsewhere a thousand and two hundred
    ("At -5", "At minus five"),
    ("25% or 2.5 %", "twenty-five percent or two point five percent"),
    ("10-20 km", "ten to twenty kilometers"),
    ("10 - 3 = 7", "ten minus three equals seven"),
    ("1/2, 3/4, 5/8", "one half, three quarters, five eighths"),
    ("1 1/2 cups", "one and one half cups"),
    ("2½", "two and a half"),
    ("1st, 2nd, 3rd, 21st", "first, second, third, twenty-first"),
    ("He is 007", "He is zero zero seven"),
    ("Order 12345678901", "Order one two three four five six seven eight nine zero one"),
    ("16:9", "sixteen to nine"),
    ("2 + 2 = 4, 3 x 4 and 2^10", "two plus two equals four, three times four and two to the power of ten"),
    ("x < y, z >= 3, a != b", "x less than y, z greater than or equal to three, a is not equal to b"),
    ("10k users", "ten thousand users"),
    ("Henry VIII and Elizabeth II", "Henry the eighth and Elizabeth the second"),
    ("World War II, Chapter IV", "World War two, Chapter four"),
    ("Louis XIV and Rocky IV, I think", "Louis the fourteenth and Rocky four, I think"),
    ("24/7", "twenty-four seven"),
    ("No. 5 and #6", "number five and number six"),
    ("ISBN 978-3-16-148410-0", "I-S-B-N nine seven eight, three, one six, one four eight four one zero, zero"),
]
TIMES = [
    ("2026-11-27", "November twenty-seventh, twenty twenty-six"),
    ("Nov 27, 2026", "November twenty-seventh, twenty twenty-six"),
    ("11/27/2026", "November twenty-seventh, twenty twenty-six"),
    ("27/11/2026", "November twenty-seventh, twenty twenty-six"),  # no other month is possible
    ("3/4/1980", "March fourth, nineteen eighty"),  # in Europe it would be in April
    ("on May 5", "on May fifth"),
    ("the 5th of May", "the fifth of May"),
    ("on 5 May 2020", "on the fifth of May, twenty twenty"),
    ("In May 2020", "In May twenty twenty"),
    ("In 1984", "In nineteen eighty-four"),
    ("In 1905, 1900, 2000, 2006 and 2026",
     "In nineteen oh five, nineteen hundred, two thousand, two thousand and six and twenty twenty-six"),
    ("1500 people", "one thousand five hundred people"),
    ("1984 was cold", "nineteen eighty-four was cold"),
    ("From 2019-2024", "From twenty nineteen to twenty twenty-four"),
    ("the 1990s and the '80s", "the nineteen nineties and the eighties"),
    ("wait 80s", "wait eighty seconds"),
    ("at 9:30", "at nine thirty"),
    ("at 9:05 and 14:05", "at nine oh five and fourteen oh five"),
    ("at 9:00 and 14:00", "at nine o'clock and fourteen hundred"),
    ("at 3 p.m. or 5pm", "at three P-M or five P-M"),
    ("9:30 a.m. I think", "nine thirty A-M I think"),
    ("2 h and 5 min", "two hours and five minutes"),
]  # fmt: skip
THINGS = [
    ("$12.50", "twelve dollars and fifty cents"),
    ("$1, £3, €20, USD 5", "one dollar, three pounds, twenty euros, five dollars"),
    ("$0.99 and $1.01", "ninety-nine cents and one dollar and one cent"),
    ("$1.2M or $5 million", "one point two million dollars or five million dollars"),
    ("-$5", "minus five dollars"),
    ("120 km/h, 5 kg, 1 ft", "one hundred and twenty kilometers per hour, five kilograms, one foot"),
    ("20 °C and 16GB", "twenty degrees Celsius and sixteen gigabytes"),
    ("Call (555) 123-4567", "Call five five five, one two three, four five six seven"),
    ("+1 555 123 4567", "plus one, five five five, one two three, four five six seven"),
    ("Python 3.11.2 or v2.1", "Python three point eleven point two or version two point one"),
    ("10.0.0.1", "ten dot zero dot zero dot one"),
    ("See https://www.example.com.", "See example dot com."),
    ("See example.com/docs?x=1#y", "See example dot com slash docs"),
    ("See http://example.com/a/b/c/d", "See example dot com"),
    ("me@example.com", "me at example dot com"),
    ("run_python and getUserName", "run python and get User Name"),
    ("app/main.py", "app slash main dot P-Y"),
    ("#winning with @bob", "hashtag winning with at bob"),
    ("Mr. Smith, Mrs. Lee, Dr. Who", "mister Smith, missus Lee, doctor Who"),
    ("Main St. in St. Louis", "Main Street in Saint Louis"),
    ("e.g. this, i.e. that", "for example this, that is that"),
    ("cats vs. dogs, etc.", "cats versus dogs, et cetera."),
    ("The API, two CPUs and HTML", "The A-P-I, two C-P-U's and H-T-M-L"),
    ("NASA and NATO use JSON", "Nasa and Nato use Json"),
    ("the U.S. Government", "the U-S Government"),
    ("COVID-19, MP3 and B2B", "Covid nineteen, M-P three and B two B"),
    ("DO NOT TOUCH IT AGAIN", "do not touch it again"),
    ("and/or w/o it", "and or without it"),
    ("C++ and C#", "C plus plus and C sharp"),
    ("It's Mary's 'book'", "It's Mary's book"),
    ("you & me (and her)", "you and me, and her"),
]


@pytest.mark.parametrize(("written", "spoken"), NUMBERS + TIMES + THINGS)
def test_what_is_written_is_spoken_so(written: str, spoken: str) -> None:
    assert [segment.text for segment in read_text(written, language="en")] == [spoken]
