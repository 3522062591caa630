"""What clients can read: the caller's runs, conversations and files, the models, the team's documents.

Each module has a `registry`. What belongs to the caller is asked of the chat API, on the caller's behalf.
"""
