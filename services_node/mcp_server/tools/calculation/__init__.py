"""What `calculate` understands: arithmetic, units, dates, in English and Spanish, as people and small models write.

`reading` turns text into tokens (numbers with either separator, dates, words of both languages as operators), `grammar`
works them out as it reads (a Pratt parser: nothing is ever evaluated as a program), on the plain values of `numbers`,
`measures` and `calendar`. Everything is pure: today's date is given. Every operation is bounded before it is done, and
every refusal is a `CalculationFailed` that says what to write instead.
"""
