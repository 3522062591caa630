"""What of a text is spoken, and how: Markdown, languages, sentences, and every sign as words. Pure, standard values.

`read_text` gives `Segment`s: sentences, or clauses of very long ones, in order, with the silence that follows each.
On the way: `characters` (what neither language can read goes), `markup` (Markdown, tags, pauses), `wire.sentences`,
`tongue` (the rules that are the same in both languages) with `spanish` and `english`, `reading` (all together).
Never here: voices, engines, audio. The cost grows with the text and no faster: no pattern looks ahead without a bound.
"""

from services_node.tts_server.text.reading import NothingToSay, Segment, read_text

__all__ = ["NothingToSay", "Segment", "read_text"]
