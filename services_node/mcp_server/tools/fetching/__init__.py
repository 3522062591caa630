"""Getting a public page's text without becoming a way into the network this machine stands in.

`addresses` decides which addresses and URLs may be asked (pure), `connection` connects to the very address that was
checked, `fetch` follows redirects and reads within its limits, `content` makes text of what came.
"""
