"""The connectivity manager: who is shown, found and dialled, over which transport, and which session is kept."""
