"""Weights from Hugging Face's hub into the folder that the catalogue names: `./capibara6 models fetch`.

`hub` speaks to the hub, through its own client; `fetch` decides what is needed, where it goes and when it is complete.
The one part of this node that calls out, and only when an operator runs it: no service imports it.
"""
